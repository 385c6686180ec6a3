//! Starting a container.

use std::path::Path;

use berth_backends::{AnyBackend, Checkpoint, ContainerId, Selection};
use berth_fs_drivers::Access;
use berth_monitor::config::{LogConfig, MonitorConfig};
use berth_monitor::protocol::{RefusalKind, Started};
use berth_monitor::state::boot_id;
use berth_monitor::{State, Status, spawn_serving};
use berth_network::Plan;

use super::reconcile::wait_for_monitor;
use super::record::{self, Container, Phase};
use super::talk;
use crate::settings::{log, restart, signals};
use crate::spec::process::console_size;
use crate::volumes::mount::Mounted;
use crate::{Engine, Error, Result};

/// Seconds, as Docker's.
pub(super) const STOP_TIMEOUT: i64 = 10;

impl Engine {
    /// [`crate::Error::NotModified`] if it runs already.
    pub fn start(&self, name: &str) -> Result<()> {
        let id = self.store().read(|connection| record::find_id(connection, name))?;
        let _lock = self.lock(&id)?;
        let container = self.store().read(|connection| record::by_id(connection, &id))?;
        self.start_locked(&container, None)
    }

    /// With the container's lock. `from`: what its processes go on from.
    pub(super) fn start_locked(&self, container: &Container, from: Option<Checkpoint>) -> Result<()> {
        if container.phase != Phase::Ready {
            return Err(Error::Conflict("container is marked for removal and cannot be started".to_owned()));
        }
        let state = self.settled_state(container)?;
        match state.status {
            Status::Paused => {
                return Err(Error::Conflict("cannot start a paused container, try unpause instead".to_owned()));
            }
            Status::Running | Status::Restarting => {
                return Err(Error::NotModified(format!("container {} is already running", container.id)));
            }
            Status::Dead => {
                return Err(Error::Conflict("container is marked for removal and cannot be started".to_owned()));
            }
            Status::Created | Status::Exited => {}
        }
        let started = self.launch(container, from);
        if let Err(error) = &started {
            self.waiting().remove(&container.id);
            self.note_failure(container, error);
        }
        started
    }

    fn launch(&self, container: &Container, from: Option<Checkpoint>) -> Result<()> {
        let folder = self.folder(container);
        let run_folder = self.run_folder(container);
        // The last monitor may still be saying goodbye.
        if !wait_for_monitor(&run_folder) {
            return Err(Error::Conflict(format!("container {} is still watched by its monitor", container.short_id())));
        }
        self.clear_stillborn(container);
        let explicit = container.host_config.runtime.as_deref().filter(|name| !name.is_empty());
        let Selection { backend, isolation, .. } = self.config().backends.select(self.host(), explicit)?;
        let emulation = self.emulation(container)?;
        let mount_point = match isolation.mount {
            // Each container's mounts are its own, so one place serves all.
            true => self.paths().mount_point(),
            false => self.paths().shared_mount_point(&container.id),
        };
        for path in [&run_folder, &mount_point] {
            berth_store::create_private(path).map_err(Error::io("create", path))?;
        }
        let own_network = isolation.network;
        let modes = self.modes(container, isolation)?;
        let networks = self.prepare_networks(container, own_network)?;
        let volumes = self.mount_volumes(container)?;
        let mut spec = self.make_spec(container, &modes, &networks, &volumes, &folder, &mount_point)?;
        emulation.apply(&mut spec, container.host_config.init == Some(true))?;
        let path = folder.join("config.json");
        let text =
            serde_json::to_vec(&spec).map_err(|error| Error::Internal(format!("encode the OCI spec: {error}")))?;
        std::fs::write(&path, text).map_err(Error::io("write", &path))?;
        let config = self.monitor_config(container, &backend, networks.plan, volumes, &folder, &mount_point)?;
        let config = MonitorConfig { restore: from, ..config };

        let connections = self.waiting().remove(&container.id).unwrap_or_default();
        match spawn_serving(&config, &connections, &networks.sockets).map_err(talk::failure)? {
            Started::Running { warnings, .. } => {
                for warning in warnings {
                    tracing::warn!("container {}: {warning}", container.short_id());
                }
                Ok(())
            }
            Started::Refused(why) => Err(match why.kind {
                RefusalKind::ProgramNotFound | RefusalKind::CannotExecute => match talk::refusal(why) {
                    Error::Program { message, code } => {
                        Error::Program { message: format!("failed to create task for container: {message}"), code }
                    }
                    other => other,
                },
                RefusalKind::InvalidArgument => Error::InvalidArgument(why.message),
                _ => Error::Internal(format!("failed to create task for container: {}", why.message)),
            }),
        }
    }

    fn monitor_config(
        &self,
        container: &Container,
        backend: &AnyBackend,
        network: Plan,
        volumes: Mounted,
        folder: &Path,
        mount_point: &Path,
    ) -> Result<MonitorConfig> {
        let (config, host) = (&container.config, &container.host_config);
        let id: ContainerId = container.id.parse()?;
        let access = if container.auto_remove() { Access::Throwaway } else { Access::ReadWrite };
        let signal = config.stop_signal.as_deref().filter(|signal| !signal.is_empty());
        Ok(MonitorConfig {
            id,
            folder: folder.to_owned(),
            run_folder: self.run_folder(container),
            state: self.state_path(container),
            boot: boot_id(),
            events: self.paths().events(),
            backend: backend.name().to_owned(),
            runtime: backend.runtime().cloned(),
            rootfs: self.rootfs(container, access)?,
            mount_point: mount_point.to_owned(),
            network,
            terminal: container.tty(),
            size: console_size(host.console_size.as_deref()),
            open_stdin: config.open_stdin == Some(true),
            stdin_once: config.stdin_once == Some(true),
            log: self.log_config(container)?,
            restart: restart::parse(host.restart_policy.as_ref())?,
            auto_remove: container.auto_remove(),
            stop_signal: signal.map_or(Ok(signals::SIGTERM), signals::parse)?,
            stop_timeout: config.stop_timeout.unwrap_or(STOP_TIMEOUT),
            attributes: container.attributes(),
            remove_command: self.reap_command(&container.id),
            mounts: volumes.mounts,
            volumes: volumes.uses,
            releases: volumes.by_plugins,
            restore: None,
        })
    }

    pub(crate) fn log_config(&self, container: &Container) -> Result<LogConfig> {
        let subject = log::Subject {
            id: &container.id,
            name: &container.name,
            image: container.image_name(),
            image_id: &container.image,
            labels: &container.config.labels.clone().unwrap_or_default(),
            env: container.config.env.as_deref().unwrap_or_default(),
        };
        let path = self.log_path(container);
        log::resolve(&container.host_config.log_config.clone().unwrap_or_default(), &path, &subject)
    }

    /// Where the log is, if there is one.
    pub fn log_path(&self, container: &Container) -> std::path::PathBuf {
        self.folder(container).join(format!("{}-json.log", container.id))
    }

    /// What the monitor becomes when nobody else removes an ended `--rm` container.
    fn reap_command(&self, id: &str) -> Vec<String> {
        let program = self.config().program.to_string_lossy().into_owned();
        let mut command = vec![program];
        command.extend(self.config().arguments.iter().cloned());
        command.extend(["monitor-reap", id].map(str::to_owned));
        command
    }

    /// What `inspect` shows of a start that did not come about; a container that is to be removed is.
    fn note_failure(&self, container: &Container, error: &Error) {
        let code = match error {
            Error::Program { code, .. } => *code,
            _ => 128,
        };
        let noted = self.settled_state(container).and_then(|state| {
            self.end_sandbox(container, &state);
            self.release_volumes(container);
            if container.auto_remove() {
                return self.erase_and_tell(container, true);
            }
            let state = State { exit_code: code, error: error.to_string(), pid: 0, sandbox: None, ..state };
            self.write_state(container, &state)
        });
        if let Err(left) = noted {
            tracing::warn!("note why container {} did not start: {left}", container.short_id());
        }
    }
}
