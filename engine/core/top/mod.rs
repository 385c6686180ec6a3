//! The processes of a container, as ps(1) shows them: berth reads /proc itself, as there may be no `ps`.

mod columns;
mod options;
mod process;

use berth_api::models::ContainerTopResponse;
use berth_monitor::Status;

use crate::{Engine, Error, Result};
use process::{Machine, Process};

impl Engine {
    /// `options`: those of ps(1) that choose a format: `-ef`, `aux`, `-o FIELD,...` and the like.
    pub fn top(&self, name: &str, options: &str) -> Result<ContainerTopResponse> {
        let container = self.find(name)?;
        let state = self.state(&container)?;
        if !matches!(state.status, Status::Running | Status::Paused) {
            return Err(Error::Conflict(format!("container {} is not running", container.id)));
        }
        let columns = options::parse(options)?;
        let machine = Machine::now();
        let pids = self.sandbox(&container, &state)?.pids()?;
        // What ends meanwhile is left out.
        let processes = pids.into_iter().filter_map(Process::read);
        let row = |process: Process| columns.iter().map(|column| (column.show)(&process, &machine)).collect();
        Ok(ContainerTopResponse {
            titles: Some(columns.iter().map(|column| column.title.clone()).collect()),
            processes: Some(processes.map(row).collect()),
        })
    }
}
