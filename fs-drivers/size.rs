//! Sizes for people.

/// As Docker writes them: `12.3MB`, `10GB`.
pub(crate) fn show(bytes: u64) -> String {
    let mut units = ["B", "kB", "MB", "GB", "TB", "PB"].iter();
    let (mut size, mut unit) = (bytes as f64, units.next());
    while size >= 1000.0 && units.len() > 0 {
        (size, unit) = (size / 1000.0, units.next());
    }
    let number = format!("{size:.1}");
    format!("{}{}", number.strip_suffix(".0").unwrap_or(&number), unit.copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_in_the_largest_unit() {
        let shown = [12, 1536, 65_536, 12_345_678, 10_000_000_000, u64::MAX].map(show);
        assert_eq!(shown, ["12B", "1.5kB", "65.5kB", "12.3MB", "10GB", "18446.7PB"]);
    }
}
