//! The writing side of the events' file: JSON lines that engines and monitors append to.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use berth_monitor::protocol::Event;
use berth_store::Lock;

use crate::{Container, Engine, Result, time};

/// Bytes after which the file is moved to `events.jsonl.1`.
const ROTATE: u64 = 4 << 20;

impl Engine {
    /// Appends an event. An event that cannot be written is logged and lost; it never fails what it tells of.
    pub fn emit(&self, kind: &str, action: &str, id: &str, attributes: BTreeMap<String, String>) {
        let event = Event {
            time: time::now(),
            kind: kind.to_owned(),
            action: action.to_owned(),
            id: id.to_owned(),
            attributes,
        };
        if let Err(error) = self.append(&event) {
            tracing::warn!("event {kind} {action} of {id} is lost: {error}");
        }
    }

    /// As [`Engine::emit`] for a container, with what its events always carry and `more`.
    pub fn emit_container(&self, container: &Container, action: &str, more: &[(&str, &str)]) {
        let mut attributes = container.attributes();
        attributes.extend(more.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())));
        self.emit("container", action, &container.id, attributes);
    }

    fn append(&self, event: &Event) -> Result<()> {
        let path = self.paths().events();
        let mut line = serde_json::to_vec(event).map_err(|error| crate::Error::Internal(error.to_string()))?;
        line.push(b'\n');
        let mut options = std::fs::File::options();
        options.append(true).create(true).mode(0o600);
        let file = match options.open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                std::fs::create_dir_all(&self.paths().run).map_err(crate::Error::io("create", &self.paths().run))?;
                options.open(&path)
            }
            other => other,
        };
        let mut file = file.map_err(crate::Error::io("open", &path))?;
        // One write, so that lines of several processes do not mix.
        file.write_all(&line).map_err(crate::Error::io("write", &path))?;
        if file.metadata().is_ok_and(|meta| meta.len() > ROTATE)
            && let Some(_lock) = Lock::try_acquire(&self.paths().locks(), "events")?
            && std::fs::metadata(&path).is_ok_and(|meta| meta.len() > ROTATE)
        {
            let mut old = path.clone().into_os_string();
            old.push(".1");
            std::fs::rename(&path, old).map_err(crate::Error::io("rotate", &path))?;
        }
        Ok(())
    }
}

impl Container {
    /// What every event of this container carries.
    pub fn attributes(&self) -> BTreeMap<String, String> {
        let mut attributes: BTreeMap<_, _> = self.config.labels.clone().unwrap_or_default().into_iter().collect();
        attributes.insert("image".to_owned(), self.image_name().to_owned());
        attributes.insert("name".to_owned(), self.name.clone());
        attributes
    }
}
