//! `pause` and `resume`.

use anyhow::{Context as _, bail};
use berth_backends::{ContainerId, Freezer};

use crate::Context;
use crate::container::{Container, Status};

#[derive(clap::Args)]
pub(crate) struct Pause {
    /// The container's ID
    id: ContainerId,
}

#[derive(clap::Args)]
pub(crate) struct Resume {
    /// The container's ID
    id: ContainerId,
}

impl Pause {
    pub(crate) fn act(self, context: &Context) -> anyhow::Result<u8> {
        let _lock = context.root.lock(&self.id)?;
        let container = Container::find(context, &self.id)?;
        match container.status_with_lock() {
            Status::Running | Status::Created => {}
            status => bail!("container not running or created: {} is {status}", self.id),
        }
        with_freezer(&container, |freezer| freezer.freeze())
    }
}

impl Resume {
    pub(crate) fn act(self, context: &Context) -> anyhow::Result<u8> {
        let _lock = context.root.lock(&self.id)?;
        let container = Container::find(context, &self.id)?;
        match container.status_with_lock() {
            Status::Paused => {}
            status => bail!("container not paused: {} is {status}", self.id),
        }
        with_freezer(&container, |freezer| freezer.thaw())
    }
}

fn with_freezer(
    container: &Container,
    act: impl FnOnce(&dyn Freezer) -> berth_backends::Result<()>,
) -> anyhow::Result<u8> {
    let sandbox = container.sandbox(None)?;
    let freezer = sandbox.freezer().context(
        "this container cannot be paused: it has no control group of the freezer; \
         mount that hierarchy, and create the container as a user that may write there",
    )?;
    act(freezer)?;
    Ok(0)
}
