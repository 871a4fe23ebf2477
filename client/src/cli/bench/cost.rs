//! What a process uses, as the kernel tells in /proc.

use std::fs;

/// Clock ticks in a second of CPU time: what Linux shows to programs on every architecture of today.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time and memory of a process at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reading {
    cpu_seconds: f64,
    rss_mib: f64,
}

/// What was used between two readings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Used {
    pub(super) cpu_seconds: f64,
    /// Resident memory at the end, in MiB.
    pub(super) rss_mib: f64,
}

impl Reading {
    /// Nothing if the process is gone or is not ours to see.
    pub(super) fn take(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        Some(Self { cpu_seconds: cpu_seconds(&stat)?, rss_mib: rss_mib(&status)? })
    }

    pub(super) fn since(&self, before: &Self) -> Used {
        Used { cpu_seconds: self.cpu_seconds - before.cpu_seconds, rss_mib: self.rss_mib }
    }
}

/// User and system time. The name of the process, second in the line, may hold spaces and parentheses.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn rss_mib(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests;
