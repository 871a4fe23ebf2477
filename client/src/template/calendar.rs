//! The day and hour of a point in time, in UTC.

use std::time::SystemTime;

const SECONDS_A_DAY: i64 = 86_400;
/// Days from 1 March of year 0 to 1 January 1970.
const DAYS_BEFORE_1970: i64 = 719_468;
/// Days of 400, 100, 4 and 1 years: how often the Gregorian calendar repeats, and its leap years.
const DAYS_400: i64 = 146_097;
const DAYS_100: i64 = 36_524;
const DAYS_4: i64 = 1_461;
const DAYS_1: i64 = 365;

/// A day and its hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    year: i64,
    month: i64,
    day: i64,
    pub(super) hour: i64,
}

impl Moment {
    pub(super) fn of(time: SystemTime) -> Self {
        let seconds = match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            Err(before) => {
                let before = before.duration();
                let whole = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
                -whole - i64::from(before.subsec_nanos() > 0)
            }
        };
        let (year, month, day) = civil(seconds.div_euclid(SECONDS_A_DAY));
        Self { year, month, day, hour: seconds.rem_euclid(SECONDS_A_DAY) / 3600 }
    }

    /// `YYYY-MM-DD`.
    pub(super) fn date(self) -> String {
        format!("{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// Year, month and day of a day that is counted from 1 January 1970. Counts years from March on, so that a leap day is the
/// last one of its year.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + DAYS_BEFORE_1970;
    let (era, day) = (days.div_euclid(DAYS_400), days.rem_euclid(DAYS_400));
    let centuries = (day / DAYS_100).min(3);
    let day = day - centuries * DAYS_100;
    let fours = day / DAYS_4;
    let day = day % DAYS_4;
    let years = (day / DAYS_1).min(3);
    let day = day - years * DAYS_1;
    let year = era * 400 + centuries * 100 + fours * 4 + years;
    // From March on the lengths of the months repeat every five months, which have 153 days.
    let month = (5 * day + 2) / 153;
    let first = (153 * month + 2) / 5;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (year + next, month, day - first + 1)
}
