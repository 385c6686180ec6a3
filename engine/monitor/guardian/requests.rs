//! What clients ask for.

use berth_backends::Error as BackendError;
use oci_spec::runtime::LinuxResources;

use super::clients::{Attached, Mode};
use super::detach::DetachKeys;
use super::launch::refusal;
use super::{Monitor, Run};
use crate::protocol::{Refusal, RefusalKind, Request, Response};
use crate::state::Status;

pub(super) fn refuse(kind: RefusalKind, message: String) -> Refusal {
    Refusal { kind, message }
}

/// Linux has no more, on any architecture but MIPS.
const MAX_SIGNAL: i32 = 64;

impl Monitor {
    /// Does what a client asks for, and answers now or later.
    pub(super) fn carry_out(&mut self, index: usize, request: Request) {
        let done = match request {
            Request::Attach { stdin, stdout, stderr, detach_keys } => {
                return self.attach(index, (stdin, stdout, stderr), detach_keys);
            }
            Request::Exec { .. } => return self.execute(index, request),
            Request::Wait { condition, removes } => {
                self.clients[index].mode = Mode::Waiting { condition, removes };
                return;
            }
            Request::Stop { signal, timeout } => {
                match self.stop_for_good(signal, timeout) {
                    Ok(true) => {
                        self.clients[index].mode = Mode::Stopping;
                        return;
                    }
                    Ok(false) => {
                        // It waited for its next start, and ends with this.
                        self.clients[index].mode = Mode::Stopping;
                        return self.end_waiting();
                    }
                    Err(refusal) => Err(refusal),
                }
            }
            Request::Resize { exec, columns, rows } => self.resize(exec.as_deref(), columns, rows),
            Request::Signal { signal } => {
                let done = self.signal(signal);
                // Before what it may lead to, which is the end.
                self.respond(index, &done.map_or_else(Response::Refused, |()| Response::Done));
                if self.state.stopped_by_user {
                    self.end_waiting();
                }
                return;
            }
            Request::Checkpoint { place, options } => return self.checkpoint(index, &place, *options),
            Request::Pause => self.pause(),
            Request::Hold => return self.hold(index),
            Request::Unpause => self.unpause(),
            Request::Networks { plan } => self.change_networks(*plan),
            Request::Update { resources, restart, attributes } => {
                let done = self.update(resources.as_deref());
                if done.is_ok() {
                    self.config.restart = restart.unwrap_or(self.config.restart);
                    if let Some(attributes) = attributes {
                        self.config.attributes = attributes;
                    }
                }
                // Before what the change may lead to, which is the end.
                self.respond(index, &done.map_or_else(Response::Refused, |()| Response::Done));
                return self.policy_changed();
            }
        };
        self.respond(
            index,
            &match done {
                Ok(()) => Response::Done,
                Err(refusal) => Response::Refused(refusal),
            },
        );
    }

    pub(super) fn respond(&mut self, index: usize, response: &Response) {
        self.clients[index].answer(response);
        self.write_client(index);
    }

    fn attach(&mut self, index: usize, wants: (bool, bool, bool), keys: Vec<u8>) {
        let main = self.main_streams;
        let place = self.streams(main).map_or(0, |streams| streams.output.end());
        let attached = Attached::new(main, None, wants, DetachKeys::new(keys), place);
        self.clients[index].mode = Mode::Attached(Box::new(attached));
        self.event("attach", &[]);
        self.respond(index, &Response::Done);
    }

    fn resize(&mut self, exec: Option<&str>, columns: u16, rows: u16) -> Result<(), Refusal> {
        let id = match exec {
            None => self.main_streams,
            Some(name) => self.execution_streams(name)?,
        };
        let resized = match self.streams(id) {
            Some(streams) => streams.resize(columns, rows),
            None => Err(std::io::ErrorKind::NotFound.into()),
        };
        if matches!(&resized, Err(error) if error.kind() == std::io::ErrorKind::NotFound)
            && matches!(self.run, Run::Fresh)
        {
            // A client that was there before the program.
            self.config.size = Some((columns, rows));
            return Ok(());
        }
        resized.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => refuse(RefusalKind::Conflict, "resize: there is no terminal".to_owned()),
            _ => refuse(RefusalKind::Failed, format!("resize the terminal: {error}")),
        })
    }

    pub(super) fn not_running(&self) -> Refusal {
        refuse(RefusalKind::Conflict, format!("container {} is not running", self.config.id.short()))
    }

    /// For what a frozen container cannot do.
    pub(super) fn must_run_unfrozen(&self) -> Result<(), Refusal> {
        match (self.is_running(), self.state.status) {
            (true, Status::Paused) => {
                let message = format!("container {} is paused, unpause the container first", self.config.id.short());
                Err(refuse(RefusalKind::Conflict, message))
            }
            (true, _) => Ok(()),
            (false, _) => Err(self.not_running()),
        }
    }

    /// Signals the container's init, and says so.
    pub(super) fn send_signal(&mut self, signal: i32) -> Result<(), Refusal> {
        if !(1..=MAX_SIGNAL).contains(&signal) {
            return Err(refuse(RefusalKind::InvalidArgument, format!("invalid signal: {signal}")));
        }
        let Some(sandbox) = self.sandbox.as_ref().filter(|_| self.is_running()) else { return Err(self.not_running()) };
        match sandbox.signal(signal) {
            // It has just ended: whoever wanted that has it.
            Ok(()) | Err(BackendError::NotFound(_)) => {}
            Err(error) => return Err(refusal(&error)),
        }
        self.event("kill", &[("signal", signal.to_string())]);
        Ok(())
    }

    /// SIGKILL and the stop signal mean that the container shall stay ended. Others do not, unlike Docker's, which
    /// then forgets the restart policy of a container that was only told to read its configuration again.
    fn signal(&mut self, signal: i32) -> Result<(), Refusal> {
        let ends = signal == libc::SIGKILL || signal == self.config.stop_signal;
        if ends && matches!(self.run, Run::Waiting { .. } | Run::Draining { .. }) {
            self.state.stopped_by_user = true;
            return Ok(());
        }
        self.send_signal(signal)?;
        if ends {
            self.state.stopped_by_user = true;
            self.save_state();
            self.thaw();
        }
        Ok(())
    }

    /// True when the end comes later.
    fn stop_for_good(&mut self, signal: Option<i32>, timeout: Option<i64>) -> Result<bool, Refusal> {
        match self.run {
            Run::Running { .. } => self.begin_stop(signal, timeout, true)?,
            Run::Draining { .. } => {}
            Run::Waiting { .. } => {
                self.state.stopped_by_user = true;
                return Ok(false);
            }
            Run::Fresh | Run::Over => return Err(self.not_running()),
        }
        self.state.stopped_by_user = true;
        self.save_state();
        Ok(true)
    }

    fn pause(&mut self) -> Result<(), Refusal> {
        if self.state.status == Status::Paused {
            return Err(refuse(
                RefusalKind::Conflict,
                format!("container {} is already paused", self.config.id.short()),
            ));
        }
        let Some(sandbox) = self.sandbox.as_ref().filter(|_| self.is_running()) else { return Err(self.not_running()) };
        let freezer = sandbox.freezer().ok_or_else(|| {
            let message = format!("pause: the {} backend cannot freeze processes on this host", self.config.backend);
            refuse(RefusalKind::Failed, message)
        })?;
        freezer.freeze().map_err(|error| refusal(&error))?;
        self.state.status = Status::Paused;
        self.save_state();
        self.event("pause", &[]);
        Ok(())
    }

    /// Pauses until the client lets go or dies.
    fn hold(&mut self, index: usize) {
        let done = self.pause();
        let held = done.is_ok();
        self.respond(index, &done.map_or_else(Response::Refused, |()| Response::Done));
        if held {
            self.clients[index].keep(Mode::Holding);
        }
    }

    fn unpause(&mut self) -> Result<(), Refusal> {
        if self.state.status != Status::Paused || !self.is_running() {
            return Err(refuse(RefusalKind::Conflict, format!("container {} is not paused", self.config.id.short())));
        }
        if let Some(freezer) = self.sandbox.as_ref().and_then(|sandbox| sandbox.freezer()) {
            freezer.thaw().map_err(|error| refusal(&error))?;
        }
        self.state.status = Status::Running;
        for client in self.clients.iter_mut().filter(|client| matches!(client.mode, Mode::Holding)) {
            client.keep(Mode::Answered);
        }
        self.save_state();
        self.event("unpause", &[]);
        Ok(())
    }

    /// A frozen container gets no signal, not even SIGKILL on old kernels.
    pub(super) fn thaw(&mut self) {
        if self.state.status == Status::Paused && self.is_running() {
            let _ = self.unpause();
        }
    }

    fn update(&mut self, resources: Option<&LinuxResources>) -> Result<(), Refusal> {
        let (Some(resources), Some(sandbox)) = (resources, &self.sandbox) else { return Ok(()) };
        let limiter = sandbox.limiter().ok_or_else(|| {
            let message = format!("update limits: the {} backend has none on this host", self.config.backend);
            refuse(RefusalKind::Failed, message)
        })?;
        limiter.update(resources).map_err(|error| refusal(&error))
    }
}
