//! The command line tool `inkpot`: appends, reads, lists, and shows the service at work (`demo`, `bench`).

mod cli;

use std::process::ExitCode;

/// Records are many small allocations that one thread makes and another frees, which mimalloc is built for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
