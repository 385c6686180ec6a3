//! Frames: Docker's 8-byte header and a payload. What both sides of the socket need to write and read them.

use serde::Serialize;

use crate::protocol::{MAX_FRAME, frame};

pub const HEADER: usize = 8;

/// The header of a frame. `length` is at most [`MAX_FRAME`].
pub fn header(kind: u8, length: usize) -> [u8; HEADER] {
    debug_assert!(length <= MAX_FRAME);
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [kind, 0, 0, 0, a, b, c, d]
}

/// Kind and length; `None` when the length is beyond [`MAX_FRAME`].
pub fn parse_header(header: [u8; HEADER]) -> Option<(u8, usize)> {
    let [kind, _, _, _, a, b, c, d] = header;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    (length <= MAX_FRAME).then_some((kind, length))
}

/// A whole control frame.
pub fn control<T: Serialize>(message: &T) -> Vec<u8> {
    let payload = serde_json::to_vec(message).unwrap_or_default();
    let mut bytes = header(frame::CONTROL, payload.len()).to_vec();
    bytes.extend_from_slice(&payload);
    bytes
}

/// Takes a stream of bytes apart, however it was cut into reads.
#[derive(Debug, Default)]
pub struct Decoder {
    header: [u8; HEADER],
    have: usize,
    left: usize,
}

/// A piece of a frame; the last one of a frame has `last` set. A frame without payload gives one empty piece.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    pub kind: u8,
    pub bytes: &'a [u8],
    pub last: bool,
    /// The whole frame is empty.
    pub empty: bool,
}

/// The length in a header is beyond [`MAX_FRAME`].
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

impl Decoder {
    /// The next piece of `input`, which moves forward; `None` when more is needed.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Piece<'a>>, TooLong> {
        if self.have < HEADER {
            let (taken, rest) = input.split_at(input.len().min(HEADER - self.have));
            self.header[self.have..self.have + taken.len()].copy_from_slice(taken);
            self.have += taken.len();
            *input = rest;
            if self.have < HEADER {
                return Ok(None);
            }
            self.left = parse_header(self.header).ok_or(TooLong)?.1;
            if self.left == 0 {
                self.have = 0;
                return Ok(Some(Piece { kind: self.header[0], bytes: &[], last: true, empty: true }));
            }
        }
        if input.is_empty() {
            return Ok(None);
        }
        let (bytes, rest) = input.split_at(input.len().min(self.left));
        *input = rest;
        self.left -= bytes.len();
        let last = self.left == 0;
        if last {
            self.have = 0;
        }
        Ok(Some(Piece { kind: self.header[0], bytes, last, empty: false }))
    }

    /// Follows bytes that are known to be well-formed.
    pub(crate) fn skip(&mut self, mut bytes: &[u8]) {
        while let Ok(Some(_)) = self.next(&mut bytes) {}
    }

    /// How many bytes are missing up to the next point between two frames, as far as is known yet.
    pub(crate) fn until_boundary(&self) -> usize {
        match self.have {
            0 => 0,
            HEADER => self.left,
            have => HEADER - have,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut() {
        let mut stream = Vec::new();
        for (kind, payload) in [(1u8, &b"hello"[..]), (2, b""), (0, b"\x00\x01")] {
            stream.extend_from_slice(&header(kind, payload.len()));
            stream.extend_from_slice(payload);
        }
        for cut in 1..stream.len() {
            let mut decoder = Decoder::default();
            let mut seen = vec![(9u8, Vec::new())];
            for mut part in stream.chunks(cut) {
                while let Some(piece) = decoder.next(&mut part).unwrap() {
                    seen.last_mut().unwrap().0 = piece.kind;
                    seen.last_mut().unwrap().1.extend_from_slice(piece.bytes);
                    if piece.last {
                        seen.push((9, Vec::new()));
                    }
                }
            }
            seen.pop();
            assert_eq!(seen, [(1, b"hello".to_vec()), (2, vec![]), (0, vec![0, 1])], "cut {cut}");
            assert_eq!(decoder.until_boundary(), 0);
        }
    }

    #[test]
    fn a_lying_length_is_refused() {
        let mut input = &[1u8, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1][..];
        assert_eq!(Decoder::default().next(&mut input), Err(TooLong));
    }
}
