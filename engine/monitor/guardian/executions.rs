//! Other programs inside the container.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Instant;

use berth_backends::{ExecChild, Stdio};

use super::clients::{Attached, Mode};
use super::detach::DetachKeys;
use super::launch::refusal;
use super::requests::refuse;
use super::streams::{Connected, StreamsId};
use super::{GRACE, Monitor};
use crate::files;
use crate::protocol::{Refusal, RefusalKind, Request, Response};
use crate::state::ExecState;

pub(super) struct Execution {
    id: String,
    child: Box<dyn ExecChild>,
    pub(super) streams: StreamsId,
    /// The exit code, and until when its streams are read.
    ended: Option<(i32, Instant)>,
}

impl Execution {
    pub(super) fn pid(&self) -> i32 {
        self.child.pid()
    }

    pub(super) fn is_running(&self) -> bool {
        self.ended.is_none()
    }

    pub(super) fn exit_fd(&self) -> Option<BorrowedFd<'_>> {
        if self.is_running() { self.child.exit_fd() } else { None }
    }

    pub(super) fn grace_until(&self) -> Option<Instant> {
        self.ended.map(|(_, until)| until)
    }
}

impl Monitor {
    pub(super) fn execution_streams(&self, id: &str) -> Result<StreamsId, Refusal> {
        let found = self.executions.iter().find(|execution| execution.id == id && execution.is_running());
        found
            .map(|execution| execution.streams)
            .ok_or_else(|| refuse(RefusalKind::NotFound, format!("no running execution {id}")))
    }

    pub(super) fn execute(&mut self, index: usize, request: Request) {
        let Request::Exec { id, mut process, stdin, stdout, stderr, detach, detach_keys, size } = request else {
            return;
        };
        let valid = !id.is_empty() && id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !valid {
            let message = format!("invalid execution ID {id:?}");
            return self.respond(index, &Response::Refused(refuse(RefusalKind::InvalidArgument, message)));
        }
        self.own.give_back(&mut process);
        let terminal = process.terminal().unwrap_or(false);
        let connected = Connected { stdin: stdin && !detach, stdout: stdout && !detach, stderr: stderr && !detach };
        let program = process.args().as_ref().map(|args| args.join(" ")).unwrap_or_default();
        let streams = self.new_streams(true);
        let started = self.must_run_unfrozen().and_then(|()| {
            let io = if terminal {
                Stdio::Terminal { size }
            } else {
                let streams = self.streams(streams).ok_or_else(|| self_gone("connect streams"))?;
                streams
                    .connect_pipes(connected)
                    .map_err(|error| refuse(RefusalKind::Failed, format!("make pipes: {error}")))?
            };
            let sandbox = self.sandbox.as_mut().ok_or_else(|| self_gone("execute"))?;
            let mut child = sandbox.exec(&process, io, Vec::new()).map_err(|error| refusal(&error))?;
            if terminal && let (Some(end), Some(streams)) = (child.take_terminal(), self.streams(streams)) {
                streams
                    .connect_terminal(end, stdin && !detach)
                    .map_err(|error| refuse(RefusalKind::Failed, format!("open a terminal: {error}")))?;
            }
            Ok(child)
        });
        let child = match started {
            Ok(child) => child,
            Err(refusal) => {
                self.streams.retain(|other| other.id != streams);
                let exit_code = match refusal.kind {
                    RefusalKind::ProgramNotFound => Some(127),
                    RefusalKind::CannotExecute => Some(126),
                    _ => None,
                };
                if exit_code.is_some() {
                    self.save_execution(&id, &ExecState { running: false, pid: 0, exit_code });
                }
                return self.respond(index, &Response::Refused(refusal));
            }
        };
        let pid = child.pid();
        self.save_execution(&id, &ExecState { running: true, pid, exit_code: None });
        self.event(&format!("exec_start: {program}"), &[("execID", id.clone())]);
        self.executions.push(Execution { id: id.clone(), child, streams, ended: None });
        if !detach {
            let wants = (stdin, stdout, stderr);
            let attached = Attached::new(streams, Some(id), wants, DetachKeys::new(detach_keys), 0);
            self.clients[index].mode = Mode::Attached(Box::new(attached));
        }
        self.respond(index, &Response::Executing { pid });
    }

    fn save_execution(&mut self, id: &str, state: &ExecState) {
        // Relative to the run folder, the working directory.
        let path = PathBuf::from(format!("exec/{id}.json"));
        let saved = files::write_json(&path, state).or_else(|_| {
            let _ = std::fs::create_dir("exec");
            files::write_json(&path, state)
        });
        if let Err(error) = saved {
            self.warn(error.to_string());
        }
    }

    pub(super) fn look_at_executions(&mut self) {
        for index in 0..self.executions.len() {
            let execution = &mut self.executions[index];
            if !execution.is_running() {
                continue;
            }
            let Ok(Some(status)) = execution.child.try_wait() else { continue };
            execution.ended = Some((status.code, Instant::now() + GRACE));
            let (id, streams) = (execution.id.clone(), execution.streams);
            self.save_execution(&id, &ExecState { running: false, pid: 0, exit_code: Some(status.code) });
            self.event("exec_die", &[("execID", id), ("exitCode", status.code.to_string())]);
            for source in [0, 1] {
                self.read_source(streams, source, 64);
            }
        }
    }

    /// Ends executions whose streams are read, or whose time is up because something in the background holds them.
    pub(super) fn settle_executions(&mut self, now: Instant) {
        for index in (0..self.executions.len()).rev() {
            let execution = &mut self.executions[index];
            let (Some((code, until)), id) = (execution.ended, execution.streams) else { continue };
            let streams = self.streams.iter().find(|streams| streams.id == id);
            let (read, full) = streams.map_or((true, false), |s| (s.have_ended(), s.output.is_full()));
            if full {
                execution.ended = Some((code, now + GRACE));
            } else if read || now >= until {
                self.executions.swap_remove(index);
                self.end_streams(id, code);
            }
        }
    }

    /// The container is gone, and they with it.
    pub(super) fn end_all_executions(&mut self) {
        self.look_at_executions();
        for execution in std::mem::take(&mut self.executions) {
            let code = match execution.ended {
                Some((code, _)) => code,
                None => {
                    let code = 128 + libc::SIGKILL;
                    let id = execution.id;
                    self.save_execution(&id, &ExecState { running: false, pid: 0, exit_code: Some(code) });
                    self.event("exec_die", &[("execID", id), ("exitCode", code.to_string())]);
                    code
                }
            };
            self.end_streams(execution.streams, code);
        }
    }
}

fn self_gone(what: &str) -> Refusal {
    refuse(RefusalKind::Failed, format!("{what}: the container is gone"))
}
