//! What is kept of a container: its bundle's `config.json`, the runtime's own state, and which runtime it is. Beside the
//! mount point, so that it is in the engine's run folder and does not outlive the host's.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::call::LONG;
use super::sources::Sources;
use super::{External, NAME};
use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::namespace::setup;
use crate::{Bundle, ContainerId, Error, Result};

/// Says which runtime it is.
const RUNTIME: &str = "runtime.json";

#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

fn place(beside: &Path, id: &ContainerId) -> PathBuf {
    beside.join(NAME).join(id.as_str())
}

impl Folder {
    /// What a creator that was killed has left under the same name is removed first.
    pub(super) fn create(backend: &External, id: &ContainerId, bundle: &Bundle) -> Result<Self> {
        let beside = bundle.mount_point.parent().unwrap_or(Path::new("/"));
        clear_left_over(beside, id)?;
        let path = place(beside, id);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(setup(format!("make {}", path.display())))?;
        let folder = Self(path);
        folder.write(RUNTIME, &(&backend.name, &backend.runtime))?;
        Ok(folder)
    }

    pub(super) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Never a part of this folder, which is removed with all that is in it.
    pub(super) fn sources(&self) -> PathBuf {
        let mut name = self.0.clone().into_os_string();
        name.push(".sources");
        name.into()
    }

    pub(super) fn write(&self, name: &str, content: &impl serde::Serialize) -> Result<()> {
        let path = self.file(name);
        let text =
            serde_json::to_vec(content).map_err(|error| Error::InvalidArgument(format!("specification: {error}")))?;
        fs::write(&path, text).map_err(setup(format!("write {}", path.display())))
    }

    /// The number in a file that the runtime wrote.
    pub(super) fn read_pid(&self, name: &str) -> Result<i32> {
        let path = self.file(name);
        let text = fs::read_to_string(&path).map_err(setup(format!("read {}", path.display())))?;
        let number = text.trim().parse().ok().filter(|&pid: &i32| pid > 1);
        number.ok_or_else(|| {
            let said: String = text.chars().take(40).collect();
            setup(format!("read {}", path.display()))(std::io::Error::other(format!("{said:?} is no process number")))
        })
    }

    /// The file whose lock is held by who removes this folder or has the runtime delete in it.
    pub(super) fn lock_file(&self) -> Result<OwnedFd> {
        let path = self.file(RUNTIME);
        let opened = rustix::fs::open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
        opened.map_err(setup(format!("open {}", path.display())))
    }

    /// Waits for a warden that deletes; gives up on one that hangs. The lock is held as long as the descriptor is open.
    fn lock(&self) -> Option<OwnedFd> {
        let file = self.lock_file().ok()?;
        let until = Instant::now() + Duration::from_secs(10);
        while rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        Some(file)
    }

    /// Has the runtime forget the container, and forgets it. What the runtime cannot do does not keep the folder: whoever
    /// calls has killed all processes, and removes the control groups.
    pub(super) fn remove(&self, backend: &External, id: &ContainerId) -> Result<()> {
        let _lock = self.lock();
        let asked = self.0.join("state").exists().then(|| {
            let mut call = backend.call()?.in_folder(&self.0);
            call.push("delete").push("--force").push(id.as_str());
            call.run(LONG)
        });
        drop(asked);
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(setup(format!("remove {}", self.0.display()))(error));
            }
            _ => {}
        }
        Sources::clear(&self.sources());
        // The last one takes the folder of all along.
        let _ = self.0.parent().map(fs::remove_dir);
        Ok(())
    }
}

/// Removes what a creator that was killed has left of a container, if it has: processes, the runtime's state, its bundle.
/// `beside` is the folder that holds the mount point. Idempotent.
pub fn clear_left_over(beside: &Path, id: &ContainerId) -> Result<()> {
    let folder = Folder(place(beside, id));
    if !folder.0.exists() {
        return Ok(());
    }
    let text = fs::read(folder.file(RUNTIME)).unwrap_or_default();
    let (name, runtime) = serde_json::from_slice(&text)
        .unwrap_or_else(|_| (NAME.to_owned(), super::Runtime::on_the_path(super::KNOWN[0])));
    folder.remove(&External { name, runtime }, id)
}
