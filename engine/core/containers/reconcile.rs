//! Finding out what became of containers whose engine or monitor died.

use std::path::PathBuf;
use std::time::Duration;

use berth_backends::SavedSandbox;
use berth_backends::cgroup::Cgroup;
use berth_monitor::client;
use berth_monitor::config::{MonitorConfig, RestartPolicy};
use berth_monitor::state::boot_id;
use berth_monitor::{State, Status};
use berth_store::read_json;

use super::record::{self, Container};
use crate::volumes::mount::uses_plugins;
use crate::{Engine, Error, Result, settings, time};

const LOST: &str = "the monitor was killed";
const REBOOTED: &str = "the host was restarted while the container ran";
/// A lock's file of that age was left by somebody who was killed, or is held.
const OLD: Duration = Duration::from_secs(2);
/// How long an ending monitor may take to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between attempts to start a container again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(2);

fn restart_policy(container: &Container) -> Result<RestartPolicy> {
    settings::restart::parse(container.host_config.restart_policy.as_ref())
}

/// Whether one that has ended was not to.
fn wants_up(container: &Container, state: &State) -> Result<bool> {
    let wanted = match restart_policy(container)? {
        RestartPolicy::No => false,
        RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        RestartPolicy::OnFailure { maximum } => state.exit_code != 0 && (maximum == 0 || state.restart_count < maximum),
    };
    Ok(wanted && state.started_at != 0 && !state.stopped_by_user && !state.status.is_up())
}

impl Engine {
    /// The container's state as it is: one that says `running` without a living monitor is ended and recorded first.
    pub fn state(&self, container: &Container) -> Result<State> {
        let state = self.written_state(container)?;
        if !state.status.is_up() || client::is_alive(&self.run_folder(container)) {
            return Ok(state);
        }
        // A monitor writes how it ended before it gives its lock back.
        let state = self.written_state(container)?;
        if !state.status.is_up() {
            return Ok(state);
        }
        match self.try_lock(&container.id) {
            Ok(Some(_lock)) => self.settle(container),
            // Somebody else is about to find the same, or to start it.
            Ok(None) if client::is_alive(&self.run_folder(container)) => self.written_state(container),
            // Or there is no room for a lock, or all is read-only: true, though it cannot be noted.
            Ok(None) | Err(_) => Ok(lost(state)),
        }
    }

    /// As [`Engine::state`], for a caller that holds the container's lock.
    pub(crate) fn settled_state(&self, container: &Container) -> Result<State> {
        let state = self.written_state(container)?;
        if state.status.is_up() && !client::is_alive(&self.run_folder(container)) {
            return self.settle(container);
        }
        Ok(state)
    }

    /// What belongs to a container that is removed when it ends need not outlive a reboot, nor wear out a disk.
    pub(crate) fn state_path(&self, container: &Container) -> PathBuf {
        let folder = if container.auto_remove() { self.run_folder(container) } else { self.folder(container) };
        folder.join("state.json")
    }

    pub(crate) fn written_state(&self, container: &Container) -> Result<State> {
        if let Some(state) = read_json(&self.state_path(container))? {
            return Ok(state);
        }
        // One that had been started before the host was restarted, which took the state of a throwaway one.
        if container.auto_remove()
            && let Some(monitor) = read_json::<MonitorConfig>(&self.folder(container).join("monitor.json"))?
            && rebooted(&monitor.boot)
        {
            return Ok(lost(State { boot: monitor.boot, ..State::default() }));
        }
        Ok(State::default())
    }

    pub(crate) fn write_state(&self, container: &Container, state: &State) -> Result<()> {
        Ok(berth_store::write_json(&self.state_path(container), state, false)?)
    }

    /// With the container's lock: ends what is left of a container without a monitor, and writes that down.
    fn settle(&self, container: &Container) -> Result<State> {
        let state = self.written_state(container)?;
        if !state.status.is_up() || client::is_alive(&self.run_folder(container)) {
            return Ok(state);
        }
        // Numbers of another boot's processes mean nothing; of its groups nothing is left.
        if !rebooted_since(&state) {
            self.end_sandbox(container, &state);
            self.end_networks(container);
        }
        self.release_volumes(container);
        let state = lost(state);
        if let Err(error) = self.write_state(container, &state) {
            // No room, or read-only: it is true all the same. Whoever looks next tries again.
            tracing::warn!("note that container {} was lost: {error}", container.short_id());
            return Ok(state);
        }
        self.emit_container(container, "die", &[("exitCode", &state.exit_code.to_string())]);
        Ok(state)
    }

    /// With the lock of a container without a monitor: a monitor that was killed before it had noted its sandbox
    /// leaves its socket, and perhaps control groups.
    pub(crate) fn clear_stillborn(&self, container: &Container) {
        if !self.run_folder(container).join(client::SOCKET).exists() {
            return;
        }
        self.end_networks(container);
        let clear = || -> Result<()> {
            self.clear_runtime(container)?;
            let groups = Cgroup::find(&container.id.parse()?, Some(&crate::spec::cgroup_path(container)))?;
            groups.kill_all()?;
            groups.delete()?;
            self.clear_shared_root(&container.id)
        };
        if let Err(error) = clear() {
            tracing::warn!("clear away the control groups and mounts of container {}: {error}", container.short_id());
        }
    }

    /// What an external runtime has of a container, beside the place where its root is mounted.
    fn clear_runtime(&self, container: &Container) -> berth_backends::Result<()> {
        berth_backends::oci::clear_left_over(&self.paths().run, &container.id.parse()?)
    }

    /// Kills and removes what a backend keeps of a container that nobody watches any more.
    pub(crate) fn end_sandbox(&self, container: &Container, state: &State) {
        let Some(saved) = &state.sandbox else { return };
        let ended = match self.sandbox(container, state) {
            Ok(mut sandbox) => {
                let killed = sandbox.kill_all();
                killed.and_then(|()| sandbox.delete()).map_err(Error::from)
            }
            // Its first process has ended, which does not have to be the end of all.
            Err(Error::Conflict(_)) => self.clear_sandbox(container, saved),
            Err(other) => Err(other),
        };
        if let Err(error) = ended {
            tracing::warn!("end what is left of container {}: {error}", container.short_id());
        }
    }

    fn clear_sandbox(&self, container: &Container, saved: &SavedSandbox) -> Result<()> {
        Ok(self.backend_of(container, saved)?.clear(&container.id.parse()?, saved)?)
    }

    /// Takes off what a container has mounted on the host, and removes the place. Idempotent.
    pub(crate) fn clear_shared_root(&self, id: &str) -> Result<()> {
        let place = self.paths().shared_mount_point(id);
        berth_backends::chroot::clear_place(&place)?;
        match std::fs::remove_dir(&place) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", &place)(error)),
            _ => Ok(()),
        }
    }

    /// Finishes what dead engines left half-way: one indexed query when there is nothing.
    pub(crate) fn sweep_unsettled(&self) -> Result<()> {
        let found = self.store().read(|connection| {
            // Containers first: volumes may be theirs.
            let mut statement = connection.prepare_cached(
                "SELECT 0, id FROM containers WHERE phase <> 'ready'
                 UNION ALL SELECT 1, name FROM volumes WHERE phase <> 'ready'",
            )?;
            let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok::<_, Error>(found.collect::<Result<Vec<(bool, String)>, _>>()?)
        })?;
        let (volumes, ids): (Vec<_>, Vec<_>) = found.into_iter().partition(|(is_volume, _)| *is_volume);
        for (_, id) in ids {
            let Some(_lock) = self.try_lock(&id)? else { continue };
            match self.store().read(|connection| record::by_id(connection, &id)) {
                Ok(container) if container.phase != record::Phase::Ready => self.erase(&container, false)?,
                Ok(_) | Err(Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        for (_, name) in volumes {
            self.sweep_volume(&name);
        }
        self.sweep_locks(OLD);
        Ok(self.images().sweep()?)
    }

    /// Everything that dead engines and monitors can have left. `serve` calls it when it starts.
    pub fn sweep(&self) -> Result<()> {
        self.sweep_unsettled()?;
        self.images().sweep_files()?;
        for container in self.containers()? {
            let state = self.state(&container)?;
            if container.auto_remove() && state.status == Status::Exited {
                self.reap(&container.id)?;
            }
            // An engine that was killed between the mount by a plugin and the start.
            if uses_plugins(&container)
                && let Some(_lock) = self.try_lock(&container.id)?
                && !self.settled_state(&container)?.status.is_up()
            {
                self.release_volumes(&container);
            }
        }
        self.sweep_folders()?;
        self.sweep_locks(Duration::ZERO);
        Ok(())
    }

    /// A lock's file goes with the lock, except when its holder was killed. Young ones are left alone: whoever tries
    /// a lock for a moment is in the way of others who try it.
    fn sweep_locks(&self, age: Duration) {
        let folder = self.paths().locks();
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let changed = entry.metadata().and_then(|found| found.modified()).ok();
            let old = changed.and_then(|then| then.elapsed().ok()).is_some_and(|found| found >= age);
            if let Some(name) = entry.file_name().to_str()
                && old
            {
                // Taken and given back at once.
                let _ = berth_store::Lock::try_acquire(&folder, name);
            }
        }
    }

    /// In passing, whoever sees the states of all: removes a container of `--rm` that has ended and that neither its
    /// monitor nor who waited for it lived to remove. True if it is gone.
    pub(crate) fn reap_left_over(&self, container: &Container, state: &State) -> bool {
        let left = container.auto_remove()
            && matches!(state.status, Status::Exited | Status::Dead)
            && self.storage().unusable.is_none()
            && !client::is_alive(&self.run_folder(container));
        if !left || !matches!(self.try_lock(&container.id), Ok(Some(_))) {
            return false;
        }
        match self.reap(&container.id) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!("remove the ended container {}: {error}", container.short_id());
                false
            }
        }
    }

    /// Folders of containers that no row knows.
    fn sweep_folders(&self) -> Result<()> {
        let shared = self.paths().shared_mount_points();
        for parent in [self.paths().state.join("containers"), self.paths().run.join("containers"), shared.clone()] {
            let Ok(entries) = std::fs::read_dir(&parent) else { continue };
            for entry in entries.flatten() {
                let Ok(id) = entry.file_name().into_string() else { continue };
                let Some(_lock) = self.try_lock(&id)? else { continue };
                let known = self.store().read(|connection| record::by_id(connection, &id));
                if matches!(known, Err(Error::NotFound(_))) && !client::is_alive(&self.paths().container_run(&id)) {
                    match parent == shared {
                        true => self.clear_shared_root(&id)?,
                        false => super::remove::remove_folder(&entry.path())?,
                    }
                }
            }
        }
        Ok(())
    }

    /// Starts what the restart policies want up and is not. `serve` calls it when it starts.
    pub fn autostart(&self) -> Result<()> {
        for container in self.containers()? {
            let state = self.state(&container)?;
            // Docker's `always` holds from one start of the daemon to the next only for those that were stopped.
            let always = restart_policy(&container)? == RestartPolicy::Always;
            if always && !state.status.is_up() && state.started_at != 0 || wants_up(&container, &state)? {
                self.start_or_warn(&container);
            }
        }
        Ok(())
    }

    /// The monitor of a container has ended: notes what became of it, and starts it again or removes it if the
    /// monitor was killed before it could. Says whether another monitor has it.
    pub fn look_after(&self, id: &str) -> Result<bool> {
        let mut pause = FIRST_PAUSE;
        loop {
            let container = self.find(id)?;
            // Who ends closes one thing after the other: the lock may outlast the socket. Who can be reached is another.
            let run_folder = self.run_folder(&container);
            let reached = || client::connect(&run_folder).is_ok();
            wait_while(|| client::is_alive(&run_folder) && !reached());
            if reached() {
                return Ok(true);
            }
            let state = self.state(&container)?;
            if !state.lost {
                return Ok(false);
            }
            if container.auto_remove() {
                self.reap(&container.id)?;
                return Ok(false);
            }
            if !wants_up(&container, &state)? {
                return Ok(false);
            }
            if self.start_or_warn(&container) {
                return Ok(true);
            }
            // What stood in the way may pass: its new monitor may have been killed as well, while it started.
            if pause > LAST_PAUSE {
                return Ok(false);
            }
            std::thread::sleep(pause);
            pause *= 2;
        }
    }

    /// Whether it runs after that.
    fn start_or_warn(&self, container: &Container) -> bool {
        match self.start(&container.id) {
            Ok(()) | Err(Error::NotModified(_)) => true,
            Err(Error::NotFound(_)) => false,
            Err(error) => {
                tracing::warn!("restart container {}: {error}", container.short_id());
                false
            }
        }
    }

    /// Removes an ended container that is to be removed (`--rm`), and tells the plugins of one that is kept that it has
    /// ended. The hidden role `berth monitor-reap`. One that is not there any more or runs is left alone.
    pub fn reap(&self, id: &str) -> Result<()> {
        self.usable_storage()?;
        let run_folder = self.paths().container_run(id);
        if !wait_for_monitor(&run_folder) {
            return Ok(());
        }
        let Some(_lock) = self.lock_of_known(id)? else { return Ok(()) };
        let container = match self.store().read(|connection| record::by_id(connection, id)) {
            Ok(container) => container,
            Err(Error::NotFound(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let state = self.settled_state(&container)?;
        if state.status.is_up() {
            return Ok(());
        }
        self.release_volumes(&container);
        if !container.auto_remove() || state.started_at == 0 && state.error.is_empty() {
            return Ok(());
        }
        self.erase(&container, true)?;
        self.emit_container(&container, "destroy", &[]);
        // The networks stay up, also without a container: the next `run --rm` would wait for them.
        Ok(())
    }
}

impl Engine {
    /// The lock, or `None` once the container is gone: a lock that is made after that would be left behind by a
    /// process that ends while it has it, as the command line does when its command has failed.
    fn lock_of_known(&self, id: &str) -> Result<Option<berth_store::Lock>> {
        let mut pause = Duration::from_micros(200);
        loop {
            match self.store().read(|connection| record::by_id(connection, id)) {
                Err(Error::NotFound(_)) => return Ok(None),
                found => found.map(drop)?,
            }
            if let Some(lock) = self.try_lock(id)? {
                return Ok(Some(lock));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

/// Whether the monitor has gone, after waiting for one that is about to.
pub(crate) fn wait_for_monitor(run_folder: &std::path::Path) -> bool {
    wait_while(|| client::is_alive(run_folder))
}

/// Whether it holds no longer.
fn wait_while(holds: impl Fn() -> bool) -> bool {
    let start = std::time::Instant::now();
    let mut pause = Duration::from_micros(100);
    while holds() {
        if start.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
    true
}

/// What is written about a container whose monitor is gone. As in Docker, one that did not survive the host has the
/// code 255.
fn lost(state: State) -> State {
    let rebooted = rebooted_since(&state);
    State {
        status: Status::Exited,
        pid: 0,
        monitor_pid: 0,
        sandbox: None,
        exit_code: if rebooted { 255 } else { 137 },
        error: if rebooted { REBOOTED } else { LOST }.to_owned(),
        finished_at: time::now(),
        lost: true,
        ..state
    }
}

fn rebooted_since(state: &State) -> bool {
    rebooted(&state.boot)
}

/// Whether `then` is another boot than the present one.
fn rebooted(then: &str) -> bool {
    let now = boot_id();
    !then.is_empty() && !now.is_empty() && then != now
}
