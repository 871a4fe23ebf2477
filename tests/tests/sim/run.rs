//! Runs the simulation of a seed: builds the network, lets faults happen when their time comes, heals everything, waits for
//! the clients, and judges.

use super::{
    clients::{self, Notebook},
    disk::Disk,
    pinned,
    plan::{Fault, Plan},
    server,
    trace::Trace,
};
use inkpot_tests::checker::{self, Content, Contents, Event};
use inkpot_wal::fs::{FileSystem, faulty::When, memory::Loss, read_all};
use std::{
    cell::RefCell,
    collections::VecDeque,
    panic,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;
use turmoil::Sim;

const TICK: Duration = Duration::from_millis(1);
/// By then everything has come to an end, or never does: faults end within ten seconds, and the longest wait of the
/// server after a failure is half a minute.
const LONGEST: Duration = Duration::from_secs(300);
/// When nothing more goes wrong.
const HEALED: Duration = Duration::from_secs(9);
/// Room on the disk when it is not full, in bytes.
const ROOM: u64 = 1 << 40;

/// What came of a seed.
#[derive(Debug)]
pub struct Outcome {
    /// Everything that happened.
    pub trace: Trace,
    /// Promises that were not kept, and whatever else was wrong.
    pub faults: Vec<String>,
    /// How many appends were acknowledged.
    pub acked: usize,
}

/// Runs a seed. On a thread that runs no other: its clock and randomness are simulated from here on.
pub fn run(seed: u64) -> Outcome {
    let panics = Arc::new(AtomicU64::new(0));
    count_panics(&panics);
    pinned::pin(seed);
    let plan = Plan::of(seed);
    let trace = Trace::default();
    let notebook = Notebook::new(trace.clone());
    let mut world = World::new(seed, plan, trace.clone(), notebook.clone());
    let mut faults = Vec::new();
    if let Err(error) = world.run() {
        faults.push(error);
    } else {
        match world.contents() {
            Ok(contents) => {
                let violations = checker::check(&notebook.history(), &contents);
                faults.extend(violations.iter().map(ToString::to_string));
            }
            Err(error) => faults.push(error),
        }
    }
    drop(world);
    let panics = panics.load(Ordering::Relaxed);
    if panics > 0 {
        faults.push(format!("{panics} panics"));
    }
    let events = notebook.history().events;
    let acked = events.iter().filter(|event| matches!(event, Event::Acked { .. })).count();
    Outcome { trace, faults, acked }
}

/// A task that panics tells nobody: it is found here.
fn count_panics(panics: &Arc<AtomicU64>) {
    let (panics, tell) = (Arc::clone(panics), panic::take_hook());
    panic::set_hook(Box::new(move |info| {
        panics.fetch_add(1, Ordering::Relaxed);
        tell(info);
    }));
}

/// Something that is to be done at a time.
#[derive(Debug)]
enum Step {
    Begin(Fault),
    Start,
    Reach(usize, (bool, bool)),
    Release(usize),
    Room,
    Heal,
}

struct World {
    sim: Sim<'static>,
    plan: Plan,
    disk: Rc<RefCell<Disk>>,
    stop: Rc<Notify>,
    trace: Trace,
    notebook: Notebook,
    /// By time.
    steps: VecDeque<(Duration, Step)>,
    /// Stop when the disk has done so many calls.
    crash_at: Option<(u64, Loss, Duration)>,
    is_down: bool,
    found: Rc<RefCell<Contents>>,
    seed: u64,
}

impl World {
    fn new(seed: u64, plan: Plan, trace: Trace, notebook: Notebook) -> Self {
        let (least, most) = plan.latency;
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .tick_duration(TICK)
            .simulation_duration(LONGEST)
            .min_message_latency(least)
            .max_message_latency(most)
            .tcp_capacity(1 << 16)
            .build();
        let disk = Rc::new(RefCell::new(Disk::new(trace.clone())));
        let stop = Rc::new(Notify::new());
        let (of_server, stopped) = (Rc::clone(&disk), Rc::clone(&stop));
        sim.host(server::NAME, move || server::run(Rc::clone(&of_server), Rc::clone(&stopped)));
        for (number, writing) in plan.producers.iter().enumerate() {
            sim.client(name(number), clients::produce(notebook.clone(), writing.clone()));
        }
        for (number, writing) in plan.alone.iter().enumerate() {
            sim.client(format!("alone-{number}"), clients::append_alone(notebook.clone(), writing.clone()));
        }
        sim.client("reader", clients::read(notebook.clone(), plan.files.clone(), plan.reads, seed));
        let mut steps: Vec<_> = plan.faults.iter().map(|(at, fault)| (*at, Step::Begin(fault.clone()))).collect();
        steps.push((HEALED, Step::Heal));
        let steps = steps.into();
        let found = Rc::default();
        Self { sim, plan, disk, stop, trace, notebook, steps, crash_at: None, is_down: false, found, seed }
    }

    /// Until all clients are done, the files are read, and the server has stopped.
    fn run(&mut self) -> Result<(), String> {
        while !self.step()? || !self.steps.is_empty() {}
        let (notebook, files, found) = (self.notebook.clone(), self.plan.files.clone(), Rc::clone(&self.found));
        self.sim.client("judge", async move {
            for file in files {
                if let Some((generation, read)) = clients::read_whole(&notebook, &file).await {
                    found.borrow_mut().insert(file, Content { generation, read, plain: Vec::new() });
                }
            }
            Ok(())
        });
        while !self.step()? {}
        self.stop.notify_one();
        while self.sim.is_host_running(server::NAME) {
            self.step()?;
        }
        Ok(())
    }

    /// One tick; whether all clients are done.
    fn step(&mut self) -> Result<bool, String> {
        let now = self.sim.elapsed();
        while self.steps.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, step)) = self.steps.pop_front() {
                self.take(step, now);
            }
        }
        if let Some((calls, loss, down)) = self.crash_at
            && self.disk.borrow().memory().operations() > calls
        {
            self.crash(loss, down, now);
        }
        pinned::set_elapsed(now);
        self.sim.step().map_err(|error| error.to_string())
    }

    fn later(&mut self, at: Duration, step: Step) {
        let place = self.steps.partition_point(|(other, _)| *other <= at);
        self.steps.insert(place, (at, step));
    }

    fn take(&mut self, step: Step, now: Duration) {
        self.trace.note(format!("at {:.3}: {step:?}", now.as_secs_f64()));
        match step {
            Step::Begin(fault) => self.begin(fault, now),
            Step::Start => self.start(),
            Step::Reach(client, ways) => self.reach(client, ways),
            Step::Release(client) => self.sim.release(name(client), server::NAME),
            Step::Room => self.disk.borrow().memory().set_capacity(ROOM),
            Step::Heal => self.heal(),
        }
    }

    fn begin(&mut self, fault: Fault, now: Duration) {
        match fault {
            Fault::Crash { loss, down } if !self.is_down => self.crash(loss, down, now),
            Fault::CrashAtCall { after, loss, down } if !self.is_down && self.crash_at.is_none() => {
                let disk = self.disk.borrow();
                let calls = disk.memory().operations() + after;
                disk.memory().fail_from(calls);
                self.crash_at = Some((calls, loss, down));
            }
            Fault::Crash { .. } | Fault::CrashAtCall { .. } => {}
            Fault::Partition { client, ways, time } => {
                if ways.0 {
                    self.sim.partition_oneway(name(client), server::NAME);
                }
                if ways.1 {
                    self.sim.partition_oneway(server::NAME, name(client));
                }
                self.later(now + time, Step::Reach(client, ways));
            }
            Fault::Hold { client, time } => {
                self.sim.hold(name(client), server::NAME);
                self.later(now + time, Step::Release(client));
            }
            Fault::Disk { op, path, nth, kind } => {
                self.disk.borrow().faulty().fail(op, path, When::Nth(nth), kind);
            }
            Fault::Full { room, time } => {
                let disk = self.disk.borrow();
                if let Ok(free) = disk.memory().free_bytes() {
                    // Measured with all the room there ever is.
                    disk.memory().set_capacity(ROOM.saturating_sub(free) + room);
                }
                drop(disk);
                self.later(now + time, Step::Room);
            }
        }
    }

    fn crash(&mut self, loss: Loss, down: Duration, now: Duration) {
        self.trace.note(format!("crash: {loss:?}, for {down:?}"));
        self.crash_at = None;
        self.is_down = true;
        let seed = self.seed ^ u64::try_from(now.as_nanos()).unwrap_or_default();
        self.disk.borrow_mut().stop(loss, seed);
        if loss != Loss::All {
            self.notebook.note(Event::PowerLost);
        }
        self.sim.crash(server::NAME);
        self.later(now + down, Step::Start);
    }

    fn start(&mut self) {
        self.is_down = false;
        self.sim.bounce(server::NAME);
    }

    fn reach(&self, client: usize, ways: (bool, bool)) {
        if ways.0 {
            self.sim.repair_oneway(name(client), server::NAME);
        }
        if ways.1 {
            self.sim.repair_oneway(server::NAME, name(client));
        }
    }

    /// Nothing goes wrong any more; a server that has not come to its crash stops now.
    fn heal(&mut self) {
        let disk = self.disk.borrow();
        disk.memory().set_capacity(ROOM);
        disk.faulty().clear();
        drop(disk);
        if let Some((_, loss, down)) = self.crash_at {
            self.crash(loss, down, self.sim.elapsed());
        }
    }

    /// What Read gave, beside the plain files of the stopped server.
    fn contents(&self) -> Result<Contents, String> {
        let mut contents = self.found.borrow().clone();
        let disk = self.disk.borrow();
        for (file, content) in &mut contents {
            let path = format!("{}/{file}", server::FILES);
            content.plain = read_all(disk.memory() as &dyn FileSystem, &path)
                .map_err(|error| format!("{path} cannot be read from the disk: {error}"))?;
        }
        Ok(contents)
    }
}

fn name(client: usize) -> String {
    format!("client-{client}")
}
