//! The container's log, in the format of Docker's `json-file`.
//!
//! `mod.rs` cuts output into lines as Docker does (a line of more than 16 KiB comes in parts), `encode.rs` writes one
//! as JSON, `file.rs` batches, rotates and survives a full disk, `compress.rs` packs rotated files bit by bit.

mod compress;
mod encode;
mod file;

use std::io;

use self::encode::{Stamp, stamp};
use self::file::LogFile;
use crate::config::{LogConfig, LogDriver};

/// Where Docker splits a line: the buffer of its copier.
const MAX_LINE: usize = 16 * 1024;

pub(crate) struct Log {
    /// `None` with the driver `none`.
    file: Option<LogFile>,
    lines: [Line; 2],
    clock: Stamp,
}

/// A line that has begun.
#[derive(Default)]
struct Line {
    bytes: Vec<u8>,
    /// Parts of it are in the log already; they all carry the time of the first.
    since: Option<String>,
}

impl Log {
    pub(crate) fn new(config: &LogConfig) -> Self {
        let file = (config.driver == LogDriver::JsonFile).then(|| LogFile::new(config));
        Self { file, lines: Default::default(), clock: Stamp::default() }
    }

    /// Takes what was read from standard output (0) or standard error (1). Call [`Log::flush`] after a batch.
    pub(crate) fn take(&mut self, stream: usize, mut bytes: &[u8]) {
        let Some(file) = &mut self.file else { return };
        let now = stamp(&mut self.clock);
        let line = &mut self.lines[stream];
        while !bytes.is_empty() {
            let room = MAX_LINE - line.bytes.len();
            let window = &bytes[..bytes.len().min(room)];
            match memchr::memchr(b'\n', window) {
                Some(end) => {
                    let part = if line.bytes.is_empty() {
                        &bytes[..end]
                    } else {
                        line.bytes.extend_from_slice(&bytes[..end]);
                        &line.bytes
                    };
                    file.write(part, true, stream, line.since.as_deref().unwrap_or(now));
                    line.bytes.clear();
                    line.since = None;
                    bytes = &bytes[end + 1..];
                }
                _ if bytes.len() >= room => {
                    line.bytes.extend_from_slice(&bytes[..room]);
                    bytes = &bytes[room..];
                    file.write(&line.bytes, false, stream, line.since.as_deref().unwrap_or(now));
                    line.bytes.clear();
                    line.since.get_or_insert_with(|| now.to_owned());
                }
                _ => {
                    line.bytes.extend_from_slice(bytes);
                    bytes = &[];
                }
            }
        }
    }

    pub(crate) fn flush(&mut self) {
        if let Some(file) = &mut self.file {
            file.flush();
        }
    }

    /// The streams have ended: what is left of a last line is logged as it is.
    pub(crate) fn end(&mut self) {
        let now = stamp(&mut self.clock);
        if let Some(file) = &mut self.file {
            for (stream, line) in self.lines.iter_mut().enumerate() {
                let line = std::mem::take(line);
                if !line.bytes.is_empty() {
                    file.write(&line.bytes, false, stream, line.since.as_deref().unwrap_or(now));
                }
            }
            file.flush();
        }
    }

    /// Whether [`Log::work`] has something to do.
    pub(crate) fn has_work(&self) -> bool {
        self.file.as_ref().is_some_and(LogFile::is_compressing)
    }

    /// Does a bit of the compression of a rotated file.
    pub(crate) fn work(&mut self) {
        if let Some(file) = &mut self.file {
            file.compress_some();
        }
    }

    /// Finishes what is open.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.finish(),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
