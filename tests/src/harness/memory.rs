//! Memory of a process, as the kernel counts it.

use std::fs;

/// Bytes in a mebibyte.
pub const MIB: usize = 1 << 20;

/// Memory that the process has resident now, in bytes.
///
/// # Panics
/// If the process has gone.
#[must_use]
pub fn resident(pid: u32) -> usize {
    of_status(pid, "VmRSS:")
}

/// As [`resident`]; from now on [`peak`] tells of what comes after.
///
/// # Panics
/// If the process has gone, or belongs to somebody else.
#[must_use]
pub fn begin(pid: u32) -> usize {
    // See `clear_refs` in the manual of proc.
    fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("the process is ours");
    resident(pid)
}

/// Most memory that the process ever had resident, in bytes, or had since [`begin`].
///
/// # Panics
/// If the process has gone.
#[must_use]
pub fn peak(pid: u32) -> usize {
    of_status(pid, "VmHWM:")
}

fn of_status(pid: u32, name: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel counts memory");
    line.trim().trim_end_matches(" kB").trim().parse::<usize>().expect("a number of kibibytes") << 10
}
