//! The poll loop.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::clients::Mode;
use super::own::Own;
use super::streams::StreamsId;
use super::{Memory, Monitor, Run};
use crate::protocol::frame;
use crate::sys;

/// What a descriptor of a turn belongs to.
#[derive(Debug, Clone, Copy)]
enum Token {
    Signals,
    Listener,
    Exit,
    Memory,
    Relay,
    Names,
    Source(StreamsId, usize),
    Input(StreamsId),
    Client(usize),
}

/// How often a terminal that nobody has open is looked at.
const IDLE_TERMINAL: Duration = Duration::from_millis(100);
/// Reads of one stream in a row, before others have their turn.
const READS: usize = 4;

impl Monitor {
    /// What can wait until the engine has its answer.
    pub(super) fn settle_in(&mut self) {
        self.own = Own::take(self.networks.relays());
    }

    pub(super) fn serve(&mut self) -> ExitCode {
        loop {
            self.settle();
            if matches!(self.run, Run::Over) && self.clients.is_empty() {
                let _ = self.log.finish();
                return super::ending::leave(self);
            }
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(Errno::INTR) => continue,
                Err(_) => return ExitCode::FAILURE,
            };
            for (token, flags) in ready {
                self.attend(token, flags);
            }
            self.drop_clients();
            self.drop_old_streams();
            if self.log.has_work() {
                self.log.work();
            }
        }
    }

    fn wait(&self) -> Result<Vec<(Token, PollFlags)>, Errno> {
        let now = Instant::now();
        let mut fds = Vec::with_capacity(8);
        let mut tokens = Vec::with_capacity(8);
        let mut add = |token, fd, flags| {
            fds.push(PollFd::from_borrowed_fd(fd, flags));
            tokens.push(token);
        };
        use std::os::fd::AsFd;
        add(Token::Signals, self.signals.as_fd(), PollFlags::IN);
        if let Some(listener) = &self.listener
            && self.listener_rests_until.is_none_or(|until| now >= until)
        {
            add(Token::Listener, listener.as_fd(), PollFlags::IN);
        }
        if self.is_running() {
            let init = self.sandbox.iter().filter_map(|sandbox| sandbox.exit_fd());
            let executions = self.executions.iter().filter_map(|execution| execution.exit_fd());
            init.chain(executions).for_each(|fd| add(Token::Exit, fd, PollFlags::IN));
            if let Memory::Watched(watch) = &self.memory {
                add(Token::Memory, watch.as_fd(), watch.poll_flags());
            }
        }
        if let Some(relay) = &self.networks.relay {
            add(Token::Relay, relay.as_fd(), PollFlags::IN);
        }
        if let Some(resolver) = &self.networks.resolver {
            add(Token::Names, resolver.as_fd(), PollFlags::IN);
        }
        for out in &self.networks.outside {
            add(Token::Relay, out.as_fd(), PollFlags::IN);
        }
        for streams in &self.streams {
            // A full stream is left out altogether: a pipe that has been closed would be reported without end.
            let idle = streams.terminal.is_some() && self.idle_terminal_until.is_some_and(|until| now < until);
            if !streams.output.is_full() && !idle {
                for (index, source) in streams.sources.iter().enumerate() {
                    if let Some(source) = source {
                        add(Token::Source(streams.id, index), source.as_fd(), PollFlags::IN);
                    }
                }
            }
            if let Some(fd) = streams.input.blocked_on() {
                add(Token::Input(streams.id), fd, PollFlags::OUT);
            }
        }
        for (index, client) in self.clients.iter().enumerate() {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, !client.read_closed && self.takes_input(client));
            flags.set(PollFlags::OUT, self.wants_room(client));
            if !(flags.is_empty() && client.hung_up) {
                add(Token::Client(index), client.stream.as_fd(), flags);
            }
        }
        let timeout = if self.log.has_work() {
            Some(Duration::ZERO)
        } else {
            self.next_deadline().map(|at| at.saturating_duration_since(now))
        };
        // Rounded up to a millisecond: poll(2) on old kernels knows no less, and a deadline must have passed.
        let timeout = timeout.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: (left.subsec_nanos()).into(),
        });
        poll(&mut fds, timeout.as_ref())?;
        let ready = fds.iter().zip(tokens).filter(|(fd, _)| !fd.revents().is_empty());
        Ok(ready.map(|(fd, token)| (token, fd.revents())).collect())
    }

    fn next_deadline(&self) -> Option<Instant> {
        let run = match self.run {
            Run::Draining { until, .. } | Run::Waiting { until } => Some(until),
            _ => None,
        };
        let stop = self.stop.as_ref().and_then(|stop| stop.give_up_at.or(stop.kill_at));
        let executions = self.executions.iter().filter_map(|execution| execution.grace_until()).min();
        [
            run,
            stop,
            executions,
            self.networks.deadline(),
            self.idle_terminal_until,
            self.listener_rests_until,
            self.patience_ends(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn attend(&mut self, token: Token, flags: PollFlags) {
        match token {
            Token::Signals => self.read_signals(),
            Token::Listener => self.accept(),
            Token::Exit => self.children_changed(),
            Token::Memory => self.memory_changed(),
            Token::Relay | Token::Names => self.turn_networks(),
            Token::Source(id, index) => {
                self.read_source(id, index, READS);
            }
            Token::Input(id) => {
                if let Some(streams) = self.streams(id) {
                    streams.input.flush();
                }
            }
            Token::Client(index) => {
                if flags.contains(PollFlags::OUT) {
                    self.write_client(index);
                }
                let client = &mut self.clients[index];
                if flags.contains(PollFlags::ERR) {
                    client.gone = true;
                }
                if flags.contains(PollFlags::HUP) {
                    client.hung_up = true;
                    // Nobody is there to get anything.
                    if client.read_closed || !matches!(client.mode, Mode::Attached(_) | Mode::Request(_)) {
                        client.gone = true;
                    }
                }
                if flags.contains(PollFlags::IN) && self.takes_input(&self.clients[index]) {
                    self.read_client(index);
                }
            }
        }
    }

    fn accept(&mut self) {
        self.listener_rests_until = None;
        while let Some(listener) = &self.listener {
            match listener.accept() {
                Ok((stream, _)) => self.admit(stream),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.listener_rests_until = Some(Instant::now() + IDLE_TERMINAL);
                    return;
                }
            }
        }
    }

    fn read_signals(&mut self) {
        let mut changed = false;
        while let Ok(Some(signal)) = self.signals.read_signal() {
            match Signal::try_from(signal.ssi_signo as i32) {
                Ok(Signal::SIGCHLD) => changed = true,
                Ok(Signal::SIGTERM | Signal::SIGINT) => self.shut_down(),
                _ => {}
            }
        }
        if changed {
            self.children_changed();
        }
    }

    /// Some child has ended. Looks at ours through the backend, and buries orphans that were handed to us.
    fn children_changed(&mut self) {
        self.look_at_init();
        self.look_at_executions();
        while let Some(pid) = sys::ended_child() {
            let ours = self.sandbox.as_ref().is_some_and(|sandbox| sandbox.child() == pid)
                || self.executions.iter().any(|execution| execution.pid() == pid);
            if ours {
                // It ended between the look and now; there is a signal for it.
                return;
            }
            let _ = berth_arch::process::try_wait(pid);
        }
    }

    fn look_at_init(&mut self) {
        let Run::Running { since } = self.run else { return };
        let Some(sandbox) = &mut self.sandbox else { return };
        match sandbox.try_wait() {
            Ok(Some(status)) => self.init_ended(since, status),
            Ok(None) => {}
            Err(error) => self.warn(format!("wait for the container: {error}")),
        }
    }

    /// Reads from a program, at most so many times. False when there is nothing more for now.
    pub(super) fn read_source(&mut self, id: StreamsId, index: usize, reads: usize) -> bool {
        let mut buffer = std::mem::take(&mut self.buffer);
        let main = id == self.main_streams;
        let mut more = true;
        for _ in 0..reads {
            let Some(streams) = self.streams.iter_mut().find(|streams| streams.id == id) else { break };
            if streams.output.is_full() {
                break;
            }
            let Some(source) = &streams.sources[index] else { break };
            let length = match rustix::io::retry_on_intr(|| rustix::io::read(source, &mut buffer[..])) {
                Ok(length) => length,
                Err(Errno::AGAIN) => {
                    more = false;
                    break;
                }
                // The last one who had the terminal open has closed it; the program may open it again.
                Err(Errno::IO)
                    if streams.terminal.is_some()
                        && (main && matches!(self.run, Run::Running { .. })
                            || self
                                .executions
                                .iter()
                                .any(|execution| execution.streams == id && execution.is_running())) =>
                {
                    self.idle_terminal_until = Some(Instant::now() + IDLE_TERMINAL);
                    more = false;
                    break;
                }
                Err(_) => 0,
            };
            if length == 0 {
                streams.sources[index] = None;
                more = false;
                break;
            }
            if main {
                self.log.take(index, &buffer[..length]);
            }
            self.broadcast(id, if index == 0 { frame::STDOUT } else { frame::STDERR }, &buffer[..length]);
            if length < buffer.len() / 16 {
                // Likely all there was; poll tells if not.
                break;
            }
        }
        if main {
            self.log.flush();
        }
        self.buffer = buffer;
        more
    }
}
