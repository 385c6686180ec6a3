//! Executions: further programs in a running container.
//!
//! An execution is two files in the container's run folder: what was asked for, and what became of it (the monitor's).
//! Its ID ends in the beginning of the container's, so that it is found without a list of all.

use std::path::PathBuf;

use berth_api::models::{ExecConfig, ExecInspectResponse, ExecStartConfig, ProcessConfig};
use berth_monitor::protocol::{Request, Response};
use berth_monitor::state::ExecState;
use berth_monitor::{Status, client};
use berth_store::{read_json, write_json};
use oci_spec::runtime::{Process, Spec};
use serde::{Deserialize, Serialize};

use super::attach::{Stream, detach_keys};
use super::create::random_id;
use super::record::Container;
use crate::settings::{capabilities, mounts};
use crate::spec::process::{console_size, environment, sets, user, working_directory};
use crate::{Engine, Error, Result};

/// Digits of an execution's ID that are its own; the rest is the container's.
const OWN: usize = 24;

/// `exec/ID.config.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Asked {
    config: ExecConfig,
    /// When it was started; an execution is started once.
    started: bool,
}

fn no_such(id: &str) -> Error {
    Error::NotFound(format!("No such exec instance: {id}"))
}

impl Engine {
    /// The execution's ID.
    pub fn exec_create(&self, name: &str, body: &ExecConfig) -> Result<String> {
        let container = self.find(name)?;
        let command = body.cmd.as_deref().unwrap_or_default();
        if command.first().is_none_or(String::is_empty) {
            return Err(Error::invalid("No exec command specified"));
        }
        let texts = command.iter().chain(body.env.iter().flatten());
        if let Some(text) = texts.into_iter().find(|text| text.contains('\0')) {
            return Err(Error::invalid(format!("invalid text {text:?}: it holds a NUL byte")));
        }
        if let Some(folder) = body.working_dir.as_deref().filter(|folder| !folder.is_empty())
            && mounts::clean(folder).is_none()
        {
            return Err(Error::invalid(format!(
                "the working directory '{folder}' is invalid, it needs to be an absolute path"
            )));
        }
        detach_keys(body.detach_keys.as_deref().filter(|keys| !keys.is_empty()))?;
        if self.running(&container)?.status == Status::Paused {
            return Err(Error::Conflict(format!(
                "container {} is paused, unpause the container before exec",
                container.id
            )));
        }
        let id = format!("{}{}", &random_id()?[..OWN], &container.id[..64 - OWN]);
        let folder = self.run_folder(&container).join("exec");
        berth_store::create_private(&folder).map_err(Error::io("create", &folder))?;
        write_json(&self.asked_path(&container, &id), &Asked { config: body.clone(), started: false }, false)?;
        let words = command.join(" ");
        self.emit_container(&container, &format!("exec_create: {words}"), &[("execID", &id)]);
        Ok(id)
    }

    /// `None` when detached. Never `pending`.
    pub fn exec_start(&self, id: &str, options: &ExecStartConfig) -> Result<Option<Stream>> {
        let (container, mut asked) = self.find_exec(id)?;
        let state = self.running(&container)?;
        if state.status == Status::Paused {
            return Err(Error::Conflict(format!(
                "container {} is paused, unpause the container before exec",
                container.id
            )));
        }
        if asked.started {
            return Err(Error::Conflict(format!("exec command {id} is already running or has ended")));
        }
        let detach = options.detach == Some(true);
        let config = &asked.config;
        let tty = config.tty == Some(true);
        let attached = |flag: Option<bool>| flag == Some(true) && !detach;
        let keys = config.detach_keys.as_deref().filter(|keys| !keys.is_empty());
        let size = options.console_size.as_deref().or(config.console_size.as_deref());
        let process = match self.exec_process(&container, config) {
            Ok(process) => Box::new(process),
            Err(error) => {
                self.note_refusal(&container, id, &error)?;
                return Err(error);
            }
        };
        let request = Request::Exec {
            id: id.to_owned(),
            process,
            stdin: attached(config.attach_stdin),
            stdout: attached(config.attach_stdout),
            stderr: attached(config.attach_stderr),
            detach,
            detach_keys: detach_keys(keys)?,
            size: console_size(size).filter(|_| tty),
        };
        asked.started = true;
        write_json(&self.asked_path(&container, id), &asked, false)?;
        match self.ask_with_stream(&container, &request) {
            Ok((socket, Response::Executing { .. })) => Ok((!detach).then_some(Stream { socket, tty, pending: false })),
            Ok(_) => Err(Error::Internal("the monitor answered an execution with something else".to_owned())),
            Err(error) => {
                self.note_refusal(&container, id, &error)?;
                Err(error)
            }
        }
    }

    /// Docker's exit code for what never came to run.
    fn note_refusal(&self, container: &Container, id: &str, error: &Error) -> Result<()> {
        let code = match error {
            Error::Program { code, .. } => *code,
            _ => 126,
        };
        let state = ExecState { exit_code: Some(code), ..ExecState::default() };
        Ok(write_json(&self.exec_state_path(container, id), &state, false)?)
    }

    pub fn exec_resize(&self, id: &str, columns: u16, rows: u16) -> Result<()> {
        let (container, _) = self.find_exec(id)?;
        self.running(&container)?;
        self.ask(&container, &Request::Resize { exec: Some(id.to_owned()), columns, rows }).map(drop)
    }

    pub fn exec_inspect(&self, id: &str) -> Result<ExecInspectResponse> {
        let (container, asked) = self.find_exec(id)?;
        let state: ExecState = read_json(&self.exec_state_path(&container, id))?.unwrap_or_default();
        let config = asked.config;
        let mut words = config.cmd.unwrap_or_default().into_iter();
        // What a killed monitor left says `running` for ever.
        let running = state.running && client::is_alive(&self.run_folder(&container));
        let exit_code = state.exit_code.or((state.running && !running).then_some(137));
        Ok(ExecInspectResponse {
            can_remove: Some(false),
            detach_keys: Some(config.detach_keys.unwrap_or_default()),
            id: Some(id.to_owned()),
            running: Some(running),
            exit_code: exit_code.map(i64::from),
            process_config: Some(ProcessConfig {
                privileged: Some(config.privileged.unwrap_or(false)),
                user: config.user.filter(|user| !user.is_empty()),
                tty: Some(config.tty.unwrap_or(false)),
                entrypoint: words.next(),
                arguments: Some(words.collect()),
            }),
            open_stdin: Some(config.attach_stdin.unwrap_or(false)),
            open_stderr: Some(config.attach_stderr.unwrap_or(false)),
            open_stdout: Some(config.attach_stdout.unwrap_or(false)),
            container_id: Some(container.id),
            pid: Some(state.pid.into()),
        })
    }

    /// Those of the container that have been created and not ended.
    pub(crate) fn exec_ids(&self, container: &Container) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.run_folder(container).join("exec")) else { return Vec::new() };
        let name = |entry: std::fs::DirEntry| entry.file_name().into_string().ok();
        let mut ids: Vec<_> = entries
            .flatten()
            .filter_map(name)
            .filter_map(|name| name.strip_suffix(".config.json").map(str::to_owned))
            .filter(|id| {
                let state = read_json::<ExecState>(&self.exec_state_path(container, id));
                state.is_ok_and(|state| state.is_none_or(|state| state.exit_code.is_none()))
            })
            .collect();
        ids.sort();
        ids
    }

    fn find_exec(&self, id: &str) -> Result<(Container, Asked)> {
        let hex = id.len() == 64 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !hex {
            return Err(no_such(id));
        }
        let container = self.find(&id[OWN..]).map_err(|error| match error {
            Error::NotFound(_) => no_such(id),
            other => other,
        })?;
        let asked = read_json(&self.asked_path(&container, id))?.ok_or_else(|| no_such(id))?;
        Ok((container, asked))
    }

    fn asked_path(&self, container: &Container, id: &str) -> PathBuf {
        self.run_folder(container).join("exec").join(format!("{id}.config.json"))
    }

    fn exec_state_path(&self, container: &Container, id: &str) -> PathBuf {
        self.run_folder(container).join("exec").join(format!("{id}.json"))
    }

    /// The container's process with another program, user and folder.
    fn exec_process(&self, container: &Container, config: &ExecConfig) -> Result<Process> {
        let path = self.folder(container).join("config.json");
        let spec: Spec = read_json(&path)?.ok_or_else(|| super::talk::not_running(container))?;
        let mut process = spec.process().clone().unwrap_or_default();
        let tty = config.tty == Some(true);
        let wanted = config.user.as_deref().filter(|user| !user.is_empty()).or(container.config.user.as_deref());
        let groups = container.host_config.group_add.as_deref().unwrap_or_default();
        let identity = self.user_identity(container, wanted.unwrap_or_default(), groups)?;
        let more = config.env.as_deref().unwrap_or_default();
        process
            .set_terminal(Some(tty))
            .set_console_size(None)
            .set_user(user(&identity)?)
            .set_args(config.cmd.clone())
            .set_env(Some(environment(container, more, tty, &identity.home)));
        if let Some(folder) = config.working_dir.as_deref().filter(|folder| !folder.is_empty()) {
            process.set_cwd(working_directory(Some(folder)));
        }
        if config.privileged == Some(true) {
            process.set_capabilities(Some(sets(capabilities::available())?));
        }
        Ok(process)
    }
}
