//! What is passed on to a running container: signals, pause, the window's size.

use std::time::{Duration, Instant};

use berth_monitor::Status;
use berth_monitor::protocol::Request;

use super::record::Container;
use super::talk::not_running;
use crate::settings::signals;
use crate::{Engine, Error, Result};

/// How long the kernel has to end a process after SIGKILL.
const PATIENCE: Duration = Duration::from_secs(10);

impl Engine {
    /// `signal`: a name with or without SIG, or a number; `None`: SIGKILL, after which it has ended, as with Docker:
    /// what comes next may be `rm`.
    pub fn kill(&self, name: &str, signal: Option<&str>) -> Result<()> {
        let signal = signal.filter(|text| !text.is_empty()).map_or(Ok(signals::SIGKILL), signals::parse)?;
        let container = self.find(name)?;
        let cannot = |error: Error| match error {
            Error::Conflict(why) => Error::Conflict(format!("cannot kill container: {name}: {why}")),
            other => other,
        };
        let state = self.state(&container)?;
        match state.status {
            Status::Running | Status::Paused | Status::Restarting => {}
            _ => return Err(cannot(not_running(&container))),
        }
        self.ask(&container, &Request::Signal { signal }).map_err(cannot)?;
        if signal != signals::SIGKILL {
            return Ok(());
        }
        let until = Instant::now() + PATIENCE;
        loop {
            match self.state(&container) {
                // It may run again, or have been removed.
                Ok(now) if now.pid == 0 || now.pid != state.pid => return Ok(()),
                Err(Error::NotFound(_)) => return Ok(()),
                other => drop(other?),
            }
            if Instant::now() > until {
                return Err(Error::Internal(format!(
                    "cannot kill container: {name}: tried to kill container, but did not receive an exit event"
                )));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn pause(&self, name: &str) -> Result<()> {
        let container = self.find(name)?;
        let id = &container.id;
        match self.state(&container)?.status {
            Status::Running => {}
            Status::Paused => return Err(Error::Conflict(format!("container {id} is already paused"))),
            Status::Restarting => {
                return Err(Error::Conflict(format!(
                    "container {id} is restarting, wait until the container is running"
                )));
            }
            _ => return Err(not_running(&container)),
        }
        self.ask(&container, &Request::Pause).map(drop)
    }

    pub fn unpause(&self, name: &str) -> Result<()> {
        let container = self.find(name)?;
        if self.state(&container)?.status != Status::Paused {
            return Err(Error::Conflict(format!("container {} is not paused", container.id)));
        }
        self.ask(&container, &Request::Unpause).map(drop)
    }

    pub fn resize(&self, name: &str, columns: u16, rows: u16) -> Result<()> {
        let container = self.find(name)?;
        self.running(&container)?;
        self.ask(&container, &Request::Resize { exec: None, columns, rows })?;
        let (height, width) = (rows.to_string(), columns.to_string());
        self.emit_container(&container, "resize", &[("height", &height), ("width", &width)]);
        Ok(())
    }

    /// Conflict unless it runs (paused counts).
    pub(crate) fn running(&self, container: &Container) -> Result<berth_monitor::State> {
        let state = self.state(container)?;
        match state.status {
            Status::Running | Status::Paused => Ok(state),
            Status::Restarting => Err(Error::Conflict(format!(
                "container {} is restarting, wait until the container is running",
                container.id
            ))),
            _ => Err(not_running(container)),
        }
    }
}
