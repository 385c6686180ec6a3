//! Waiting for a container's end.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use berth_monitor::protocol::{Request, Response, WaitCondition as Asked};
use berth_monitor::{State, client};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::record::{self, Container, Phase};
use crate::{Engine, Error, Result};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WaitCondition {
    #[default]
    NotRunning,
    NextExit,
    Removed,
}

/// A wait that has been noted: an end that comes from now on is not missed.
pub struct Waited {
    engine: Arc<Engine>,
    container: Container,
    condition: WaitCondition,
    /// The state when the wait began.
    before: State,
    /// A monitor will answer here; not if the container runs under none, or another engine starts it.
    monitor: Option<UnixStream>,
}

/// How long a wait that nobody answers sleeps between two looks, at most.
const LOOK: Duration = Duration::from_millis(100);

fn up(state: &State) -> bool {
    state.status.is_up()
}

impl Engine {
    /// Checks that the container is there and notes its state. The server sends its headers after this, and blocks in
    /// [`Waited::finish`].
    pub fn wait(self: &Arc<Self>, name: &str, condition: WaitCondition) -> Result<Waited> {
        let container = self.find(name)?;
        let before = self.state(&container)?;
        let removes = condition == WaitCondition::Removed && container.auto_remove();
        // Its end is for good, so the next exit is what is waited for; the monitor need not ask for restarts.
        let asked = match condition {
            WaitCondition::NextExit => Asked::NextExit,
            _ if !up(&before) => Asked::NextExit,
            _ => Asked::NotRunning,
        };
        let request = Request::Wait { condition: asked, removes };
        let ask = match condition {
            WaitCondition::NotRunning => up(&before),
            WaitCondition::NextExit => true,
            WaitCondition::Removed => removes,
        };
        let monitor = if !ask {
            None
        } else if up(&before) {
            // One that ends right now is found by its state.
            client::connect(&self.run_folder(&container)).ok().filter(|stream| client::send(stream, &request).is_ok())
        } else {
            Some(self.promise(&container.id, &request)?)
        };
        Ok(Waited { engine: self.clone(), container, condition, before, monitor })
    }
}

impl Waited {
    /// Blocks until it has happened: the exit code, and what went wrong with the container, if something did.
    /// `abandoned` is asked now and then; true ends the wait with code 0.
    pub fn finish(mut self, abandoned: &dyn Fn() -> bool) -> Result<(i64, Option<String>)> {
        let mut pause = Duration::from_millis(1);
        let mut last = self.before.clone();
        loop {
            if let Some(stream) = &self.monitor {
                match answer(stream, LOOK) {
                    Answer::Exited(code, error) => return self.ended(code, error),
                    Answer::Gone => self.monitor = None,
                    Answer::NotYet => {}
                }
            } else {
                std::thread::sleep(pause);
                pause = (pause * 2).min(LOOK);
            }
            match self.engine.store().read(|connection| record::by_id(connection, &self.container.id)) {
                Ok(container) => self.container = container,
                Err(Error::NotFound(_)) => return Ok((i64::from(last.exit_code), None)),
                Err(error) => return Err(error),
            }
            let now = self.engine.state(&self.container)?;
            // Its state goes a moment before its row.
            if self.container.phase != Phase::Removing || now.started_at != 0 {
                last = now;
            }
            if self.monitor.is_none() && self.has_happened(&last) {
                return self.ended(last.exit_code, last.error.clone());
            }
            if abandoned() {
                return Ok((0, None));
            }
        }
    }

    /// By the written state alone.
    fn has_happened(&self, now: &State) -> bool {
        let ended_since = now.finished_at != self.before.finished_at;
        let failed = now.error != self.before.error;
        match self.condition {
            WaitCondition::NotRunning => !up(now),
            WaitCondition::NextExit => {
                !up(now) && (ended_since || failed) || now.restart_count != self.before.restart_count
            }
            // Nobody else will remove it, perhaps; and one that is kept is waited for until its row is gone.
            WaitCondition::Removed => self.container.auto_remove() && !up(now) && (ended_since || failed),
        }
    }

    fn ended(self, code: i32, error: String) -> Result<(i64, Option<String>)> {
        if self.condition == WaitCondition::Removed && self.container.auto_remove() {
            self.engine.reap(&self.container.id)?;
        }
        Ok((i64::from(code), Some(error).filter(|text| !text.is_empty())))
    }
}

enum Answer {
    Exited(i32, String),
    NotYet,
    Gone,
}

fn answer(stream: &UnixStream, patience: Duration) -> Answer {
    match readable(stream, patience) {
        false => Answer::NotYet,
        true => match client::receive(stream) {
            Ok(Response::Exited { code, error }) => Answer::Exited(code, error),
            _ => Answer::Gone,
        },
    }
}

fn readable(stream: &UnixStream, patience: Duration) -> bool {
    let mut fds = [PollFd::new(stream, PollFlags::IN)];
    let timeout = Timespec { tv_sec: 0, tv_nsec: patience.as_nanos().try_into().unwrap_or(0) };
    poll(&mut fds, Some(&timeout)).is_ok_and(|count| count > 0)
}
