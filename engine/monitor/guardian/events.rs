//! The events that happen to a container while it has a monitor.

use std::collections::BTreeMap;

use super::{Monitor, now};
use crate::files;
use crate::protocol::Event;

impl Monitor {
    /// Appends to the stream of events. That the engine rotates: the file is opened each time.
    pub(super) fn event(&mut self, action: &str, extra: &[(&str, String)]) {
        let mut attributes = self.config.attributes.clone();
        attributes.extend(extra.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        self.event_of("container", action, self.config.id.to_string(), attributes);
    }

    /// Of something else than the container.
    pub(super) fn event_of(&mut self, kind: &str, action: &str, id: String, attributes: BTreeMap<String, String>) {
        let event = Event { time: now(), kind: kind.to_owned(), action: action.to_owned(), id, attributes };
        let Ok(mut line) = serde_json::to_vec(&event) else { return };
        line.push(b'\n');
        if let Err(error) = files::append_line(&self.config.events, &line) {
            let path = self.config.events.display();
            self.warn(format!("events are not recorded: append to {path}: {error}"));
        }
    }
}
