//! Many seeds, each in a process of its own, two at a time.

use super::run::Outcome;
use std::{
    env, fmt,
    io::Read,
    process::{Command, Output, Stdio},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

const SEED: &str = "INKPOT_SIM_SEED";
/// Set for a child that is not to print its trace.
const QUIET: &str = "INKPOT_SIM_QUIET";
/// Before what a child tells its parent.
const SUMMARY: &str = "sim-summary:";

/// A seed takes less than a second; a machine that is busy with other things may stand still for minutes.
const LONGEST: Duration = Duration::from_secs(600);

/// What a process told of its seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Whether everything was as promised.
    pub passed: bool,
    /// Digest of the trace.
    pub digest: String,
    /// Lines of the trace.
    pub lines: u64,
    /// Appends that were acknowledged.
    pub acked: u64,
    /// Operations that were done.
    pub operations: u64,
    /// What was wrong.
    pub faults: Vec<String>,
}

impl Child {
    /// Runs a seed in a process of its own.
    pub fn run(seed: u64) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "one_seed", "--ignored", "--nocapture", "--test-threads=1"]);
        command.env(SEED, seed.to_string()).env(QUIET, "1");
        let output = within(command, LONGEST);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut child = Self {
            passed: output.status.success(),
            digest: String::new(),
            lines: 0,
            acked: 0,
            operations: 0,
            faults: Vec::new(),
        };
        for line in text.lines().filter_map(|line| line.split_once(SUMMARY)).map(|(_, line)| line.trim()) {
            match line.split_once(' ') {
                Some(("digest", digest)) => child.digest = digest.to_owned(),
                Some(("lines", lines)) => child.lines = lines.parse().unwrap(),
                Some(("acked", acked)) => child.acked = acked.parse().unwrap(),
                Some(("operations", operations)) => child.operations = operations.parse().unwrap(),
                _ => child.faults.push(line.to_owned()),
            }
        }
        if !child.passed && child.faults.is_empty() {
            child.faults.push(format!("{}", output.status));
            child.faults.push(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        child
    }
}

/// Runs a command, and ends it when it has taken too long: a simulation whose time stands still never ends by itself.
fn within(mut command: Command, longest: Duration) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (end, ended) = mpsc::channel::<()>();
    let id = i32::try_from(child.id()).unwrap();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let watch = thread::spawn(move || {
        if ended.recv_timeout(longest) == Err(mpsc::RecvTimeoutError::Timeout) {
            // SAFETY: a child of ours that nobody has waited for yet.
            #[allow(unsafe_code)]
            unsafe {
                libc::kill(id, libc::SIGKILL);
            }
        }
    });
    let errors = thread::spawn(move || {
        let mut bytes = Vec::new();
        stderr.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let mut output = Vec::new();
    stdout.read_to_end(&mut output).unwrap();
    let stderr = errors.join().unwrap();
    drop(end);
    watch.join().unwrap();
    Output { status: child.wait().unwrap(), stdout: output, stderr }
}

/// The seed that this process is to run.
pub fn seed_of_child() -> Option<u64> {
    env::var(SEED).ok()?.parse().ok()
}

/// Tells the parent; and people, unless it is only for the parent.
pub fn tell(seed: u64, outcome: &Outcome) {
    let lines = outcome.trace.lines();
    if env::var_os(QUIET).is_none() {
        println!("{:#?}", super::plan::Plan::of(seed));
        lines.iter().for_each(|line| println!("{line}"));
    }
    println!("\n{SUMMARY} digest {:08x}", outcome.trace.digest());
    println!("{SUMMARY} lines {}", lines.len());
    println!("{SUMMARY} acked {}", outcome.acked);
    println!("{SUMMARY} operations {}", outcome.operations);
    outcome.faults.iter().for_each(|fault| println!("{SUMMARY} {fault}"));
}

/// Seeds to run.
pub struct Campaign {
    first: u64,
    seeds: u64,
}

/// What came of them.
pub struct Report {
    seeds: u64,
    acked: u64,
    operations: u64,
    took: Duration,
    /// Seeds that failed, with what was wrong.
    pub failed: Vec<(u64, Vec<String>)>,
}

impl Campaign {
    /// What the environment asks for, or so many seeds.
    pub fn from_environment(seeds: u64) -> Self {
        let number = |name| env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
        Self { first: number("INKPOT_SIM_FIRST").unwrap_or(0), seeds: number("INKPOT_SIM_SEEDS").unwrap_or(seeds) }
    }

    /// Runs them all.
    pub fn run(&self) -> Report {
        let (next, begin) = (AtomicU64::new(self.first), Instant::now());
        let end = self.first + self.seeds;
        let work = || {
            let mut done = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end {
                    return done;
                }
                let child = Child::run(seed);
                if !child.passed {
                    eprintln!("seed {seed} failed: {:?}\nreplay: {}", child.faults, replay(seed));
                }
                done.push((seed, child));
            }
        };
        let parallel = thread::available_parallelism().map_or(1, usize::from);
        let mut done: Vec<(u64, Child)> = thread::scope(|scope| {
            let workers: Vec<_> = (0..parallel).map(|_| scope.spawn(work)).collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
        });
        done.sort_unstable_by_key(|(seed, _)| *seed);
        Report {
            seeds: self.seeds,
            acked: done.iter().map(|(_, child)| child.acked).sum(),
            operations: done.iter().map(|(_, child)| child.operations).sum(),
            took: begin.elapsed(),
            failed: done
                .into_iter()
                .filter(|(_, child)| !child.passed)
                .map(|(seed, child)| (seed, child.faults))
                .collect(),
        }
    }
}

fn replay(seed: u64) -> String {
    format!("{SEED}={seed} cargo test --locked -p inkpot-tests --test sim one_seed -- --exact --ignored --nocapture")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seeds, acked, operations, took, failed } = self;
        let rate = *seeds as f64 / took.as_secs_f64().max(0.001);
        write!(f, "sim: {seeds} seeds, {acked} appends acknowledged, {operations} operations done, ")?;
        writeln!(f, "{rate:.1} seeds/s, {} failed", failed.len())?;
        for (seed, faults) in failed {
            writeln!(f, "seed {seed}: {faults:?}\n  {}", replay(*seed))?;
        }
        Ok(())
    }
}
