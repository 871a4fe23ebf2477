//! Runs the simulation of a seed: builds the network, lets faults happen when their time comes, heals everything, waits for
//! the clients, and judges.

use super::{
    clients,
    disk::{self, Disk},
    net,
    notebook::Notebook,
    operators, pinned,
    plan::{Fault, Plan},
    readers, server,
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
    /// How many operations on files as a whole were done.
    pub operations: usize,
}

/// Runs a seed. On a thread that runs no other: its clock and randomness are simulated from here on.
pub fn run(seed: u64) -> Outcome {
    let panics = Arc::new(AtomicU64::new(0));
    count_panics(&panics);
    pinned::pin(seed);
    let plan = Plan::of(seed);
    let trace = Trace::default();
    let notebooks = server::TENANTS.map(|(_, token, _)| Notebook::new(trace.clone(), token));
    let mut world = World::new(seed, plan, trace.clone(), notebooks.clone());
    let mut faults = Vec::new();
    if let Err(error) = world.run() {
        faults.push(error);
    } else {
        for (tenant, notebook) in notebooks.iter().enumerate() {
            match world.contents(tenant) {
                Ok(contents) => {
                    let violations = checker::check(&notebook.history(), &contents);
                    faults.extend(violations.iter().map(ToString::to_string));
                }
                Err(error) => faults.push(error),
            }
        }
    }
    faults.extend(notebooks.iter().flat_map(Notebook::faults));
    drop(world);
    let panics = panics.load(Ordering::Relaxed);
    if panics > 0 {
        faults.push(format!("{panics} panics"));
    }
    let count = |is: fn(&Event) -> bool| {
        notebooks.iter().map(|notebook| notebook.history().events.iter().filter(|event| is(event)).count()).sum()
    };
    let acked = count(|event| matches!(event, Event::Acked { .. }));
    let operations = count(|event| matches!(event, Event::Done { .. }));
    Outcome { trace, faults, acked, operations }
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
    Fast,
    Heal,
}

struct World {
    sim: Sim<'static>,
    plan: Plan,
    disk: Rc<RefCell<Disk>>,
    stop: Rc<Notify>,
    trace: Trace,
    /// Of each tenant.
    notebooks: [Notebook; 2],
    /// By time.
    steps: VecDeque<(Duration, Step)>,
    /// Stop when the disk has done so many calls.
    crash_at: Option<(u64, Loss, Duration)>,
    is_down: bool,
    /// Of each tenant.
    found: Rc<RefCell<[Contents; 2]>>,
    seed: u64,
}

impl World {
    fn new(seed: u64, plan: Plan, trace: Trace, notebooks: [Notebook; 2]) -> Self {
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
        add_clients(&mut sim, &plan, &notebooks, seed);
        let mut steps: Vec<_> = plan.faults.iter().map(|(at, fault)| (*at, Step::Begin(fault.clone()))).collect();
        steps.push((HEALED, Step::Heal));
        let steps = steps.into();
        let found = Rc::default();
        Self { sim, plan, disk, stop, trace, notebooks, steps, crash_at: None, is_down: false, found, seed }
    }

    /// Until all clients are done, the files are read, and the server has stopped.
    fn run(&mut self) -> Result<(), String> {
        while !self.step()? || !self.steps.is_empty() {}
        let (notebooks, found, number) = (self.notebooks.clone(), Rc::clone(&self.found), self.plan.clients());
        self.sim.client("judge", async move {
            for (tenant, notebook) in notebooks.iter().enumerate() {
                for (file, generation, read) in readers::read_all(notebook, number).await {
                    found.borrow_mut()[tenant].insert(file, Content { generation, read, plain: Vec::new() });
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
            Step::Fast => disk::slow_down(Duration::ZERO, false),
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
            Fault::Cut { client, ways } => net::cut(client, ways),
            Fault::Slow { syncs, each, time } => {
                disk::slow_down(each, syncs);
                self.later(now + time, Step::Fast);
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
            self.notebooks.iter().for_each(|notebook| notebook.note(Event::PowerLost));
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
        disk::slow_down(Duration::ZERO, false);
        let disk = self.disk.borrow();
        disk.memory().set_capacity(ROOM);
        disk.faulty().clear();
        drop(disk);
        if let Some((_, loss, down)) = self.crash_at {
            self.crash(loss, down, self.sim.elapsed());
        }
    }

    /// What Read gave, beside the plain files of the stopped server: there are no others.
    fn contents(&self, tenant: usize) -> Result<Contents, String> {
        let mut contents = self.found.borrow()[tenant].clone();
        let disk = self.disk.borrow();
        let (fs, folder) = (disk.memory() as &dyn FileSystem, format!("files/{}", server::TENANTS[tenant].0));
        let mut plain = Vec::new();
        walk(fs, &folder, &mut plain).map_err(|error| format!("{folder} cannot be read from the disk: {error}"))?;
        for path in plain {
            let file = path.strip_prefix(&folder).unwrap_or_default().trim_start_matches('/');
            let content = contents.get_mut(file).ok_or_else(|| format!("{path} is on the disk, and not listed"))?;
            content.plain = read_all(fs, &path).map_err(|error| format!("{path} cannot be read: {error}"))?;
        }
        Ok(contents)
    }
}

/// The files below a folder.
fn walk(fs: &dyn FileSystem, folder: &str, found: &mut Vec<String>) -> std::io::Result<()> {
    if fs.metadata(folder).is_err() {
        return Ok(());
    }
    for entry in fs.read_dir(folder)? {
        let path = format!("{folder}/{}", entry.name);
        if entry.is_dir { walk(fs, &path, found)? } else { found.push(path) }
    }
    Ok(())
}

/// Each has a number, by which faults name it.
fn add_clients(sim: &mut Sim, plan: &Plan, notebooks: &[Notebook; 2], seed: u64) {
    let [main, flood] = notebooks;
    let mut numbers = 0..;
    let mut next = || numbers.next().unwrap_or_default();
    for (notebook, writing) in
        plan.producers.iter().map(|it| (main, it)).chain(plan.flooders.iter().map(|it| (flood, it)))
    {
        let number = next();
        sim.client(name(number), clients::produce(notebook.clone(), number, writing.clone()));
    }
    for writing in &plan.alone {
        let number = next();
        sim.client(name(number), clients::append_alone(main.clone(), number, writing.clone()));
    }
    for writing in &plan.once {
        let number = next();
        sim.client(name(number), clients::produce_once(main.clone(), number, writing.clone()));
    }
    for operating in &plan.operators {
        let number = next();
        sim.client(name(number), operators::operate(main.clone(), number, operating.clone()));
    }
    let paths = plan.operators.first().map_or(&plan.files, |operating| &operating.paths);
    let files: Vec<String> = plan.files.iter().chain(paths).cloned().collect();
    for times in &plan.readers {
        let number = next();
        let seed = seed.wrapping_add(number as u64);
        sim.client(name(number), readers::read(main.clone(), number, files.clone(), *times, seed));
    }
}

fn name(client: usize) -> String {
    format!("client-{client}")
}
