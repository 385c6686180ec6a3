//! Reading what a container has said: Docker's `json-file` logs, rotated and compressed ones included.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use berth_api::stream::Stream;
use berth_monitor::MonitorConfig;
use berth_monitor::config::LogDriver;
use flate2::read::GzDecoder;
use serde::Deserialize;

use crate::follow::{Changes, Follower, Lines, Opened, generations, seek_to_last};
use crate::{Container, Engine, Error, Result};

/// How often a follower asks whether the container, and its own client, are still there.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tail {
    #[default]
    All,
    Last(u64),
}

#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    pub stdout: bool,
    pub stderr: bool,
    /// Go on until the container ends. One that does not run is not followed.
    pub follow: bool,
    /// Entries from the end, chosen before `since` and `until`.
    pub tail: Tail,
    /// Nanoseconds after the Unix epoch.
    pub since: Option<i64>,
    pub until: Option<i64>,
    pub timestamps: bool,
    /// The attributes that were logged with each entry, in front of it.
    pub details: bool,
}

/// What [`Logs::run`] tells.
pub enum LogEvent<'a> {
    Entry(Stream, &'a [u8]),
    /// Nothing more for now: a good time to flush.
    Waiting,
}

/// A log that is about to be read.
pub struct Logs {
    engine: Arc<Engine>,
    container: Container,
    path: PathBuf,
    options: LogOptions,
}

/// One line of the file.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow, default)]
    log: Cow<'a, str>,
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(borrow, default)]
    time: Cow<'a, str>,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
}

impl Engine {
    pub fn logs(self: &Arc<Self>, name: &str, mut options: LogOptions) -> Result<Logs> {
        let container = self.find(name)?;
        let folder = self.folder(&container);
        let monitor: Option<MonitorConfig> = berth_store::read_json(&folder.join("monitor.json"))?;
        let named_none = container.host_config.log_config.as_ref().and_then(|log| log.typ.as_deref()) == Some("none");
        if named_none || monitor.as_ref().is_some_and(|monitor| monitor.log.driver == LogDriver::None) {
            return Err(Error::Unsupported("configured logging driver does not support reading".to_owned()));
        }
        options.follow &= self.state(&container)?.status.is_up();
        let path = monitor.map_or_else(|| folder.join(format!("{}-json.log", container.id)), |found| found.log.path);
        Ok(Logs { engine: Arc::clone(self), container, path, options })
    }
}

impl Logs {
    pub fn tty(&self) -> bool {
        self.container.config.tty.unwrap_or_default()
    }

    /// Calls `emit` with every entry that was asked for. `abandoned` is asked now and then while following.
    pub fn run(self, emit: &mut dyn FnMut(LogEvent<'_>) -> io::Result<()>, abandoned: &dyn Fn() -> bool) -> Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let changes = self.options.follow.then(|| Changes::in_folder(folder));
        let result = self.read(emit, changes.as_ref(), abandoned);
        result.map_err(Error::io("read the log", &self.path))
    }

    fn read(
        &self,
        emit: &mut dyn FnMut(LogEvent<'_>) -> io::Result<()>,
        changes: Option<&Changes>,
        abandoned: &dyn Fn() -> bool,
    ) -> io::Result<()> {
        let mut on_line = |line: &[u8]| self.entry(line, emit);
        let mut files = self.choose(generations(&self.path)?)?;
        let newest = if files.first().is_some_and(|(file, _)| !file.compressed) { Some(files.remove(0)) } else { None };
        for (opened, skip) in files.into_iter().rev() {
            if opened.compressed {
                each_line(GzDecoder::new(opened.file), skip, &mut on_line)?;
            } else {
                each_line(opened.file, skip, &mut on_line)?;
            }
        }
        let mut follower = Follower::new(&self.path, newest.map(|(opened, _)| opened));
        follower.read(&mut on_line)?;
        let Some(changes) = changes else { return Ok(()) };
        loop {
            emit(LogEvent::Waiting)?;
            if abandoned() || self.options.until.is_some_and(|until| crate::time::now() > until) {
                return Ok(());
            }
            changes.wait(LOOK);
            let mut on_line = |line: &[u8]| self.entry(line, emit);
            if follower.read(&mut on_line)? {
                continue;
            }
            // First the state, then what was written until then.
            let up = self.engine.state(&self.container).is_ok_and(|state| state.status.is_up());
            follower.read(&mut on_line)?;
            if !up {
                return Ok(());
            }
        }
    }

    /// Leaves out the files, and the lines of a compressed one, that come before the tail.
    fn choose(&self, files: Vec<Opened>) -> io::Result<Vec<(Opened, u64)>> {
        let Tail::Last(mut missing) = self.options.tail else {
            return Ok(files.into_iter().map(|file| (file, 0)).collect());
        };
        let mut chosen = Vec::new();
        for (index, mut opened) in files.into_iter().enumerate() {
            if missing == 0 && index > 0 {
                break;
            }
            if !opened.compressed {
                missing = seek_to_last(&mut opened.file, missing)?;
                chosen.push((opened, 0));
                continue;
            }
            let mut lines = 0u64;
            each_line(GzDecoder::new(opened.file.try_clone()?), 0, &mut |_| {
                lines += 1;
                Ok(())
            })?;
            io::Seek::rewind(&mut opened.file)?;
            chosen.push((opened, lines.saturating_sub(missing)));
            missing = missing.saturating_sub(lines);
        }
        Ok(chosen)
    }

    /// A line that is damaged is left out.
    fn entry(&self, line: &[u8], emit: &mut dyn FnMut(LogEvent<'_>) -> io::Result<()>) -> io::Result<()> {
        let Ok(entry) = serde_json::from_slice::<Entry<'_>>(line) else { return Ok(()) };
        let options = &self.options;
        let (stream, wanted) = match &*entry.stream {
            "stderr" => (Stream::Stderr, options.stderr),
            _ => (Stream::Stdout, options.stdout),
        };
        if !wanted {
            return Ok(());
        }
        if !options.timestamps && !options.details && options.since.is_none() && options.until.is_none() {
            return emit(LogEvent::Entry(stream, entry.log.as_bytes()));
        }
        let Ok(time) = entry.time.parse::<jiff::Timestamp>() else { return Ok(()) };
        let nanoseconds = i64::try_from(time.as_nanosecond()).unwrap_or_default();
        if options.since.is_some_and(|since| nanoseconds < since)
            || options.until.is_some_and(|until| nanoseconds > until)
        {
            return Ok(());
        }
        let mut text = String::new();
        if options.timestamps {
            text.push_str(&format!("{time:.9} "));
        }
        if options.details {
            let pairs: Vec<_> =
                entry.attrs.iter().map(|(key, value)| format!("{}={}", escape(key), escape(value))).collect();
            text.push_str(&pairs.join(","));
            text.push(' ');
        }
        text.push_str(&entry.log);
        emit(LogEvent::Entry(stream, text.as_bytes()))
    }
}

/// As in the query of a URL, which is how Docker keeps the pairs apart.
fn escape(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::with_capacity(text.len()), |mut escaped, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(byte.into()),
            b' ' => escaped.push('+'),
            other => drop(write!(escaped, "%{other:02X}")),
        }
        escaped
    })
}

fn each_line(reader: impl Read, mut skip: u64, f: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut lines = Lines::new(reader);
    while let Some(line) = lines.next()? {
        if skip > 0 {
            skip -= 1;
        } else {
            f(line)?;
        }
    }
    Ok(())
}
