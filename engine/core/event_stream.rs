//! The reading side of the events' file.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_api::Filters;
use berth_monitor::protocol::Event;
use serde::Serialize;

use crate::follow::{Changes, Follower, Lines, Opened, generations};
use crate::{Engine, Error, Result};

const FILTERS: &[&str] = &[
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

/// Nanoseconds after the Unix epoch.
#[derive(Debug, Clone, Default)]
pub struct EventOptions {
    /// `None`: only what happens from now on.
    pub since: Option<i64>,
    /// `None`: without end.
    pub until: Option<i64>,
    pub filters: Filters,
}

/// An event in Docker's form, with the fields from before API 1.22.
#[derive(Debug, Clone, Serialize)]
pub struct EventMessage {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(rename = "Type")]
    pub kind: String,
    #[serde(rename = "Action")]
    pub action: String,
    #[serde(rename = "Actor")]
    pub actor: Actor,
    scope: &'static str,
    time: i64,
    #[serde(rename = "timeNano")]
    time_nano: i64,
}

#[derive(Debug, Clone, Serialize)]
pub struct Actor {
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(rename = "Attributes")]
    pub attributes: BTreeMap<String, String>,
}

impl From<Event> for EventMessage {
    fn from(event: Event) -> Self {
        let legacy = matches!(event.kind.as_str(), "container" | "image");
        Self {
            status: legacy.then(|| event.action.clone()),
            id: legacy.then(|| event.id.clone()),
            from: event.attributes.get("image").filter(|_| event.kind == "container").cloned(),
            kind: event.kind,
            action: event.action,
            actor: Actor { id: event.id, attributes: event.attributes },
            scope: "local",
            time: event.time / 1_000_000_000,
            time_nano: event.time,
        }
    }
}

/// Events that are about to be read. What happens after it was made is not missed.
pub struct Events {
    path: PathBuf,
    options: EventOptions,
    past: Vec<Opened>,
    follower: Follower,
    changes: Changes,
}

impl Engine {
    pub fn events(&self, options: EventOptions) -> Result<Events> {
        options.filters.expect(FILTERS).map_err(|error| Error::InvalidArgument(error.0))?;
        let path = self.paths().events();
        let changes = Changes::in_folder(path.parent().unwrap_or(Path::new("/")));
        let mut past = generations(&path).map_err(Error::io("open", &path))?;
        let mut newest = if past.is_empty() { None } else { Some(past.remove(0)) };
        if options.since.is_none() {
            past.clear();
            if let Some(opened) = &mut newest {
                io::Seek::seek(&mut opened.file, io::SeekFrom::End(0)).map_err(Error::io("read", &path))?;
            }
        }
        let follower = Follower::new(&path, newest);
        Ok(Events { path, options, past, follower, changes })
    }
}

impl Events {
    /// Calls `emit` with each event, and with `None` when there is nothing more for now. Ends at `until`, or when
    /// `abandoned`, which is asked every `look`, says so.
    pub fn run(
        self,
        emit: &mut dyn FnMut(Option<&EventMessage>) -> io::Result<()>,
        abandoned: &dyn Fn() -> bool,
        look: Duration,
    ) -> Result<()> {
        let Self { path, options, past, mut follower, changes } = self;
        let read = || {
            for opened in past.into_iter().rev().filter(|opened| !opened.compressed) {
                let mut lines = Lines::new(opened.file);
                while let Some(line) = lines.next()? {
                    told(line, &options, emit)?;
                }
            }
            loop {
                // First the time, then what happened until then.
                let over = options.until.is_some_and(|until| crate::time::now() > until);
                follower.read(&mut |line| told(line, &options, emit))?;
                emit(None)?;
                if over || abandoned() {
                    return Ok(());
                }
                let left = options.until.map(|until| until.saturating_sub(crate::time::now()).max(0));
                let left = left.map_or(look, |left| Duration::from_nanos(left.unsigned_abs() + 1));
                changes.wait(left.min(look));
            }
        };
        read().map_err(Error::io("read", &path))
    }
}

fn told(
    line: &[u8],
    options: &EventOptions,
    emit: &mut dyn FnMut(Option<&EventMessage>) -> io::Result<()>,
) -> io::Result<()> {
    let Ok(event) = serde_json::from_slice::<Event>(line) else { return Ok(()) };
    let early = options.since.is_some_and(|since| event.time < since);
    let late = options.until.is_some_and(|until| event.time > until);
    if early || late || !wanted(&event, &options.filters) {
        return Ok(());
    }
    emit(Some(&event.into()))
}

fn wanted(event: &Event, filters: &Filters) -> bool {
    let attribute = |name: &str| event.attributes.get(name).map(String::as_str);
    // An object's own filter lets the other kinds of events out: `container=x` shows no image events.
    let object = |kind: &str| {
        filters.allows_where(kind, |name| {
            event.kind == kind && (event.id.starts_with(name) || attribute("name") == Some(name))
        })
    };
    let image = filters.allows_where("image", |name| {
        let used = if event.kind == "image" { Some(event.id.as_str()) } else { attribute("image") };
        let without_tag = |name: &str| name.rsplit_once(':').map_or(name, |(left, _)| left).to_owned();
        used.is_some_and(|used| used == name || without_tag(used) == name)
            || (event.kind == "image" && attribute("name") == Some(name))
    });
    image
        && ["container", "network", "volume", "plugin", "daemon", "service", "node", "secret", "config"]
            .iter()
            .all(|kind| object(kind))
        && filters.allows("type", &event.kind)
        && filters.allows("scope", "local")
        // `exec_create: ls` is an `exec_create`.
        && filters.allows_where("event", |name| {
            event.action == name || event.action.split(':').next() == Some(name)
        })
        && filters.allows_labels(attribute)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, action: &str, id: &str, attributes: &[(&str, &str)]) -> Event {
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let (kind, action, id) = (kind.to_owned(), action.to_owned(), id.to_owned());
        Event { time: 1_500_000_000_000_000_001, kind, action, id, attributes }
    }

    #[test]
    fn filters_choose_as_dockers_do() {
        let start = event("container", "start", "abcdef", &[("name", "web"), ("image", "debian:12"), ("tier", "1")]);
        let exec = event("container", "exec_create: ls -l", "abcdef", &[("name", "web")]);
        let pull = event("image", "pull", "debian:12", &[("name", "debian")]);
        for (filters, expected) in [
            (r"{}", [true, true, true]),
            (r#"{"container":["web"]}"#, [true, true, false]),
            (r#"{"container":["abc"]}"#, [true, true, false]),
            (r#"{"container":["eb"]}"#, [false, false, false]),
            (r#"{"event":["exec_create"]}"#, [false, true, false]),
            (r#"{"image":["debian"]}"#, [true, false, true]),
            (r#"{"label":["tier=1"]}"#, [true, false, false]),
            (r#"{"type":["image"]}"#, [false, false, true]),
        ] {
            let parsed = Filters::parse(filters).unwrap();
            let found = [&start, &exec, &pull].map(|event| wanted(event, &parsed));
            assert_eq!(found, expected, "{filters}");
        }
    }

    #[test]
    fn an_event_is_written_in_dockers_form() {
        let message = EventMessage::from(event("container", "die", "abc", &[("image", "x"), ("exitCode", "0")]));
        let expected = r#"{"status":"die","id":"abc","from":"x","Type":"container","Action":"die","#.to_owned()
            + r#""Actor":{"ID":"abc","Attributes":{"exitCode":"0","image":"x"}},"scope":"local","#
            + r#""time":1500000000,"timeNano":1500000000000000001}"#;
        assert_eq!(serde_json::to_string(&message).unwrap(), expected);
    }
}
