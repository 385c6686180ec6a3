//! Go's durations: `1h30m`, `500ms`, `1.5s`.

use anyhow::{Context, bail};

pub(crate) fn nanoseconds(text: &str) -> anyhow::Result<i64> {
    let invalid = || format!("invalid duration {text:?}");
    if text == "0" {
        return Ok(0);
    }
    let mut rest = text;
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').with_context(invalid)?;
        let number: f64 = rest[..digits].parse().with_context(invalid)?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => bail!(invalid()),
        };
        total += number * unit;
        rest = &rest[end..];
    }
    if text.is_empty() || total >= i64::MAX as f64 {
        bail!(invalid());
    }
    Ok(total as i64)
}

#[cfg(test)]
mod tests {
    use super::nanoseconds;

    #[test]
    fn durations_are_gos() {
        assert_eq!(nanoseconds("1h30m").unwrap(), 5_400_000_000_000);
        assert_eq!(nanoseconds("1.5s").unwrap(), 1_500_000_000);
        assert_eq!(nanoseconds("500ms").unwrap(), 500_000_000);
        for bad in ["", "5", "s", "-1s", "1x", "1s2"] {
            assert!(nanoseconds(bad).is_err(), "{bad}");
        }
    }
}
