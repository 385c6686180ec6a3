//! What is said about a pull or push while it runs, in Docker's words.

use std::time::{Duration, Instant};

/// One line; a later one of the same `id` takes its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    /// A layer's short digest, or a tag.
    pub id: String,
    pub status: String,
    /// Bytes so far and in all.
    pub progress: Option<(u64, u64)>,
}

/// Called from several threads.
pub type Tell<'a> = dyn Fn(Line) + Sync + 'a;

/// How often a bar moves.
const STEP: Duration = Duration::from_millis(100);

pub(crate) fn status(tell: &Tell<'_>, id: &str, status: impl Into<String>) {
    tell(Line { id: id.to_owned(), status: status.into(), progress: None });
}

/// Tells how far something has come, not too often.
pub(crate) struct Bar<'a> {
    tell: &'a Tell<'a>,
    id: &'a str,
    status: &'static str,
    total: u64,
    last: Option<Instant>,
}

impl<'a> Bar<'a> {
    pub(crate) fn new(tell: &'a Tell<'a>, id: &'a str, status: &'static str, total: u64) -> Self {
        Self { tell, id, status, total, last: None }
    }

    pub(crate) fn at(&mut self, current: u64) {
        if self.last.is_none_or(|last| last.elapsed() >= STEP) {
            self.last = Some(Instant::now());
            let progress = Some((current, self.total.max(current)));
            (self.tell)(Line { id: self.id.to_owned(), status: self.status.to_owned(), progress });
        }
    }
}
