//! Sizes and times in people's words, as Docker prints them.

/// Powers of 1000 with four significant digits: `1.23GB`.
pub(crate) fn size(bytes: i64) -> String {
    scaled(bytes as f64, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB"], 4)
}

/// As [`size`] with three digits, for lists of images.
pub(crate) fn short_size(bytes: i64) -> String {
    scaled(bytes as f64, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB"], 3)
}

/// Powers of 1024: `1.5GiB`.
pub(crate) fn binary_size(bytes: f64) -> String {
    scaled(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"], 4)
}

/// Go's `%.Ng`: significant digits, no trailing zeros.
fn scaled(mut value: f64, base: f64, units: &[&str], digits: usize) -> String {
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let whole = if value >= 1.0 { value.log10().floor() as usize + 1 } else { 1 };
    let mut text = format!("{value:.*}", digits.saturating_sub(whole));
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    format!("{text}{}", units[unit])
}

/// `2 hours`, `About a minute`: go-units' HumanDuration.
pub(crate) fn duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds as f64 / 3600.0).round() as i64);
    match seconds {
        ..=0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..=59 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// `2 hours ago`, of a Unix time.
pub(crate) fn ago(unix: i64) -> String {
    format!("{} ago", duration(jiff::Timestamp::now().as_second() - unix))
}

/// A time of the API (RFC 3339) as Go prints times: `2026-01-02 03:04:05.6 +0000 UTC`. What is none stays as it is.
pub(crate) fn moment(text: &str) -> String {
    let Ok(time) = text.parse::<jiff::Timestamp>() else { return text.to_owned() };
    let second = time.strftime("%Y-%m-%d %H:%M:%S");
    let fraction = format!(".{:09}", time.subsec_nanosecond());
    format!("{second}{} +0000 UTC", fraction.trim_end_matches('0').trim_end_matches('.'))
}

/// The first twelve digits of an ID, without its `sha256:`.
pub(crate) fn short_id(id: &str) -> &str {
    let id = id.strip_prefix("sha256:").unwrap_or(id);
    id.get(..12).unwrap_or(id)
}

/// At most `length` characters, the last one an ellipsis when there were more.
pub(crate) fn ellipsis(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    text.chars().take(length.saturating_sub(1)).chain(std::iter::once('…')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_read_as_dockers() {
        assert_eq!(size(0), "0B");
        assert_eq!(size(1_234_567), "1.235MB");
        assert_eq!(short_size(77_800_000), "77.8MB");
        assert_eq!(binary_size(1536.0), "1.5KiB");
        assert_eq!(binary_size(24.0 * 1024.0 * 1024.0 * 1024.0), "24GiB");
        assert_eq!(duration(0), "Less than a second");
        assert_eq!(duration(61), "About a minute");
        assert_eq!(duration(7200), "2 hours");
        assert_eq!(duration(86_400 * 3), "3 days");
        assert_eq!(moment("2026-01-02T03:04:05.600Z"), "2026-01-02 03:04:05.6 +0000 UTC");
        assert_eq!(moment("0001-01-01T00:00:00Z"), "0001-01-01 00:00:00 +0000 UTC");
        assert_eq!(moment("some day"), "some day");
        assert_eq!(ellipsis("abcdef", 4), "abc…");
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
    }
}
