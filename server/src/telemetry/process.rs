//! What the system says of the process, read from `/proc` when somebody collects.

use super::{instruments, names};
use opentelemetry::{
    KeyValue,
    metrics::{AsyncInstrument, Meter},
};
use std::{fs, time::Instant};

/// Fields of `/proc/self/stat` behind the name of the program, counted from the state (proc(5)): user and system time.
const TIMES: [(usize, &str); 2] = [(11, "user"), (12, "system")];

/// Lets whoever collects read them.
pub(super) fn observe(meter: &Meter, started: Instant) {
    let ticks = rustix::param::clock_ticks_per_second();
    let cpu = names::CPU_TIME;
    let read_cpu = move |observer: &dyn AsyncInstrument<f64>| {
        for (seconds, mode) in cpu_seconds(ticks) {
            observer.observe(seconds, &[KeyValue::new(names::CPU_MODE, mode)]);
        }
    };
    let builder = meter.f64_observable_counter(cpu.name).with_unit(cpu.unit);
    builder.with_description(cpu.description).with_callback(read_cpu).build();
    instruments::observe(meter, &names::PROCESS_MEMORY, |tell| {
        if let Some(bytes) = resident_bytes() {
            tell(bytes, &[]);
        }
    });
    instruments::observe(meter, &names::DESCRIPTORS, |tell| {
        if let Some(descriptors) = descriptors() {
            tell(descriptors, &[]);
        }
    });
    instruments::observe(meter, &names::UPTIME, move |tell| tell(started.elapsed().as_secs(), &[]));
}

fn cpu_seconds(ticks: u64) -> Vec<(f64, &'static str)> {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program may contain anything, also blanks and brackets; the last bracket ends it.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let times = TIMES.iter().filter_map(|(at, mode)| Some((fields.get(*at)?.parse::<u64>().ok()?, *mode)));
    // There are 100 ticks in a second: far from 2^52 of them.
    #[allow(clippy::cast_precision_loss)]
    times.map(|(time, mode)| (time as f64 / ticks as f64, mode)).collect()
}

fn resident_bytes() -> Option<u64> {
    let pages: u64 = fs::read_to_string("/proc/self/statm").ok()?.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Since Linux 6.2 the size of the folder is the answer (proc_pid_fd(5)); before, it has to be read, an entry each.
fn descriptors() -> Option<u64> {
    let folder = "/proc/self/fd";
    match fs::metadata(folder).ok()?.len() {
        0 => Some(fs::read_dir(folder).ok()?.count() as u64),
        size => Some(size),
    }
}

#[cfg(test)]
mod tests;
