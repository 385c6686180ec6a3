//! Stopping and restarting a container.

use berth_monitor::Status;
use berth_monitor::protocol::Request;

use super::record::{self, Container};
use crate::settings::signals;
use crate::{Engine, Error, Result};

impl Engine {
    /// Signal, wait so many seconds (negative: for ever), SIGKILL. [`crate::Error::NotModified`] if it does not run.
    pub fn stop(&self, name: &str, signal: Option<&str>, timeout: Option<i64>) -> Result<()> {
        let container = self.find(name)?;
        let signal = signal.filter(|text| !text.is_empty()).map(signals::parse).transpose()?;
        if !self.stop_running(&container, signal, timeout)? {
            return Err(Error::NotModified(format!("container {} is already stopped", container.id)));
        }
        Ok(())
    }

    /// Whether it ran. Without the lock: a stop may take long, and others may look, kill and pause meanwhile.
    fn stop_running(&self, container: &Container, signal: Option<i32>, timeout: Option<i64>) -> Result<bool> {
        let state = self.state(container)?;
        if !state.status.is_up() {
            return Ok(false);
        }
        match self.ask(container, &Request::Stop { signal, timeout }) {
            Ok(_) => Ok(true),
            // It ended by itself in between.
            Err(Error::Conflict(_) | Error::NotFound(_)) if self.has_ended(container)? => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn has_ended(&self, container: &Container) -> Result<bool> {
        Ok(matches!(self.state(container)?.status, Status::Exited | Status::Dead | Status::Created))
    }

    pub fn restart(&self, name: &str, signal: Option<&str>, timeout: Option<i64>) -> Result<()> {
        let container = self.find(name)?;
        let signal = signal.filter(|text| !text.is_empty()).map(signals::parse).transpose()?;
        if container.auto_remove() {
            self.restart_kept(&container, signal, timeout)?;
        } else {
            self.stop_running(&container, signal, timeout)?;
            match self.start(&container.id) {
                // Another engine was faster.
                Ok(()) | Err(Error::NotModified(_)) => {}
                Err(error) => return Err(error),
            }
        }
        self.emit_container(&container, "restart", &[]);
        Ok(())
    }

    /// A container of `--rm` is kept over a restart: its lock, which whoever would remove it needs, is held until it
    /// runs again.
    fn restart_kept(&self, container: &Container, signal: Option<i32>, timeout: Option<i64>) -> Result<()> {
        let _lock = self.lock(&container.id)?;
        let container = self.store().read(|connection| record::by_id(connection, &container.id))?;
        let state = self.settled_state(&container)?;
        if state.status.is_up() {
            match self.ask(&container, &Request::Stop { signal, timeout }) {
                Ok(_) | Err(Error::Conflict(_) | Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
            super::reconcile::wait_for_monitor(&self.run_folder(&container));
        }
        self.start_locked(&container, None)
    }
}
