//! Times as text. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last millisecond that four digits of a year can tell.
const LAST: Duration = Duration::from_millis(253_402_300_799_999);

/// RFC 3339 in UTC with milliseconds, as in `2026-11-23T10:15:00.123Z`: always 24 bytes. A time that four digits of a year
/// cannot tell becomes the nearest that they can.
#[must_use]
pub fn rfc3339_millis(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time.clamp(UNIX_EPOCH, UNIX_EPOCH + LAST)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_same_width_whenever_they_are() {
        let show = |seconds| rfc3339_millis(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(rfc3339_millis(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000Z");
        assert_eq!(show(951_782_399), "2000-02-28T23:59:59.000Z");
        assert_eq!(show(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(rfc3339_millis(UNIX_EPOCH + LAST), "9999-12-31T23:59:59.999Z");
        assert_eq!(rfc3339_millis(UNIX_EPOCH + 2 * LAST), "9999-12-31T23:59:59.999Z");
    }
}
