//! How long to wait before the next connection.

use std::time::Duration;

pub(crate) const SHORTEST_BACKOFF: Duration = Duration::from_millis(50);
pub(crate) const LONGEST_BACKOFF: Duration = Duration::from_secs(2);
/// A connection that held this long, or brought something, was a good one: the next back-off is short again.
pub(crate) const GOOD_CONNECTION: Duration = Duration::from_secs(2);

/// Exponential, and jittered so that those who lost one server do not come back as one.
pub(crate) fn backoff(failures: u32) -> Duration {
    let full = SHORTEST_BACKOFF.saturating_mul(1 << failures.min(10)).min(LONGEST_BACKOFF);
    full.mul_f64(rand::random_range(0.5..1.0))
}

#[cfg(test)]
mod tests {
    use super::{LONGEST_BACKOFF, SHORTEST_BACKOFF, backoff};

    #[test]
    fn backoff_grows_to_its_bound_and_never_overflows() {
        for (failures, longest) in [(0, SHORTEST_BACKOFF), (1, SHORTEST_BACKOFF * 2), (6, LONGEST_BACKOFF)] {
            let pause = backoff(failures);
            assert!(pause >= longest / 2 && pause <= longest, "{failures}: {pause:?}");
        }
        assert!(backoff(u32::MAX) <= LONGEST_BACKOFF);
    }
}
