//! Times as Docker writes them.

use std::time::{SystemTime, UNIX_EPOCH};

/// Docker's way to say "never".
pub(crate) const NEVER: &str = "0001-01-01T00:00:00Z";

/// Nanoseconds after the Unix epoch.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// RFC 3339 with nanoseconds, trailing zeros left out.
pub(crate) fn rfc3339(nanoseconds: i64) -> String {
    if nanoseconds == 0 {
        return NEVER.to_owned();
    }
    jiff::Timestamp::from_nanosecond(nanoseconds.into()).map_or_else(|_| NEVER.to_owned(), |time| time.to_string())
}

/// How long ago in words, as go-units has them: `5 minutes`, `About an hour`.
pub(crate) fn human_duration(nanoseconds: i64) -> String {
    let seconds = nanoseconds.max(0) / 1_000_000_000;
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_dockers_do() {
        for (seconds, words) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (180, "3 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (60 * 60 * 24 * 3, "3 days"),
            (60 * 60 * 24 * 21, "3 weeks"),
            (60 * 60 * 24 * 90, "3 months"),
            (60 * 60 * 24 * 365 * 3, "3 years"),
        ] {
            assert_eq!(human_duration(seconds * 1_000_000_000), words, "{seconds}");
        }
    }

    #[test]
    fn zero_is_never() {
        assert_eq!(rfc3339(0), NEVER);
        assert_eq!(rfc3339(1_700_000_000_123_000_000), "2023-11-14T22:13:20.123Z");
    }
}
