//! Points in time as `--since` and `--until` take them.

use anyhow::Context;

use super::duration;

/// RFC 3339 (also without zone, seconds or time of day), Unix seconds, or a duration before now; as the API takes
/// it: `seconds.nanoseconds`.
pub(crate) fn parse(text: &str) -> anyhow::Result<String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Ok(text.to_owned());
    }
    let moment = match duration::nanoseconds(text) {
        Ok(nanoseconds) => jiff::Timestamp::now()
            .checked_sub(jiff::SignedDuration::from_nanos(nanoseconds))
            .with_context(|| format!("{text:?} is too long ago"))?,
        Err(_) => absolute(text).with_context(|| {
            format!("invalid time {text:?}: expected RFC 3339, Unix seconds, or a duration like 10m")
        })?,
    };
    Ok(format!("{}.{:09}", moment.as_second(), moment.subsec_nanosecond()))
}

fn absolute(text: &str) -> Option<jiff::Timestamp> {
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return Some(moment);
    }
    let civil = text.parse::<jiff::civil::DateTime>().or_else(|_| format!("{text}:00").parse()).ok()?;
    civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn moments_are_read_in_every_form() {
        assert_eq!(parse("1700000000.5").unwrap(), "1700000000.5");
        assert_eq!(parse("2013-01-02T13:23:37Z").unwrap(), "1357133017.000000000");
        assert_eq!(parse("2013-01-02T13:23:37").unwrap(), "1357133017.000000000");
        assert_eq!(parse("2013-01-02T13:23").unwrap(), "1357132980.000000000");
        assert_eq!(parse("2013-01-02").unwrap(), "1357084800.000000000");
        assert!(parse("10m").is_ok());
        assert!(parse("yesterday").is_err());
    }
}
