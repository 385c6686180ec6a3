//! `--log`: what callers read to learn why a call has failed. Errors and warnings go to standard error as well.

use std::fmt::Arguments;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use berth_arch::message::quiet;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Debug)]
pub(crate) struct Log {
    file: Option<File>,
    format: LogFormat,
    debug: bool,
}

impl Log {
    pub(crate) fn new(path: Option<PathBuf>, format: LogFormat, debug: bool) -> Self {
        let open = |path: &PathBuf| File::options().append(true).create(true).open(path);
        let file = path.as_ref().and_then(|path| {
            open(path).inspect_err(|error| eprintln!("{}: open the log {}: {error}", crate::ROLE, path.display())).ok()
        });
        Self { file, format, debug }
    }

    pub(crate) fn error(&self, message: Arguments<'_>) {
        eprintln!("{}: {}", crate::ROLE, quiet(&message.to_string()));
        self.write("error", message);
    }

    pub(crate) fn warn(&self, message: Arguments<'_>) {
        eprintln!("{}: warning: {}", crate::ROLE, quiet(&message.to_string()));
        self.write("warning", message);
    }

    pub(crate) fn debug(&self, message: Arguments<'_>) {
        if self.debug {
            eprintln!("{}: {}", crate::ROLE, quiet(&message.to_string()));
            self.write("debug", message);
        }
    }

    /// One write a line, in the fields of Go's logrus, which callers know.
    fn write(&self, level: &str, message: Arguments<'_>) {
        let Some(mut file) = self.file.as_ref() else { return };
        let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let message = message.to_string();
        let mut line = match self.format {
            LogFormat::Json => serde_json::json!({ "level": level, "msg": message, "time": time }).to_string(),
            LogFormat::Text => format!("time=\"{time}\" level={level} msg={message:?}"),
        };
        line.push('\n');
        let _ = file.write_all(line.as_bytes());
    }
}
