//! The clock and the randomness of the C library, as the simulation has them. The functions here take the place of the C
//! library's in this test binary, so that everything which asks the system (`Instant`, `SystemTime`, hash seeds, `rand`)
//! gets the same answer in each run of a seed. Threads that run no simulation get those of the system.
#![allow(unsafe_code)] // what has the name of a C function is called like one, and writes where its caller says

use std::{
    cell::Cell,
    time::{Duration, Instant},
};
use tokio::runtime::Handle;

/// What the simulated machine shows when a simulation begins: 2026-01-01 00:00 UTC, an hour after it was switched on.
const EPOCH: Duration = Duration::from_secs(1_767_225_600);
const BOOT: Duration = Duration::from_secs(3600);

thread_local! {
    static IS_SIMULATED: Cell<bool> = const { Cell::new(false) };
    /// Time between two looks at a runtime's clock.
    static ELAPSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static IS_ASKING: Cell<bool> = const { Cell::new(false) };
    static BEGIN: Cell<Option<Instant>> = const { Cell::new(None) };
    static RANDOM: Cell<u64> = const { Cell::new(0) };
}

/// From here on this thread has simulated time and randomness. For good: a thread runs one simulation.
pub fn pin(seed: u64) {
    RANDOM.set(seed);
    IS_SIMULATED.set(true);
    BEGIN.set(Some(Instant::now()));
}

/// So much simulated time has passed; where a runtime with a clock of its own runs, that one counts.
pub fn set_elapsed(elapsed: Duration) {
    ELAPSED.set(elapsed);
}

fn elapsed() -> Duration {
    // The clock of the runtime asks the clock of the system once, when the runtime is made.
    if IS_ASKING.replace(true) {
        return ELAPSED.get();
    }
    let of_runtime = Handle::try_current().ok().map(|_| tokio::time::Instant::now().into_std());
    IS_ASKING.set(false);
    match (of_runtime, BEGIN.get()) {
        (Some(now), Some(begin)) => now.saturating_duration_since(begin),
        _ => ELAPSED.get(),
    }
}

/// Splitmix64.
fn random() -> u64 {
    let state = RANDOM.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    RANDOM.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> libc::c_int {
    if !IS_SIMULATED.get() {
        // SAFETY: the caller's arguments, as they came.
        return unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) as libc::c_int };
    }
    let now = elapsed() + if clock == libc::CLOCK_REALTIME { EPOCH } else { BOOT };
    // SAFETY: the caller gives a place for a `timespec`.
    unsafe {
        (*time).tv_sec = now.as_secs() as libc::time_t;
        (*time).tv_nsec = libc::c_long::from(now.subsec_nanos());
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut libc::c_void, len: libc::size_t, flags: libc::c_uint) -> libc::ssize_t {
    if !IS_SIMULATED.get() {
        // SAFETY: the caller's arguments, as they came.
        return unsafe { libc::syscall(libc::SYS_getrandom, buffer, len, flags) as libc::ssize_t };
    }
    for at in 0..len {
        // SAFETY: the caller gives a place for `len` bytes.
        unsafe { buffer.cast::<u8>().add(at).write(random().to_le_bytes()[0]) };
    }
    libc::ssize_t::try_from(len).unwrap_or(libc::ssize_t::MAX)
}
