//! The log's file: batched writing, rotation, a full disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::compress::Compression;
use super::encode;
use crate::config::LogConfig;

const BATCH: usize = 64 * 1024;

pub(crate) struct LogFile {
    path: PathBuf,
    file: Option<File>,
    /// Bytes in the file, without the batch.
    size: u64,
    batch: Vec<u8>,
    attributes: Vec<u8>,
    max_size: Option<u64>,
    max_file: u32,
    compress: bool,
    compression: Option<Compression>,
}

impl LogFile {
    pub(super) fn new(config: &LogConfig) -> Self {
        Self {
            path: config.path.clone(),
            file: None,
            size: 0,
            batch: Vec::new(),
            attributes: attributes(&config.attributes),
            max_size: config.max_size,
            max_file: config.max_file.max(1),
            compress: config.compress,
            compression: None,
        }
    }

    /// Adds a line to the batch.
    pub(super) fn write(&mut self, text: &[u8], newline: bool, stream: usize, time: &str) {
        // The file is opened with the first line, so that a silent container costs nothing.
        if self.file.is_none() {
            self.open();
        }
        if self.max_size.is_some_and(|max| self.size + self.batch.len() as u64 >= max) {
            self.rotate();
        }
        encode::line(&mut self.batch, text, newline, stream, &self.attributes, time);
        if self.batch.len() >= BATCH {
            self.flush();
        }
    }

    fn open(&mut self) {
        if let Ok(file) = File::options().append(true).create(true).mode(0o640).open(&self.path) {
            self.size = file.metadata().map_or(0, |metadata| metadata.len());
            self.file = Some(file);
        }
    }

    /// A log that cannot be written does not stop the container: the batch is lost, whole lines at a time.
    pub(super) fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        if let Some(file) = &mut self.file {
            match file.write_all(&self.batch) {
                Ok(()) => self.size += self.batch.len() as u64,
                Err(_) => {
                    let _ = file.set_len(self.size);
                }
            }
        }
        self.batch.clear();
        if self.batch.capacity() > 2 * BATCH {
            self.batch.shrink_to(BATCH);
        }
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{number}{}", if self.compress { ".gz" } else { "" }));
        PathBuf::from(name)
    }

    /// As Docker: `.1` is the newest; with one file only, it is emptied.
    fn rotate(&mut self) {
        self.flush();
        if self.size == 0 {
            return;
        }
        self.finish_compression();
        if self.max_file > 1 {
            for number in (1..self.max_file - 1).rev() {
                let _ = std::fs::rename(self.numbered(number), self.numbered(number + 1));
            }
            let mut first = self.path.as_os_str().to_owned();
            first.push(".1");
            if std::fs::rename(&self.path, Path::new(&first)).is_ok() {
                self.file = None;
                if self.compress {
                    self.compression = Compression::start(PathBuf::from(first)).ok();
                }
                return self.open();
            }
        }
        if let Some(file) = &self.file
            && file.set_len(0).is_ok()
        {
            self.size = 0;
        }
    }

    pub(super) fn is_compressing(&self) -> bool {
        self.compression.is_some()
    }

    pub(super) fn compress_some(&mut self) {
        if let Some(compression) = &mut self.compression
            && !matches!(compression.step(), Ok(true))
        {
            self.compression = None;
        }
    }

    fn finish_compression(&mut self) {
        while self.compression.is_some() {
            self.compress_some();
        }
    }

    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.flush();
        self.finish_compression();
        Ok(())
    }
}

fn attributes(attributes: &BTreeMap<String, String>) -> Vec<u8> {
    if attributes.is_empty() {
        return Vec::new();
    }
    let mut out = b",\"attrs\":{".to_vec();
    for (index, (name, value)) in attributes.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"\"" } else { b",\"" });
        encode::string(&mut out, name.as_bytes());
        out.extend_from_slice(b"\":\"");
        encode::string(&mut out, value.as_bytes());
        out.push(b'"');
    }
    out.push(b'}');
    out
}
