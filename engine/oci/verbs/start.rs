//! `start`.

use anyhow::bail;
use berth_backends::{ContainerId, Sandbox, run_hooks};
use oci_spec::runtime::{ContainerState, Spec};

use crate::Context;
use crate::container::{Container, Status};

#[derive(clap::Args)]
pub(crate) struct Start {
    /// The container's ID
    id: ContainerId,
}

impl Start {
    pub(crate) fn act(self, context: &Context) -> anyhow::Result<u8> {
        let lock = context.root.lock(&self.id)?;
        let container = Container::find(context, &self.id)?;
        match container.status_with_lock() {
            Status::Created => {}
            Status::Running => bail!("cannot start an already running container: {}", self.id),
            Status::Stopped => bail!("cannot start a container that has stopped: {}", self.id),
            other => bail!("cannot start container {} in the {other} state", self.id),
        }
        let spec = container.spec()?;
        let mut sandbox = container.sandbox(Some(&spec))?;
        sandbox.start()?;
        drop(lock);
        poststart(&container, sandbox.as_ref(), &spec)?;
        Ok(0)
    }
}

/// The hooks of a program that runs now. One that fails is the container's end.
pub(super) fn poststart(container: &Container, sandbox: &dyn Sandbox, spec: &Spec) -> anyhow::Result<()> {
    let hooks = spec.hooks().as_ref().and_then(|hooks| hooks.poststart().as_ref());
    run_hooks("poststart", hooks, &container.told(ContainerState::Running)).inspect_err(|_| {
        let _ = sandbox.kill_all();
    })?;
    Ok(())
}
