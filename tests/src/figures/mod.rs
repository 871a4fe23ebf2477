//! What the benches that compare share: where the programs are, how a rate is written, and pictures of bars.

mod picture;

pub use picture::{Bar, Column, Panel, draw};

use std::{
    io,
    path::PathBuf,
    process::{Command, Output},
};

/// A program of ours, of the same build as the bench that asks.
///
/// # Errors
/// If it was not built.
pub fn program(name: &str) -> io::Result<PathBuf> {
    let mut program = std::env::current_exe()?;
    program.pop();
    program.pop();
    program.push(name);
    let missing = || io::Error::other(format!("{name} is missing; run: cargo build --release --workspace --bins"));
    program.exists().then_some(program).ok_or_else(missing)
}

/// What `inkpot bench` with these arguments reports.
///
/// # Errors
/// If it fails, with its words.
pub fn bench(args: &[String]) -> io::Result<serde_json::Value> {
    let Output { status, stdout, stderr } =
        Command::new(program("inkpot")?).args(["bench", "--output", "json"]).args(args).output()?;
    let failed = || io::Error::other(String::from_utf8_lossy(&stderr).into_owned());
    serde_json::from_slice(&stdout).ok().filter(|_| status.success()).ok_or_else(failed)
}

/// A number as people write it: 5.13 M, 512 k, 907.
#[must_use]
pub fn short(number: f64) -> String {
    match number {
        number if number >= 1e6 => format!("{:.2} M", number / 1e6),
        number if number >= 1e4 => format!("{:.0} k", number / 1e3),
        number if number >= 1e3 => format!("{:.1} k", number / 1e3),
        number => format!("{number:.0}"),
    }
}
