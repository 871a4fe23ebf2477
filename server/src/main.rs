//! `inkpotd`, the server.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    inkpot_server::cli::run(std::env::args_os())
}
