//! PAX extended headers (POSIX.1-2017, pax, "pax Extended Header"): `LENGTH KEY=VALUE\n`, values of any bytes.

use super::Sparse;

/// What is understood of an extended header; the rest is passed over.
#[derive(Debug, Default, Clone)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) linkpath: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: Option<Sparse>,
    /// The map stands before the data (GNU sparse format 1.0).
    pub(super) map_in_data: bool,
    pending_offset: Option<u64>,
}

impl Pax {
    /// Fails with what is wrong.
    pub(super) fn parse(mut body: &[u8]) -> Result<Self, String> {
        let mut pax = Self::default();
        // Some writers pad with NULs.
        while !body.is_empty() && body[0] != 0 {
            let (record, rest) = record(body).ok_or("its extended header is malformed")?;
            body = rest;
            let equals = record.iter().position(|&b| b == b'=').ok_or("its extended header is malformed")?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            pax.set(key, value).ok_or_else(|| {
                let shown = String::from_utf8_lossy(&value[..value.len().min(40)]);
                format!("its extended header has a wrong {}: {shown}", String::from_utf8_lossy(key))
            })?;
        }
        Ok(pax)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let text = || std::str::from_utf8(value).ok();
        let number = || text()?.parse::<u64>().ok();
        match key {
            b"path" => self.path = no_nul(value),
            b"linkpath" => self.linkpath = no_nul(value),
            b"size" => self.size = Some(number()?),
            b"uid" => self.uid = Some(number()?),
            b"gid" => self.gid = Some(number()?),
            b"mtime" => self.mtime = Some(time(text()?)?),
            b"GNU.sparse.name" => self.path = no_nul(value),
            b"GNU.sparse.major" => self.map_in_data = number()? >= 1,
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse().size = number()?,
            b"GNU.sparse.offset" => self.pending_offset = Some(number()?),
            b"GNU.sparse.numbytes" => {
                let entry = (self.pending_offset.take()?, number()?);
                self.sparse().map.push(entry);
            }
            b"GNU.sparse.map" => self.sparse().map = map(text()?)?,
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.")
                    && !name.is_empty()
                    && !name.contains(&0)
                {
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
                return Some(());
            }
        }
        (!matches!(key, b"path" | b"linkpath" | b"GNU.sparse.name") || no_nul(value).is_some()).then_some(())
    }

    fn sparse(&mut self) -> &mut Sparse {
        self.sparse.get_or_insert_default()
    }
}

fn no_nul(value: &[u8]) -> Option<Vec<u8>> {
    (!value.contains(&0)).then(|| value.to_vec())
}

fn record(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = body.iter().take(20).position(|&b| b == b' ')?;
    let length: usize = std::str::from_utf8(&body[..space]).ok()?.parse().ok()?;
    let record = body.get(space + 1..length)?;
    let (b'\n', record) = record.split_last()? else { return None };
    Some((record, &body[length..]))
}

fn map(text: &str) -> Option<Vec<(u64, u64)>> {
    let numbers: Vec<u64> = text.split(',').map(|n| n.parse().ok()).collect::<Option<_>>()?;
    numbers.chunks(2).map(|pair| Some((pair[0], *pair.get(1)?))).collect()
}

/// `[-]SECONDS[.FRACTION]`; digits past nanoseconds are cut off.
fn time(text: &str) -> Option<(i64, u32)> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if !digits.starts_with(|c: char| c.is_ascii_digit()) || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let mut nanoseconds = 0_u32;
    for index in 0..9 {
        let digit = fraction.as_bytes().get(index).map_or(0, |b| u32::from(b - b'0'));
        nanoseconds = nanoseconds * 10 + digit;
    }
    Some(match (negative, nanoseconds) {
        (false, _) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}

/// As [`time`] reads it, without needless digits.
pub(super) fn format_time((seconds, nanoseconds): (i64, u32)) -> String {
    let (sign, seconds, nanoseconds) = match (seconds < 0, nanoseconds) {
        (true, 1..) => ("-", -(seconds + 1), 1_000_000_000 - nanoseconds),
        (true, 0) => ("-", -seconds, 0),
        (false, _) => ("", seconds, nanoseconds),
    };
    if nanoseconds == 0 {
        return format!("{sign}{seconds}");
    }
    let fraction = format!("{nanoseconds:09}");
    format!("{sign}{seconds}.{}", fraction.trim_end_matches('0'))
}

/// Appends one record.
pub(super) fn push(body: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // The length counts its own digits.
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    body.extend_from_slice(length.to_string().as_bytes());
    body.push(b' ');
    body.extend_from_slice(key);
    body.push(b'=');
    body.extend_from_slice(value);
    body.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_with_newlines_and_nuls_survive() {
        let mut body = Vec::new();
        push(&mut body, b"SCHILY.xattr.security.capability", b"\x01\n\0\n9 a=b\n");
        push(&mut body, b"path", "ü\n".as_bytes());
        let pax = Pax::parse(&body).unwrap();
        assert_eq!(pax.xattrs, [(b"security.capability".to_vec(), b"\x01\n\0\n9 a=b\n".to_vec())]);
        assert_eq!(pax.path.as_deref(), Some("ü\n".as_bytes()));
    }

    #[test]
    fn lengths_count_their_own_digits() {
        for length in 80..120 {
            let mut body = Vec::new();
            push(&mut body, b"path", &vec![b'x'; length]);
            assert_eq!(Pax::parse(&body).unwrap().path.unwrap().len(), length);
        }
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        for value in [(0, 0), (1, 5), (1_700_000_000, 123_456_789), (-1, 0), (-1, 500_000_000), (-5, 1)] {
            assert_eq!(time(&format_time(value)), Some(value), "{value:?}");
        }
        assert_eq!(time("1.1234567899"), Some((1, 123_456_789)));
        assert_eq!(time("-0.5"), Some((-1, 500_000_000)));
        assert_eq!(time("1,5"), None);
        assert_eq!(time(""), None);
    }

    #[test]
    fn lying_records_are_refused() {
        for body in [&b"99 path=a\n"[..], b"5 path=a\n", b"x path=a\n", b"9 path=a", b"6 path\n", b"13 size=-100\n"] {
            assert!(Pax::parse(body).is_err(), "{}", String::from_utf8_lossy(body));
        }
    }
}
