//! Checkpoints of containers: made by the monitor, kept in a folder each, taken up again by a start.

use std::path::{Path, PathBuf};

use berth_backends::Checkpoint;
use berth_monitor::Status;
use berth_monitor::protocol::Request;

use super::record::{self, Container};
use super::remove::remove_folder;
use super::talk::not_running;
use crate::{Engine, Error, Result};

/// How a checkpoint is made.
#[derive(Debug, Clone, Default)]
pub struct CheckpointOptions {
    pub name: String,
    /// Instead of the container's own folder; absolute.
    pub folder: Option<PathBuf>,
    /// The container ends with it.
    pub exit: bool,
    /// Connections of TCP are kept.
    pub tcp_established: bool,
    /// Locks of files are kept.
    pub file_locks: bool,
}

/// A checkpoint that a container is to be started from.
#[derive(Debug, Clone)]
pub struct StartFrom {
    pub name: String,
    /// As in [`CheckpointOptions`].
    pub folder: Option<PathBuf>,
}

impl Engine {
    pub fn checkpoint(&self, name: &str, options: &CheckpointOptions) -> Result<()> {
        let container = self.find(name)?;
        let place = self.place(&container, options.folder.as_deref(), &options.name)?;
        match self.state(&container)?.status {
            Status::Running | Status::Paused => {}
            _ => return Err(not_running(&container)),
        }
        if options.exit && container.auto_remove() {
            return Err(Error::Conflict(format!(
                "cannot checkpoint container {name}: it is removed when it ends (--rm), and its checkpoints with it; \
                 leave it running (--leave-running)"
            )));
        }
        if place.exists() {
            return Err(Error::Conflict(format!(
                "checkpoint with name {} already exists for container {name}",
                options.name
            )));
        }
        let request = Request::Checkpoint {
            place,
            options: Box::new(Checkpoint {
                criu: self.config().criu.clone(),
                leave_running: !options.exit,
                tcp_established: options.tcp_established,
                file_locks: options.file_locks,
                ..Checkpoint::default()
            }),
        };
        self.ask(&container, &request).map(drop).map_err(|error| match error {
            Error::Internal(why) => Error::Internal(format!("cannot checkpoint container {name}: {why}")),
            other => other,
        })
    }

    /// Their names, in order.
    pub fn checkpoints(&self, name: &str, folder: Option<&Path>) -> Result<Vec<String>> {
        let container = self.find(name)?;
        let all = self.all_places(&container, folder)?;
        let entries = match std::fs::read_dir(&all) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(Error::io("read", &all))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(Error::io("read", &all))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if check_name(&name).is_ok() && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    pub fn remove_checkpoint(&self, name: &str, checkpoint: &str, folder: Option<&Path>) -> Result<()> {
        let container = self.find(name)?;
        // Nobody takes it up meanwhile.
        let _lock = self.lock(&container.id)?;
        // What is left of it if this is killed is no checkpoint any more. Its name is not that of one that is being made.
        let gone = self.place(&container, folder, checkpoint)?.with_file_name(format!(".{checkpoint}.gone"));
        remove_folder(&gone)?;
        let place = self.existing(&container, folder, checkpoint)?;
        std::fs::rename(&place, &gone).map_err(Error::io("remove", &place))?;
        remove_folder(&gone)
    }

    /// As [`Engine::start`]: its processes go on where they were.
    pub fn start_from(&self, name: &str, from: &StartFrom) -> Result<()> {
        let id = self.store().read(|connection| record::find_id(connection, name))?;
        let _lock = self.lock(&id)?;
        let container = self.store().read(|connection| record::by_id(connection, &id))?;
        let images = self.existing(&container, from.folder.as_deref(), &from.name)?;
        let criu = self.config().criu.clone();
        self.start_locked(&container, Some(Checkpoint { criu, images, ..Checkpoint::default() }))
    }

    fn existing(&self, container: &Container, folder: Option<&Path>, name: &str) -> Result<PathBuf> {
        let place = self.place(container, folder, name)?;
        if !place.is_dir() {
            return Err(Error::NotFound(format!("checkpoint {name} does not exist for container {}", container.name)));
        }
        Ok(place)
    }

    fn place(&self, container: &Container, folder: Option<&Path>, name: &str) -> Result<PathBuf> {
        check_name(name)?;
        Ok(self.all_places(container, folder)?.join(name))
    }

    /// As Docker's: below a folder of the user's, each container has its own.
    fn all_places(&self, container: &Container, folder: Option<&Path>) -> Result<PathBuf> {
        match folder {
            Some(folder) if folder.is_absolute() => Ok(folder.join(&container.id).join("checkpoints")),
            Some(folder) => {
                Err(Error::invalid(format!("checkpoint folder {}: it must be an absolute path", folder.display())))
            }
            None => Ok(self.folder(container).join("checkpoints")),
        }
    }
}

fn check_name(name: &str) -> Result<()> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let others = bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    // A name of the file system's, with what is added to it while it is made.
    if first && others && (2..=200).contains(&name.len()) {
        return Ok(());
    }
    Err(Error::invalid(format!("Invalid checkpoint ID ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dockers() {
        for good in ["c1", "before-upgrade_2.1"] {
            check_name(good).unwrap();
        }
        for bad in ["", "a", ".hidden", "../x", "a/b", "a b", "-x", "ä1", &"x".repeat(201)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
