//! Removing a container.

use std::path::Path;
use std::time::Duration;

use berth_monitor::protocol::Request;
use berth_monitor::{Error as Failure, State, Status, client};

use super::reconcile::wait_for_monitor;
use super::record::{self, Container, Phase};
use crate::settings::signals::SIGKILL;
use crate::{Engine, Error, Result};

/// How long a monitor may take to answer that it has sent a signal.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveOptions {
    /// Kill it first if it runs.
    pub force: bool,
    /// Its anonymous volumes too.
    pub volumes: bool,
    /// Only a link (refused: there are none).
    pub link: bool,
}

impl Engine {
    pub fn remove(&self, name: &str, options: RemoveOptions) -> Result<()> {
        if options.link {
            return Err(Error::Unsupported(
                "--link: links are settings of the container that has them, and go with it".to_owned(),
            ));
        }
        self.usable_storage()?;
        let container = self.find(name)?;
        let _lock = if options.force {
            self.lock(&container.id)?
        } else {
            // Whoever holds it for long is starting it or removing it already.
            match self.try_lock_a_while(&container.id)? {
                Some(lock) => lock,
                None => {
                    return Err(Error::Conflict(format!(
                        "removal of container {} is already in progress",
                        container.id
                    )));
                }
            }
        };
        let container = match self.store().read(|connection| record::by_id(connection, &container.id)) {
            Ok(container) => container,
            // Somebody else was faster.
            Err(Error::NotFound(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let state = self.settled_state(&container)?;
        if state.status.is_up() {
            if !options.force {
                return Err(still_up(&container, &state));
            }
            self.kill_for_good(&container)?;
        }
        wait_for_monitor(&self.run_folder(&container));
        self.erase_and_tell(&container, options.volumes)
    }

    /// [`Engine::erase`], the event, and the end of the networks with that of the last container.
    pub(crate) fn erase_and_tell(&self, container: &Container, anonymous: bool) -> Result<()> {
        self.erase(container, anonymous)?;
        self.emit_container(container, "destroy", &[]);
        self.tidy_networks()
    }

    pub(crate) fn try_lock_a_while(&self, id: &str) -> Result<Option<berth_store::Lock>> {
        for attempt in 0..200u64 {
            if let Some(lock) = self.try_lock(id)? {
                return Ok(Some(lock));
            }
            std::thread::sleep(std::time::Duration::from_millis(attempt.min(10)));
        }
        Ok(None)
    }

    /// With the lock: kills, and waits until the monitor has written that down.
    fn kill_for_good(&self, container: &Container) -> Result<()> {
        match client::request_within(&self.run_folder(container), &Request::Signal { signal: SIGKILL }, PATIENCE) {
            // It hangs. Its container goes with it, and what that leaves is settled below.
            Ok(None) => self.kill_monitor(container)?,
            // Running or not, it will have ended.
            Ok(Some(_)) | Err(Failure::NotFound(_)) => {}
            Err(error) => {
                return Err(Error::Internal(format!(
                    "cannot remove container \"/{}\": could not kill container: {error}",
                    container.name
                )));
            }
        }
        if !wait_for_monitor(&self.run_folder(container)) {
            return Err(Error::Internal(format!(
                "cannot remove container \"/{}\": its monitor did not end after SIGKILL",
                container.name
            )));
        }
        self.settled_state(container).map(drop)
    }

    fn kill_monitor(&self, container: &Container) -> Result<()> {
        let pid = self.written_state(container)?.monitor_pid;
        // Whoever holds the monitor's lock has written this number.
        if pid > 0 && client::is_alive(&self.run_folder(container)) {
            tracing::warn!("kill the monitor {pid} of container {}, which hangs", container.short_id());
            let killed = berth_arch::process::Process::open(pid, None).and_then(|monitor| monitor.signal(SIGKILL));
            killed.map_err(Error::io("kill the monitor of", self.run_folder(container)))?;
        }
        Ok(())
    }

    /// With the lock of a container that does not run: takes away everything, in an order that a crash at any point
    /// leaves to the next engine. Idempotent. `anonymous`: its anonymous volumes too, if nobody else uses them; those of
    /// `--rm` go in any case.
    pub(crate) fn erase(&self, container: &Container, anonymous: bool) -> Result<()> {
        if client::is_alive(&self.run_folder(container)) && !wait_for_monitor(&self.run_folder(container)) {
            return Err(Error::Conflict(format!("container {} is still watched by its monitor", container.short_id())));
        }
        if container.phase == Phase::Ready {
            self.store().write(|transaction| {
                transaction
                    .prepare_cached("UPDATE containers SET phase = 'removing' WHERE id = ?1")?
                    .execute([&container.id])?;
                Ok::<_, Error>(())
            })?;
            // A power cut must not bring the record back without the files. What is thrown away need not wait for the disk: the
            // first engine after a boot looks for it.
            if !container.auto_remove()
                && let Err(error) = self.store().sync()
            {
                // A full disk: what is removed makes room.
                tracing::warn!("bring the removal of container {} to the disk: {error}", container.short_id());
            }
        }
        // A monitor that died while it started may have left a sandbox.
        if let Ok(state) = self.written_state(container) {
            self.end_sandbox(container, &state);
        }
        self.clear_stillborn(container);
        self.clear_shared_root(&container.id)?;
        self.release_volumes(container);
        // Before the state, which says how it ended to whoever looks meanwhile.
        if let Some(number) = container.layer {
            self.images().remove_container_layer(number)?;
        }
        remove_folder(&self.run_folder(container))?;
        remove_folder(&self.folder(container))?;
        let (unneeded, volumes) = self.store().write(|transaction| {
            let gone = transaction.prepare_cached("DELETE FROM containers WHERE id = ?1")?.execute([&container.id])?;
            let volumes = match container.mounts {
                Some(_) if anonymous || container.auto_remove() => self.mark_anonymous(transaction, container)?,
                _ => Vec::new(),
            };
            match container.layer {
                Some(number) if gone > 0 => Ok((self.images().forget_container_layer(transaction, number)?, volumes)),
                _ => Ok::<_, Error>((Vec::new(), volumes)),
            }
        })?;
        self.remove_marked(&volumes);
        self.waiting().remove(&container.id);
        // From here on it is the image store's: what is not done now, its next sweep does.
        Ok(self.images().discard_layers(&unneeded)?)
    }
}

/// Docker's words.
fn still_up(container: &Container, state: &State) -> Error {
    let (state, procedure) = match state.status {
        Status::Paused => ("paused", "Unpause and then "),
        Status::Restarting => ("restarting", "Stop the container before attempting removal or "),
        _ => ("running", "stop the container before removing or "),
    };
    let procedure = if state == "paused" {
        format!("{procedure}stop the container before removing or ")
    } else {
        procedure.to_owned()
    };
    Error::Conflict(format!(
        "cannot remove container \"/{}\": container is {state}: {procedure}force remove",
        container.name
    ))
}

/// A folder that is not there is removed.
pub(crate) fn remove_folder(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::Io { action: "remove", path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}
