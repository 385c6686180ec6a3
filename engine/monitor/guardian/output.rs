//! What a program writes, on its way to any number of clients.
//!
//! It is one stream of frames, and each client has a place in it. A client that keeps up gets each frame straight
//! from the read buffer. What one could not take is kept in a window of [`WINDOW`] bytes, and what falls out of the
//! window before a lagging client has got it goes to an unnamed file ([`Spool`]). Only when that is full (its bound,
//! or the disk) does the stream stop, so that a slow client loses nothing; one that takes nothing at all for
//! [`PATIENCE`](super::PATIENCE) is then given up.

use std::io;
use std::path::Path;

use super::spool::Spool;
use crate::frame;
use crate::protocol::MAX_FRAME;

/// Bytes in memory for all clients of one stream.
pub(crate) const WINDOW: usize = 192 * 1024;
/// Bytes on disk for all clients of one stream.
pub(crate) const SPOOL_BOUND: u64 = 4 << 30;

#[derive(Debug)]
pub(crate) struct Output {
    /// The window is `[start, start + window.len())`; its end is the stream's.
    start: u64,
    window: Vec<u8>,
    spool: Spool,
    full: bool,
}

impl Output {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { start: 0, window: Vec::new(), spool: Spool::new(folder, SPOOL_BOUND), full: false }
    }

    pub(crate) fn end(&self) -> u64 {
        self.start + self.window.len() as u64
    }

    /// Whether nothing more may be appended until a client has moved.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// A frame that everybody has got already.
    pub(crate) fn pass(&mut self, length: usize) {
        debug_assert!(self.window.is_empty());
        self.start += length as u64;
    }

    /// Keeps a frame. `slowest` is the least place of all clients, as of before this frame.
    pub(crate) fn keep(&mut self, kind: u8, payload: &[u8], slowest: u64) {
        self.make_room(slowest, frame::HEADER + payload.len());
        self.window.extend_from_slice(&frame::header(kind, payload.len()));
        self.window.extend_from_slice(payload);
        if self.window.len() + frame::HEADER + MAX_FRAME > WINDOW {
            self.make_room(slowest, frame::HEADER + MAX_FRAME);
        }
    }

    /// Clients have moved: the slowest is at `slowest` now.
    pub(crate) fn moved(&mut self, slowest: u64) {
        self.spool.forget_before(slowest);
        if slowest >= self.end() {
            self.start = self.end();
            self.window = Vec::new();
            self.full = false;
        } else if self.full {
            self.make_room(slowest, frame::HEADER + MAX_FRAME);
        }
    }

    /// Makes room for `more` bytes, or says that there is none.
    fn make_room(&mut self, slowest: u64, more: usize) {
        let excess = (self.window.len() + more).saturating_sub(WINDOW);
        if excess == 0 {
            self.full = false;
            return;
        }
        // Half of the window at a time, so that what is left is not moved for every frame.
        let leaving = excess.max(WINDOW / 2).min(self.window.len());
        let got = usize::try_from(slowest.saturating_sub(self.start)).unwrap_or(usize::MAX).min(leaving);
        let spooled = if self.spool.start().is_some() || got < leaving {
            let from = if self.spool.start().is_some() { 0 } else { got };
            self.spool.append(self.start + from as u64, &self.window[from..leaving])
        } else {
            Ok(())
        };
        self.full = spooled.is_err();
        if !self.full {
            self.window.drain(..leaving);
            self.start += leaving as u64;
        }
    }

    /// What is at `at`: from the window, or read into `scratch`.
    pub(crate) fn peek<'a>(&'a self, at: u64, scratch: &'a mut [u8]) -> io::Result<&'a [u8]> {
        match at.checked_sub(self.start) {
            Some(offset) => {
                let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(self.window.len());
                Ok(&self.window[offset..])
            }
            None => {
                let length = self.spool.read(at, scratch)?;
                if length == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(&scratch[..length])
            }
        }
    }

    /// The header of the frame that begins at `at`; `None` at the end.
    pub(crate) fn header(&self, mut at: u64) -> io::Result<Option<(u8, usize)>> {
        let mut header = [0; frame::HEADER];
        let mut have = 0;
        while have < header.len() {
            if at == self.end() {
                return Ok(None);
            }
            let mut scratch = [0; frame::HEADER];
            let part = self.peek(at, &mut scratch[..frame::HEADER - have])?;
            let part = &part[..part.len().min(frame::HEADER - have)];
            header[have..have + part.len()].copy_from_slice(part);
            have += part.len();
            at += part.len() as u64;
        }
        Ok(frame::parse_header(header))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lagging_reader_finds_every_byte_again() {
        let mut output = Output::new(&std::env::temp_dir());
        let mut whole = Vec::new();
        let mut place = 0u64;
        let mut got = Vec::new();
        let mut scratch = vec![0; 5000];
        for round in 0..400u32 {
            let payload = vec![round as u8; 1 + (round as usize * 977) % MAX_FRAME];
            whole.extend_from_slice(&frame::header(1, payload.len()));
            whole.extend_from_slice(&payload);
            output.keep(1, &payload, place);
            assert!(!output.is_full());
            assert!(output.window.len() <= WINDOW);
            if round % 3 == 0 {
                let part = output.peek(place, &mut scratch).unwrap();
                let part = &part[..part.len().min(5000)];
                got.extend_from_slice(part);
                place += part.len() as u64;
                output.moved(place);
            }
        }
        while place < output.end() {
            let part = output.peek(place, &mut scratch).unwrap();
            got.extend_from_slice(part);
            place += part.len() as u64;
            output.moved(place);
        }
        assert!(got == whole);
        assert!(output.window.is_empty() && output.spool.start().is_none());
    }

    #[test]
    fn a_full_spool_stops_the_stream_until_the_reader_moves() {
        let mut output = Output::new(&std::env::temp_dir());
        output.spool = Spool::new(&std::env::temp_dir(), 1 << 20);
        let mut frames = 0u64;
        while !output.is_full() {
            output.keep(1, &[7; 60_000], 0);
            frames += 1;
        }
        assert!(frames * 60_000 >= 1 << 20, "{frames}");
        output.moved(output.end());
        assert!(!output.is_full());
    }
}
