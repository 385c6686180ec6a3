//! What is passed on to a running container: signals, pause, the window's size.

use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_monitor::Status;
use berth_monitor::protocol::Request;

use super::record::Container;
use super::talk::not_running;
use super::wait::WaitCondition;
use crate::settings::signals;
use crate::{Engine, Error, Result};

const KILLED_WITHIN: Duration = Duration::from_secs(10);

impl Engine {
    /// `signal`: a name with or without SIG, or a number; `None`: SIGKILL.
    /// SIGKILL returns when the container has ended, or after ten seconds, as Docker's does: it can be started then.
    pub fn kill(self: &Arc<Self>, name: &str, signal: Option<&str>) -> Result<()> {
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
        let kills = signal == signals::SIGKILL;
        let waited = kills.then(|| self.wait(&container.id, WaitCondition::NotRunning)).transpose()?;
        self.ask(&container, &Request::Signal { signal }).map_err(cannot)?;
        let limit = Instant::now() + KILLED_WITHIN;
        waited.map_or(Ok(()), |waited| waited.finish(&|| Instant::now() > limit).map(drop))
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
