//! Numbers in header fields: octal text, or base 256 (GNU) when the first byte's top bit is set.

/// `None` if it is neither. An empty field is 0.
pub(super) fn parse(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 != 0 {
        return base256(field);
    }
    let text = field.split(|&byte| byte == 0).next().unwrap_or_default();
    let text = std::str::from_utf8(text).ok()?.trim_matches(' ');
    if text.is_empty() {
        return Some(0);
    }
    if !text.bytes().all(|byte| (b'0'..=b'7').contains(&byte)) {
        return None;
    }
    i64::from_str_radix(text, 8).ok()
}

/// Two's complement, big endian; the top bit is the mark.
fn base256(field: &[u8]) -> Option<i64> {
    let negative = field[0] & 0x40 != 0;
    let first = if negative { field[0] } else { field[0] & 0x7f };
    let mut value: i128 = if negative { -1 } else { 0 };
    for (index, &byte) in field.iter().enumerate() {
        let byte = if index == 0 { first } else { byte };
        value = value.checked_mul(256)?.checked_add(i128::from(byte))?;
        if !(i128::from(i64::MIN)..=i128::from(i64::MAX)).contains(&value) {
            return None;
        }
    }
    i64::try_from(value).ok()
}

/// Writes octal digits and a NUL; false if they do not fit.
pub(super) fn write(field: &mut [u8], value: u64) -> bool {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}");
    if text.len() > digits {
        return false;
    }
    field[..digits].copy_from_slice(text.as_bytes());
    field[digits] = 0;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_and_base_256_are_read() {
        assert_eq!(parse(b"0000644\0"), Some(0o644));
        assert_eq!(parse(b"    644 "), Some(0o644));
        assert_eq!(parse(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(parse(b"\x80\0\0\0\0\0\x01\0"), Some(256));
        assert_eq!(parse(&[0xff; 12]), Some(-1));
        assert_eq!(parse(b"0000689\0"), None);
        assert_eq!(parse(&[0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn a_number_too_long_for_its_field_is_not_written() {
        let mut field = [0; 8];
        assert!(write(&mut field, 0o7_777_777));
        assert_eq!(&field, b"7777777\0");
        assert!(!write(&mut field, 0o10_000_000));
    }
}
