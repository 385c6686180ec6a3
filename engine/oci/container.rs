//! A container that has been made, as its folder has it.
//!
//! ```text
//! ROOT/ID/config.json    the specification that it was made with
//! ROOT/ID/state.json     the record below, written when the container is complete
//! ROOT/ID/gate           until its program has been started
//! ROOT/.locks/ID         while somebody changes it
//! ```

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use berth_arch::process::Process;
use berth_backends::cgroup::Cgroup;
use berth_backends::{ContainerId, Error, Sandbox, SavedSandbox, run_hooks};
use oci_spec::runtime::{ContainerState, Hook, Spec, State};
use serde::{Deserialize, Serialize};

use crate::Context;

const STATE: &str = "state.json";
const CONFIG: &str = "config.json";
const GATE: &str = "gate";

/// How long processes that are killed may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    /// RFC 3339.
    pub(crate) created: String,
    /// The user that made it.
    pub(crate) owner: u32,
    pub(crate) oci_version: String,
    pub(crate) annotations: HashMap<String, String>,
    pub(crate) sandbox: SavedSandbox,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

pub(crate) struct Container {
    pub(crate) id: ContainerId,
    pub(crate) folder: PathBuf,
    /// `None` while it is being made, or if who made it was killed.
    pub(crate) record: Option<Record>,
}

impl Container {
    /// One that has a folder.
    pub(crate) fn find(context: &Context, id: &ContainerId) -> anyhow::Result<Self> {
        let folder = context.root.folder(id);
        let record = berth_store::read_json(&folder.join(STATE))?;
        if record.is_none() && !folder.is_dir() {
            // The words that callers look for.
            bail!("container {id} does not exist");
        }
        Ok(Self { id: id.clone(), folder, record })
    }

    /// Its folder, empty. What a killed `create` has left is taken away first. Called with the container's lock.
    pub(crate) fn reserve(context: &Context, id: &ContainerId) -> anyhow::Result<Self> {
        let folder = context.root.folder(id);
        if folder.is_dir() {
            let found = Self::find(context, id)?;
            if found.record.is_some() {
                bail!("container with given ID already exists: {id}");
            }
            found.remove()?;
        }
        berth_store::create_private(&folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(Self { id: id.clone(), folder, record: None })
    }

    pub(crate) fn gate(&self) -> PathBuf {
        self.folder.join(GATE)
    }

    pub(crate) fn keep_spec(&self, spec: &Spec) -> anyhow::Result<()> {
        Ok(berth_store::write_json(&self.folder.join(CONFIG), spec, false)?)
    }

    pub(crate) fn keep(&mut self, record: Record) -> anyhow::Result<()> {
        berth_store::write_json(&self.folder.join(STATE), &record, false)?;
        self.record = Some(record);
        Ok(())
    }

    pub(crate) fn spec(&self) -> anyhow::Result<Spec> {
        let path = self.folder.join(CONFIG);
        berth_store::read_json(&path)?.with_context(|| format!("{} is gone", path.display()))
    }

    /// Its first process, while that is alive.
    fn init(&self) -> Option<Process> {
        let saved = &self.record.as_ref()?.sandbox;
        Process::open(saved.pid, Some(saved.start_time)).ok().filter(Process::is_alive)
    }

    /// For who only looks.
    pub(crate) fn status(&self, context: &Context) -> Status {
        let being_made = self.record.is_none() && context.root.is_locked(&self.id);
        if being_made { Status::Creating } else { self.status_with_lock() }
    }

    /// For who holds the container's lock: what is unfinished then has lost its creator.
    pub(crate) fn status_with_lock(&self) -> Status {
        let Some(record) = &self.record else { return Status::Stopped };
        if self.init().is_none() {
            return Status::Stopped;
        }
        let groups = Cgroup::load(&record.sandbox.cgroups);
        if groups.freezer().is_some_and(|freezer| freezer.is_frozen().unwrap_or(false)) {
            return Status::Paused;
        }
        if self.gate().exists() { Status::Created } else { Status::Running }
    }

    /// For a container that is not stopped.
    pub(crate) fn sandbox(&self, spec: Option<&Spec>) -> anyhow::Result<Box<dyn Sandbox>> {
        // The words that callers look for.
        let stopped = || anyhow::anyhow!("container not running: {}", self.id);
        let record = self.record.as_ref().ok_or_else(stopped)?;
        if self.init().is_none() {
            return Err(stopped());
        }
        let name = &record.sandbox.backend;
        let backend = berth_backends::by_name(name, record.sandbox.runtime.as_ref());
        let backend = backend.with_context(|| format!("this program has no isolation backend {name}"))?;
        backend.load(&self.id, &record.sandbox, spec).map_err(|error| match error {
            Error::NotFound(_) => stopped(),
            other => other.into(),
        })
    }

    /// What hooks are told.
    pub(crate) fn told(&self, status: ContainerState) -> State {
        let mut state = State::default();
        state.set_id(self.id.to_string()).set_status(status);
        if let Some(record) = &self.record {
            state.set_version(record.oci_version.clone()).set_bundle(record.bundle.clone());
            state.set_annotations(Some(record.annotations.clone()));
            let ended = matches!(status, ContainerState::Stopped);
            state.set_pid((!ended).then_some(record.sandbox.pid));
        }
        state
    }

    /// Kills what is left of it and removes all that was made for it. Idempotent.
    pub(crate) fn remove(&self) -> anyhow::Result<()> {
        match &self.record {
            Some(record) => {
                let init = self.init();
                match &init {
                    Some(_) => self.sandbox(None)?.delete()?,
                    None => clear(&Cgroup::load(&record.sandbox.cgroups))?,
                }
                if let Some(init) = init {
                    until_ended(&init)?;
                }
            }
            None => self.remove_unfinished()?,
        }
        remove_folder(&self.folder)
    }

    /// The groups of one whose creator was killed: the first process ended with it. Groups that have processes are
    /// somebody else's, whose name the specification took.
    fn remove_unfinished(&self) -> anyhow::Result<()> {
        let spec = self.spec().ok();
        let linux = spec.as_ref().and_then(|spec| spec.linux().as_ref());
        let Some(path) = linux.and_then(|linux| linux.cgroups_path().as_deref()) else { return Ok(()) };
        let groups = Cgroup::find(&self.id, Some(path))?;
        if !groups.paths().is_empty() && groups.pids()?.is_empty() {
            groups.delete()?;
        }
        Ok(())
    }

    /// As [`Container::remove`], and runs the hooks that are due after it. What goes wrong with them is a warning.
    pub(crate) fn delete(&self, context: &Context) -> anyhow::Result<()> {
        let spec = self.spec().ok();
        self.remove()?;
        let hooks = spec.as_ref().and_then(|spec| spec.hooks().as_ref());
        let poststop = hooks.and_then(|hooks| hooks.poststop().as_ref());
        self.poststop(context, poststop);
        Ok(())
    }

    /// Every one runs, whatever became of those before.
    fn poststop(&self, context: &Context, hooks: Option<&Vec<Hook>>) {
        for hook in hooks.into_iter().flatten() {
            let state = self.told(ContainerState::Stopped);
            if let Err(error) = run_hooks("poststop", Some(&vec![hook.clone()]), &state) {
                context.log.warn(format_args!("{error}"));
            }
        }
    }
}

fn clear(groups: &Cgroup) -> anyhow::Result<()> {
    if !groups.paths().is_empty() {
        groups.kill_all()?;
        groups.delete()?;
    }
    Ok(())
}

fn until_ended(init: &Process) -> anyhow::Result<()> {
    let since = Instant::now();
    while init.is_alive() {
        anyhow::ensure!(since.elapsed() < PATIENCE, "process {} does not end although it was killed", init.pid());
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn remove_folder(folder: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}
