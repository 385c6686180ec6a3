//! How a pull or push goes: a line a layer with a bar on a terminal, plain lines elsewhere, as Docker prints them.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};

use berth_arch::message::quiet;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

pub(crate) struct Transfer {
    /// On a terminal.
    bars: Option<MultiProgress>,
    lines: HashMap<String, ProgressBar>,
    to_stderr: bool,
    silent: bool,
}

impl Transfer {
    pub(crate) fn new(to_stderr: bool, silent: bool) -> Self {
        let terminal = if to_stderr { io::stderr().is_terminal() } else { io::stdout().is_terminal() };
        let target = || if to_stderr { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::stdout() };
        let bars = (terminal && !silent).then(|| MultiProgress::with_draw_target(target()));
        Self { bars, lines: HashMap::new(), to_stderr, silent }
    }

    /// One message of the stream.
    pub(crate) fn show(&mut self, message: &Value) {
        let Some(status) = message["status"].as_str().filter(|_| !self.silent) else { return };
        let status = quiet(status);
        let id = message["id"].as_str().map(quiet).unwrap_or_default();
        let detail = &message["progressDetail"];
        let progress = detail["current"].as_u64().map(|current| (current, detail["total"].as_u64().unwrap_or(current)));
        let Some(bars) = &self.bars else {
            // Bars are for terminals.
            if progress.is_none() {
                self.plain(&line(&id, &status));
            }
            return;
        };
        if id.is_empty() || status.starts_with("Pulling from") {
            let _ = bars.println(line(&id, &status));
            return;
        }
        let bar = self.lines.entry(id.clone()).or_insert_with(|| bars.add(ProgressBar::no_length().with_prefix(id)));
        match progress {
            Some((current, total)) => {
                bar.set_style(style("{prefix}: {msg} [{bar:30}] {bytes}/{total_bytes}"));
                bar.set_length(total);
                bar.set_position(current);
            }
            None => bar.set_style(style("{prefix}: {msg}")),
        }
        bar.set_message(status);
    }

    /// Leaves on the screen what there is.
    pub(crate) fn end(&mut self) {
        self.lines.drain().for_each(|(_, bar)| bar.abandon());
    }

    fn plain(&self, line: &str) {
        if self.to_stderr {
            eprintln!("{line}");
        } else {
            println!("{line}");
            let _ = io::stdout().flush();
        }
    }
}

fn line(id: &str, status: &str) -> String {
    if id.is_empty() { status.to_owned() } else { format!("{id}: {status}") }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}
