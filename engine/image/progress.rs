//! How far long work has come.

/// A step of long work, told at most every few hundred kilobytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// `Importing`, `Reading archive`, `Loading layer`, `Saving layer`, `Committing`.
    pub action: &'static str,
    /// The layer's or image's short name, if there is one.
    pub object: &'a str,
    /// Bytes so far.
    pub current: u64,
    /// Bytes in all, where that is known.
    pub total: Option<u64>,
}

pub type OnProgress<'a> = dyn FnMut(Progress<'_>) + 'a;

/// How many bytes pass between two reports.
const STEP: u64 = 256 * 1024;

/// Tells of what is read through it.
pub(crate) struct ProgressReader<'a, 'b, R> {
    inner: R,
    report: Reporter<'a, 'b>,
}

impl<'a, 'b, R: std::io::Read> ProgressReader<'a, 'b, R> {
    pub(crate) fn new(inner: R, report: Reporter<'a, 'b>) -> Self {
        Self { inner, report }
    }
}

impl<R: std::io::Read> std::io::Read for ProgressReader<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.report.add(count as u64);
        Ok(count)
    }
}

/// Adds up one object's bytes.
pub(crate) struct Reporter<'a, 'b> {
    progress: &'a mut OnProgress<'b>,
    action: &'static str,
    object: String,
    current: u64,
    told: u64,
    total: Option<u64>,
}

impl<'a, 'b> Reporter<'a, 'b> {
    pub(crate) fn new(
        progress: &'a mut OnProgress<'b>,
        action: &'static str,
        object: impl Into<String>,
        total: Option<u64>,
    ) -> Self {
        Self { progress, action, object: object.into(), current: 0, told: 0, total }
    }

    pub(crate) fn add(&mut self, count: u64) {
        self.current += count;
        if self.current - self.told >= STEP || count == 0 {
            self.told = self.current;
            let Self { action, object, current, total, .. } = self;
            (self.progress)(Progress { action, object, current: *current, total: *total });
        }
    }
}
