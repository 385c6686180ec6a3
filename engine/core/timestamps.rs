//! Times as the API carries them.

use berth_api::query::InvalidQuery;

/// Nanoseconds after the Unix epoch, now.
pub fn now() -> i64 {
    crate::time::now()
}

/// RFC 3339; 0 is Docker's "never".
pub fn rfc3339(nanoseconds: i64) -> String {
    crate::time::rfc3339(nanoseconds)
}

/// Reads `SECONDS[.FRACTION]` after the Unix epoch, RFC 3339 with an offset, a date or time of day without one
/// (taken as UTC), or a Go duration (`1h30m`: so long ago). Nanoseconds after the Unix epoch.
pub fn parse_time(text: &str) -> Result<i64, InvalidQuery> {
    let invalid = || InvalidQuery(format!("invalid time {text:?}: expected seconds, RFC 3339 or a duration"));
    let text = text.trim();
    if let Some(time) = seconds(text) {
        return Ok(time);
    }
    if let Some(duration) = duration(text) {
        return Ok(now().saturating_sub(duration));
    }
    let nanoseconds = |time: jiff::Timestamp| i64::try_from(time.as_nanosecond()).map_err(|_| invalid());
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return nanoseconds(time);
    }
    let local = text
        .parse::<jiff::civil::DateTime>()
        .or_else(|_| text.parse::<jiff::civil::Date>().map(|date| date.to_datetime(jiff::civil::Time::midnight())));
    let zoned = local.and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC)).map_err(|_| invalid())?;
    nanoseconds(zoned.timestamp())
}

fn seconds(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let negative = whole.starts_with('-');
    let whole = whole.strip_prefix('-').unwrap_or(whole);
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let fraction: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let total = whole.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(fraction.parse().ok()?)?;
    Some(if negative { -total } else { total })
}

/// As Go's `time.ParseDuration`, positive, in nanoseconds.
fn duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total = 0f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let unit = &rest[..rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len())];
        let scale = match unit {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += number * scale;
        rest = &rest[unit.len()..];
    }
    #[expect(clippy::cast_possible_truncation, reason = "out of range saturates")]
    (!text.is_empty()).then_some(total as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form_that_clients_send() {
        assert_eq!(parse_time("1700000000"), Ok(1_700_000_000_000_000_000));
        assert_eq!(parse_time("1700000000.5"), Ok(1_700_000_000_500_000_000));
        assert_eq!(parse_time("1700000000.000000001"), Ok(1_700_000_000_000_000_001));
        assert_eq!(parse_time("2023-11-14T22:13:20.5Z"), Ok(1_700_000_000_500_000_000));
        assert_eq!(parse_time("2023-11-14T23:13:20+01:00"), Ok(1_700_000_000_000_000_000));
        assert_eq!(parse_time("2023-11-14T22:13:20"), Ok(1_700_000_000_000_000_000));
        assert_eq!(parse_time("2023-11-14"), Ok(1_699_920_000_000_000_000));
        let hour_ago = now() - parse_time("1h0m0s").unwrap();
        assert!((hour_ago - 3_600_000_000_000).abs() < 1_000_000_000, "{hour_ago}");
        for bad in ["", "x", "1x", "tomorrow", "99999999999999999999"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}
