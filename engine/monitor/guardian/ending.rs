//! From the exit of the container's init to the monitor's own.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use berth_backends::ExitStatus;

use super::clients::Mode;
use super::streams::StreamsId;
use super::{GRACE, KILL_PATIENCE, Memory, Monitor, Run, Stop, now, restart};
use crate::client::SOCKET;
use crate::config::{MonitorConfig, RestartPolicy};
use crate::protocol::{Refusal, RefusalKind, Response, WaitCondition};
use crate::state::Status;

impl Monitor {
    /// Does what has become due.
    pub(super) fn settle(&mut self) {
        let now = Instant::now();
        if self.idle_terminal_until.is_some_and(|until| now >= until) {
            self.idle_terminal_until = None;
        }
        if self.listener_rests_until.is_some_and(|until| now >= until) {
            self.listener_rests_until = None;
        }
        self.escalate(now);
        self.end_overrun_clients(now);
        self.settle_executions(now);
        self.settle_networks(now);
        if matches!((&self.memory, self.run), (Memory::ToBeWatched, Run::Running { .. })) {
            let watch =
                self.sandbox.as_ref().and_then(|sandbox| sandbox.stats()).and_then(|stats| stats.memory_watch());
            self.memory = watch.map_or(Memory::Unwatched, Memory::Watched);
        }
        match self.run {
            Run::Draining { since, until, ended } => {
                let streams = self.streams.iter().find(|streams| streams.id == self.main_streams);
                let (read, full) = streams.map_or((true, false), |s| (s.have_ended(), s.output.is_full()));
                if full {
                    // Not the program's fault: its last output waits for a client.
                    self.run = Run::Draining { since, until: now + GRACE, ended };
                } else if (read && self.executions.is_empty()) || now >= until {
                    self.end_run(since, ended);
                }
            }
            Run::Waiting { until } if now >= until => self.restart(),
            _ => {}
        }
    }

    /// The container's init has ended. What it wrote is read before anybody is told.
    pub(super) fn init_ended(&mut self, since: Instant, ended: ExitStatus) {
        self.state.exit_code = ended.code;
        self.state.finished_at = now();
        self.run = Run::Draining { since, until: Instant::now() + GRACE, ended };
        // It may be what ended it, and not have been heard of yet.
        self.memory_changed();
        self.memory = Memory::Unwatched;
        if !self.state.out_of_memory
            && let Some(stats) = self.sandbox.as_ref().and_then(|sandbox| sandbox.stats())
            && stats.out_of_memory().unwrap_or(false)
        {
            self.state.out_of_memory = true;
            self.event("oom", &[]);
        }
        let main = self.main_streams;
        for index in [0, 1] {
            while self.has_source(main, index) && self.read_source(main, index, 64) {}
        }
        let open = [0, 1].into_iter().any(|index| self.has_source(main, index));
        if let Some(sandbox) = &self.sandbox
            && (open || !self.executions.is_empty())
        {
            // Others of the container live on without it (there is no process namespace, or it shares another's).
            let _ = sandbox.kill_all();
        }
    }

    /// The kernel may have killed a process inside for want of memory.
    pub(super) fn memory_changed(&mut self) {
        if let Memory::Watched(watch) = &mut self.memory
            && watch.happened()
        {
            self.event("oom", &[]);
            if !std::mem::replace(&mut self.state.out_of_memory, true) {
                self.save_state();
            }
        }
    }

    fn has_source(&self, id: StreamsId, index: usize) -> bool {
        self.streams
            .iter()
            .any(|streams| streams.id == id && streams.sources[index].is_some() && !streams.output.is_full())
    }

    /// A run is over, whether or not another follows.
    fn end_run(&mut self, since: Instant, ended: ExitStatus) {
        self.end_all_executions();
        self.log.end();
        if let Some(mut sandbox) = self.sandbox.take()
            && let Err(error) = sandbox.delete()
        {
            self.warn(format!("clear away the container: {error}"));
        }
        self.rest_networks();
        let ran = since.elapsed();
        let code = ended.code;
        self.event("die", &[("execDuration", ran.as_secs().to_string()), ("exitCode", code.to_string())]);
        self.networks_event("disconnect");
        self.volumes_unmounted();
        self.state.pid = 0;
        self.state.sandbox = None;
        let stopped = self.state.stopped_by_user || self.shutting_down || self.stop.is_some();
        if !stopped && restart::again(self.config.restart, code, self.state.restart_count) {
            self.state.status = Status::Restarting;
            self.save_state();
            self.end_streams(self.main_streams, code);
            self.main_streams = self.new_streams(self.config.stdin_once);
            self.run = Run::Waiting { until: Instant::now() + self.back_off.after(ran) };
            let answer = Response::Exited { code, error: String::new() };
            self.answer_waiting(&answer, |mode| {
                matches!(mode, Mode::Waiting { condition: WaitCondition::NextExit, .. })
            });
            return;
        }
        self.end_for_good();
    }

    fn restart(&mut self) {
        self.state.restart_count += 1;
        if let Err(refusal) = self.launch() {
            // As Docker: what could not be started again counts as a run that failed.
            let (code, count) = (self.state.exit_code, self.state.restart_count);
            if restart::again(self.config.restart, code, count) {
                self.state.status = Status::Restarting;
                self.save_state();
                self.run = Run::Waiting { until: Instant::now() + self.back_off.after(Duration::ZERO) };
            } else {
                self.state.status = Status::Exited;
                self.state.error = refusal.message;
                self.end_for_good();
            }
        }
    }

    /// Ends a container that waits for its next start.
    pub(super) fn end_waiting(&mut self) {
        if matches!(self.run, Run::Waiting { .. }) {
            self.end_for_good();
        }
    }

    /// Nothing runs any more, and nothing will. First the state, then the lock, then the answers: whoever hears of
    /// the end can start or remove the container at once. Clients that have not got all output keep the process.
    fn end_for_good(&mut self) {
        self.run = Run::Over;
        self.state.status = Status::Exited;
        self.state.pid = 0;
        self.state.monitor_pid = 0;
        self.state.sandbox = None;
        self.leave_networks();
        self.save_state();
        if self.stop.take().is_some_and(|stop| stop.announced) {
            self.event("stop", &[]);
        }
        let code = self.state.exit_code;
        self.release();
        self.end_streams(self.main_streams, code);
        self.answer_waiting(&Response::Done, |mode| matches!(mode, Mode::Stopping));
        let answer = Response::Exited { code, error: self.state.error.clone() };
        let promised = self.answer_waiting(&answer, |mode| matches!(mode, Mode::Waiting { .. }));
        let promised = promised && self.config.auto_remove;
        for client in &mut self.clients {
            client.gone |= matches!(client.mode, Mode::Request(_));
        }
        self.drop_clients();
        if self.config.releases
            && !self.config.auto_remove
            && let Some(mut command) = remove_command(&self.config)
        {
            let _ = command.spawn();
        }
        if !self.clients.is_empty() && self.config.auto_remove && !promised {
            // Somebody has still to get output; that is no reason to keep the container.
            self.config.auto_remove = false;
            if let Some(mut command) = remove_command(&self.config) {
                let _ = command.spawn();
            }
        }
    }

    /// Gives up the container: after this, another monitor may take it.
    pub(super) fn release(&mut self) {
        if self.listener.take().is_some() {
            let _ = std::fs::remove_file(SOCKET);
        }
        self.lock = None;
    }

    /// Answers those who wait. True if one who has promised to remove the container got it.
    fn answer_waiting(&mut self, answer: &Response, whom: impl Fn(&Mode) -> bool) -> bool {
        let mut promised = false;
        for index in 0..self.clients.len() {
            if !whom(&self.clients[index].mode) {
                continue;
            }
            let removes = matches!(self.clients[index].mode, Mode::Waiting { removes: true, .. });
            self.clients[index].answer(answer);
            self.write_client(index);
            // An answer fits a socket's buffer: what is still queued will not arrive.
            if removes && !self.clients[index].has_queued() {
                promised = true;
                if matches!(self.run, Run::Over) && self.config.auto_remove {
                    self.clients[index].keep(Mode::Removing);
                }
            }
        }
        promised
    }

    /// The host goes down, or somebody ends the monitor by hand: the container is stopped in order, and what its
    /// restart policy says stays true for the next boot.
    pub(super) fn shut_down(&mut self) {
        self.shutting_down = true;
        match self.run {
            Run::Running { .. } => {
                let _ = self.begin_stop(None, None, false);
            }
            Run::Waiting { .. } => self.end_waiting(),
            _ => {}
        }
    }

    /// Sends the stop signal and sets the time for SIGKILL.
    pub(super) fn begin_stop(
        &mut self,
        signal: Option<i32>,
        timeout: Option<i64>,
        announced: bool,
    ) -> Result<(), Refusal> {
        let signal = signal.unwrap_or(self.config.stop_signal);
        let timeout = u64::try_from(timeout.unwrap_or(self.config.stop_timeout)).ok();
        let kill_at = timeout.and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds)));
        self.send_signal(signal)?;
        match &mut self.stop {
            Some(stop) => {
                stop.announced |= announced;
                stop.kill_at = match (stop.kill_at, kill_at) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
            }
            None => self.stop = Some(Stop { kill_at, give_up_at: None, announced }),
        }
        self.thaw();
        Ok(())
    }

    fn escalate(&mut self, now: Instant) {
        let Some(stop) = &mut self.stop else { return };
        if stop.give_up_at.is_some_and(|at| now >= at) {
            let message =
                format!("container {} did not end {} s after SIGKILL", self.config.id.short(), KILL_PATIENCE.as_secs());
            self.stop = None;
            let answer = Response::Refused(Refusal { kind: RefusalKind::Failed, message });
            self.answer_waiting(&answer, |mode| matches!(mode, Mode::Stopping));
        } else if stop.kill_at.is_some_and(|at| now >= at) {
            stop.kill_at = None;
            stop.give_up_at = Some(now + KILL_PATIENCE);
            let _ = self.send_signal(libc::SIGKILL);
            if let Some(sandbox) = &self.sandbox {
                let _ = sandbox.kill_all();
            }
        }
    }

    /// An update may have changed the policy while the container waits for its next start.
    pub(super) fn policy_changed(&mut self) {
        if matches!(self.run, Run::Waiting { .. }) && self.config.restart == RestartPolicy::No {
            self.end_for_good();
        }
    }
}

/// The end of the process, which becomes the removal if that is left to it.
pub(super) fn leave(monitor: &mut Monitor) -> ExitCode {
    remove_if_wanted(&monitor.config);
    ExitCode::SUCCESS
}

/// Does not return if there is something to remove: whoever promised it may have died over it.
pub(super) fn remove_if_wanted(config: &MonitorConfig) {
    if config.auto_remove
        && config.folder.exists()
        && let Some(mut command) = remove_command(config)
    {
        let _ = nix::sys::signal::SigSet::all().thread_unblock();
        let _ = command.exec();
    }
}

fn remove_command(config: &MonitorConfig) -> Option<Command> {
    let (program, arguments) = config.remove_command.split_first()?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/");
    if let Some(inside) = berth_rootless::inside() {
        inside.stay();
    }
    Some(command)
}
