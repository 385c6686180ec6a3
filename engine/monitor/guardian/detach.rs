//! The keys that detach a client from a terminal.

/// Looks for the keys in what a client types, across reads. As Docker does it: a beginning of the sequence is held
/// back, and comes out with what follows when it was none; that next byte does not begin a new sequence.
#[derive(Debug)]
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    matched: usize,
}

impl DetachKeys {
    /// `None` without keys.
    pub(crate) fn new(keys: Vec<u8>) -> Option<Self> {
        (!keys.is_empty()).then_some(Self { keys, matched: 0 })
    }

    /// Appends to `out` what is input. True when the keys are complete; the rest of `input` is then dropped.
    pub(crate) fn filter(&mut self, input: &[u8], out: &mut Vec<u8>) -> bool {
        for &byte in input {
            if byte == self.keys[self.matched] {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return true;
                }
            } else {
                out.extend_from_slice(&self.keys[..self.matched]);
                out.push(byte);
                self.matched = 0;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(parts: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut keys = DetachKeys::new(vec![16, 17]).unwrap();
        let mut out = Vec::new();
        let detached = parts.iter().any(|part| keys.filter(part, &mut out));
        (out, detached)
    }

    #[test]
    fn keys_in_two_packets_detach() {
        assert_eq!(feed(&[b"ab\x10", b"\x11cd"]), (b"ab".to_vec(), true));
    }

    #[test]
    fn a_beginning_that_goes_on_differently_is_forwarded() {
        assert_eq!(feed(&[b"\x10", b"x"]), (b"\x10x".to_vec(), false));
        assert_eq!(feed(&[b"\x10\x10\x11"]), (b"\x10\x10\x11".to_vec(), false));
    }

    #[test]
    fn a_beginning_alone_is_held_back() {
        assert_eq!(feed(&[b"a\x10"]), (b"a".to_vec(), false));
    }
}
