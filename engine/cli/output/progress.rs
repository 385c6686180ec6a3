//! Progress of long work: a bar on a terminal, nothing in a pipe.

use std::io::{self, IsTerminal, Read};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shown on standard error while it is a terminal; vanishes at the end.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Counts bytes; `total` when it is known.
    pub(crate) fn bytes(verb: &str, total: Option<u64>) -> Self {
        if !io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let template = match total {
            Some(_) => "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}",
            None => "{spinner} {bytes} {msg} {bytes_per_sec}",
        };
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(verb.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// Counts what is read through it.
    pub(crate) fn reader<'a>(&'a self, inner: &'a mut dyn Read) -> impl Read + 'a {
        self.0.wrap_read(inner)
    }

    /// How much there has been so far.
    pub(crate) fn noter(&self) -> impl Fn(u64) + Send + 'static {
        let bar = self.0.clone();
        move |position| bar.set_position(position)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
