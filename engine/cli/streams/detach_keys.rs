//! Detach keys: their notation, and noticing them in what is typed.

use anyhow::{Context, bail};

/// As Docker's.
const DEFAULT: &str = "ctrl-p,ctrl-q";

/// The keys that were asked for, in their notation; an empty flag asks for nothing.
pub(crate) fn or_default(asked: Option<&str>) -> &str {
    asked.filter(|keys| !keys.is_empty()).unwrap_or(DEFAULT)
}

/// `ctrl-p,ctrl-q` or `a,ctrl-[`: the bytes that the keys send.
pub(crate) fn parse(text: &str) -> anyhow::Result<Vec<u8>> {
    text.split(',')
        .map(|key| parse_key(key).with_context(|| format!("invalid detach keys ({text}) provided")))
        .collect()
}

fn parse_key(key: &str) -> anyhow::Result<u8> {
    if let &[byte] = key.as_bytes() {
        return Ok(byte);
    }
    match key.strip_prefix("ctrl-").map(str::as_bytes) {
        Some(&[letter @ b'a'..=b'z']) => Ok(letter - b'a' + 1),
        Some(b"@") => Ok(0),
        Some(b"[") => Ok(27),
        Some(b"\\") => Ok(28),
        Some(b"]") => Ok(29),
        Some(b"^") => Ok(30),
        Some(b"_") => Ok(31),
        _ => bail!("unknown key {key:?}"),
    }
}

/// Looks for the keys in a stream of input, wherever it is cut.
#[derive(Debug)]
pub(super) struct Scanner {
    keys: Vec<u8>,
    matched: usize,
}

impl Scanner {
    pub(super) fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }

    /// What of `input` is to be sent now, and whether the keys were completed. The beginning of the keys is held
    /// back until the next byte tells.
    pub(super) fn scan(&mut self, input: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(input.len());
        for &byte in input {
            if self.keys.get(self.matched) == Some(&byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return (passed, true);
                }
                continue;
            }
            passed.extend_from_slice(&self.keys[..self.matched]);
            self.matched = usize::from(self.keys.first() == Some(&byte));
            if self.matched == 0 {
                passed.push(byte);
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_noticed_wherever_the_input_is_cut() {
        let mut scanner = Scanner::new(parse(DEFAULT).unwrap());
        assert_eq!(scanner.scan(b"ls\x10"), (b"ls".to_vec(), false));
        assert_eq!(scanner.scan(b"x\x10\x10"), (b"\x10x\x10".to_vec(), false));
        assert_eq!(scanner.scan(b"\x11"), (Vec::new(), true));
    }

    #[test]
    fn an_empty_flag_asks_for_nothing() {
        assert_eq!((or_default(None), or_default(Some("")), or_default(Some("a"))), (DEFAULT, DEFAULT, "a"));
    }

    #[test]
    fn the_notation_is_dockers() {
        assert_eq!(parse("a,ctrl-@,ctrl-_").unwrap(), [b'a', 0, 31]);
        for bad in ["", "ctrl-", "ctrl-A", "ab", "a,,b"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
