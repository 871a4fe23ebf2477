//! Runs the fuzz targets. As ordinary tests: over `__fuzz__/TARGET/corpus`, which is kept, and random inputs for a moment
//! each. `tests/run fuzz` builds them with libFuzzer as the engine, which ends the process when its time is over.

use bolero::check;
use inkpot_fuzz as targets;
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

#[global_allocator]
static ALLOCATOR: targets::Counting = targets::Counting;

/// How long each makes up inputs when all tests run.
const MOMENT: Duration = Duration::from_secs(2);
/// Longest input, in bytes.
const MAX_LEN: usize = 4096;

macro_rules! target {
    ($name:ident) => {
        #[test]
        fn $name() {
            let executions = AtomicU64::new(0);
            check!(name = stringify!($name))
                .with_max_len(MAX_LEN)
                .with_test_time(MOMENT)
                .with_iterations(usize::MAX)
                .for_each(|input: &[u8]| {
                    executions.fetch_add(1, Ordering::Relaxed);
                    targets::$name(input);
                });
            println!("{}: {} executions", stringify!($name), executions.into_inner());
        }
    };
}

target!(config);
target!(frame);
target!(messages);
target!(records);
target!(recovery);
target!(seekable);
target!(text);
