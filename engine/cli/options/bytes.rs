//! Sizes as people write them: `512m`, `2GiB`, `1.5g` (powers of 1024, as Docker reads memory sizes).

/// Bytes, or a negative number taken as it is (`-1`: unlimited).
pub(crate) fn parse(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    if let Ok(number) = text.parse::<i64>() {
        return Ok(number);
    }
    let lower = text.trim().to_ascii_lowercase();
    let split = lower.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(invalid)?;
    let (number, unit) = lower.split_at(split);
    let number: f64 = number.parse().map_err(|_| invalid())?;
    let power = match unit.trim() {
        "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return Err(invalid()),
    };
    let bytes = number * 1024f64.powi(power);
    if bytes.is_finite() && bytes < i64::MAX as f64 { Ok(bytes as i64) } else { Err(invalid()) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in
            [("0", 0), ("-1", -1), ("1024", 1024), ("1k", 1024), ("1.5m", 1_572_864), ("2GiB", 2 << 30), ("3 kb", 3072)]
        {
            assert_eq!(super::parse(text), Ok(bytes), "{text}");
        }
        for text in ["", "m", "1x", "1.2.3m", "9999999999g", "--1"] {
            assert!(super::parse(text).is_err(), "{text}");
        }
    }
}
