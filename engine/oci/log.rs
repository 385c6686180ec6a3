//! `--log`: what callers read to learn why a call has failed. Errors and warnings go to standard error as well.

use std::fmt::{Arguments, Display};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

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
        eprintln!("{}: {}", crate::ROLE, Quiet(message));
        self.write("error", message);
    }

    pub(crate) fn warn(&self, message: Arguments<'_>) {
        eprintln!("{}: warning: {}", crate::ROLE, Quiet(message));
        self.write("warning", message);
    }

    pub(crate) fn debug(&self, message: Arguments<'_>) {
        if self.debug {
            eprintln!("{}: {}", crate::ROLE, Quiet(message));
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

/// An error and its causes, but those that it ends with already: the libraries' errors name theirs.
pub(crate) struct Chain<'a>(pub(crate) &'a anyhow::Error);

impl Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = self.0.to_string();
        for cause in self.0.chain().skip(1).map(ToString::to_string) {
            if !text.ends_with(&cause) {
                text.push_str(": ");
                text.push_str(&cause);
            }
        }
        f.write_str(&text)
    }
}

/// A message may quote names out of bundles: no control character of theirs reaches a terminal.
struct Quiet<T>(T);

impl<T: Display> Display for Quiet<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = self.0.to_string();
        for character in text.chars() {
            match character {
                '\n' | '\t' => write!(f, "{character}")?,
                _ if character.is_control() => write!(f, "{}", character.escape_default())?,
                _ => write!(f, "{character}")?,
            }
        }
        Ok(())
    }
}
