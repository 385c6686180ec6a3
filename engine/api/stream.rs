//! The framing of multiplexed streams (Docker's `stdcopy`): eight bytes (kind, 0, 0, 0, length as u32
//! big-endian), then so many bytes.

/// Of multiplexed streams (API 1.42 and newer).
pub const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";
/// Of a terminal's stream, and of both before API 1.42.
pub const RAW: &str = "application/vnd.docker.raw-stream";

pub const HEADER: usize = 8;

/// Whose bytes a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
    /// An error of the engine, as text.
    System = 3,
}

impl Stream {
    pub const fn from_kind(kind: u8) -> Option<Self> {
        match kind {
            0 => Some(Self::Stdin),
            1 => Some(Self::Stdout),
            2 => Some(Self::Stderr),
            3 => Some(Self::System),
            _ => None,
        }
    }
}

/// The header of a frame of `length` bytes.
pub const fn header(stream: Stream, length: u32) -> [u8; HEADER] {
    let [a, b, c, d] = length.to_be_bytes();
    [stream as u8, 0, 0, 0, a, b, c, d]
}

/// Kind and length; `None` for a kind that does not exist.
pub const fn parse_header(header: [u8; HEADER]) -> Option<(Stream, u32)> {
    let [kind, _, _, _, a, b, c, d] = header;
    match Stream::from_kind(kind) {
        Some(stream) => Some((stream, u32::from_be_bytes([a, b, c, d]))),
        None => None,
    }
}

/// One event of a stream being taken apart.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Data(Stream, &'a [u8]),
    /// The kind of frame that does not exist: this is not a multiplexed stream.
    Broken(u8),
}

/// Takes a multiplexed stream apart, however it was cut into reads. Holds a header, never a frame.
#[derive(Debug, Default)]
pub struct Demultiplexer {
    header: [u8; HEADER],
    filled: usize,
    remaining: u32,
}

impl Demultiplexer {
    /// The next piece of `input`, which is moved past it; `None` when it is used up.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<Piece<'a>> {
        loop {
            if self.remaining > 0 {
                if input.is_empty() {
                    return None;
                }
                let length = input.len().min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
                let (data, rest) = input.split_at(length);
                *input = rest;
                self.remaining -= u32::try_from(length).unwrap_or(self.remaining);
                return Stream::from_kind(self.header[0]).map(|stream| Piece::Data(stream, data));
            }
            while self.filled < HEADER {
                let (&byte, rest) = input.split_first()?;
                *input = rest;
                self.header[self.filled] = byte;
                self.filled += 1;
            }
            self.filled = 0;
            match parse_header(self.header) {
                Some((_, length)) => self.remaining = length,
                None => return Some(Piece::Broken(self.header[0])),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let mut wire = Vec::new();
        for (stream, text) in [(Stream::Stdout, "out"), (Stream::Stderr, ""), (Stream::Stderr, "errors")] {
            wire.extend(header(stream, text.len() as u32));
            wire.extend(text.as_bytes());
        }
        for size in 1..wire.len() {
            let mut demultiplexer = Demultiplexer::default();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            for chunk in wire.chunks(size) {
                let mut input = chunk;
                while let Some(piece) = demultiplexer.next(&mut input) {
                    match piece {
                        Piece::Data(Stream::Stdout, data) => out.extend(data),
                        Piece::Data(_, data) => err.extend(data),
                        Piece::Broken(kind) => panic!("kind {kind}"),
                    }
                }
            }
            assert_eq!((out.as_slice(), err.as_slice()), (&b"out"[..], &b"errors"[..]));
        }
    }

    #[test]
    fn a_stream_that_is_not_framed_is_noticed() {
        let mut input = &b"plain text"[..];
        assert_eq!(Demultiplexer::default().next(&mut input), Some(Piece::Broken(b'p')));
    }
}
