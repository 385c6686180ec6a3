//! `delete`.

use anyhow::bail;
use berth_backends::ContainerId;

use crate::Context;
use crate::container::{Container, Status};

#[derive(clap::Args)]
pub(crate) struct Delete {
    /// Kill it first if it runs; one that does not exist is no error
    #[arg(short, long)]
    force: bool,
    /// The container's ID
    id: ContainerId,
}

impl Delete {
    pub(crate) fn act(self, context: &Context) -> anyhow::Result<u8> {
        let _lock = context.root.lock(&self.id)?;
        if self.force && !context.root.folder(&self.id).exists() {
            return Ok(0);
        }
        let container = Container::find(context, &self.id)?;
        match container.status_with_lock() {
            // A program that was never started has done nothing that could be lost.
            Status::Stopped | Status::Created => {}
            _ if self.force => {}
            status => bail!(
                "cannot delete container {} that is not stopped: {status}; kill it first, or use --force",
                self.id
            ),
        }
        container.delete(context)?;
        Ok(0)
    }
}
