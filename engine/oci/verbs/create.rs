//! `create`.

use anyhow::{Context as _, ensure};
use berth_arch::message::chain;
use berth_backends::{Checkpoint, ContainerId, Registry, Sandbox};
use std::os::fd::OwnedFd;

use super::write_pid;
use crate::Context;
use crate::bundle::{Bundle, Making};
use crate::console::Console;
use crate::container::{Container, Record};
use crate::descriptors::Preserved;

#[derive(clap::Args)]
pub(crate) struct Create {
    #[command(flatten)]
    making: Making,
    /// The container's ID
    id: ContainerId,
}

impl Create {
    pub(super) fn preserve_fds(&self) -> usize {
        self.making.preserve_fds
    }

    pub(crate) fn act(self, context: &Context, preserved: Preserved) -> anyhow::Result<u8> {
        let _lock = context.root.lock(&self.id)?;
        create(context, &self.id, &self.making, preserved, true, None)?;
        Ok(0)
    }
}

/// A container that waits for its start and no longer needs this process.
pub(super) struct Created {
    pub(super) container: Container,
    pub(super) sandbox: Box<dyn Sandbox>,
    /// What is left to be relayed.
    pub(super) terminal: Option<OwnedFd>,
}

/// Called with the container's lock. On an error nothing is left. A container from a checkpoint runs already.
pub(super) fn create(
    context: &Context,
    id: &ContainerId,
    making: &Making,
    preserved: Preserved,
    detach: bool,
    from: Option<&Checkpoint>,
) -> anyhow::Result<Created> {
    let mut bundle = Bundle::read(&making.bundle)?;
    bundle.name_group(context, id)?;
    let process = bundle.spec.process_mut().as_mut().context("config.json: it has no process")?;
    if preserved.listening > 0 {
        let told = [format!("LISTEN_FDS={}", preserved.listening), "LISTEN_PID=1".to_owned()];
        process.env_mut().get_or_insert_default().extend(told);
    }
    let console = Console::new(process, making.console_socket.as_ref(), detach)?;
    let io = console.stdio(process)?;
    let selection = Registry::default().select(&berth_arch::Host::detect(), Some(&context.isolation))?;

    // A user may be root of the container's users from here on.
    let owner = rustix::process::geteuid().as_raw();
    let mut container = Container::reserve(context, id)?;
    let made = (|| {
        // First, so that what a killed creator has made can be found.
        container.keep_spec(&bundle.spec)?;
        let given = bundle.for_backend(&container.folder, container.gate(), making, preserved.files)?;
        let mut sandbox = match from {
            None => selection.backend.create(id, &given, io)?,
            Some(from) => {
                let name = selection.backend.name();
                let restorer = selection.backend.restorer();
                let restorer = restorer.with_context(|| format!("restore: the {name} backend has no checkpoints"))?;
                restorer.restore(id, &given, io, from)?
            }
        };
        for warning in sandbox.warnings() {
            context.log.warn(format_args!("{warning}"));
        }
        let saved = sandbox.saved();
        ensure!(
            !context.needs_cgroups || !saved.cgroups.is_empty(),
            "--rootless false: this process can make no control groups here; run it as root, or with --rootless auto"
        );
        context.log.debug(format_args!("container {id}: process {}, groups {:?}", saved.pid, saved.cgroups));
        let mut record = Record {
            bundle: bundle.folder.clone(),
            rootfs: bundle.rootfs.clone(),
            created: jiff::Timestamp::now().to_string(),
            owner,
            oci_version: bundle.spec.version().clone(),
            annotations: bundle.spec.annotations().clone().unwrap_or_default(),
            sandbox: saved,
        };
        container.keep(record.clone())?;
        if from.is_some() {
            sandbox.start()?;
            // Another process than the one that waited.
            record.sandbox = sandbox.saved();
            container.keep(record)?;
        }
        let terminal = console.pass(sandbox.take_terminal())?;
        if let Some(path) = &making.pid_file {
            write_pid(path, sandbox.pid())?;
        }
        if from.is_none() {
            sandbox.leave()?;
        }
        Ok((sandbox, terminal))
    })();
    match made {
        Ok((sandbox, terminal)) => Ok(Created { container, sandbox, terminal }),
        Err(error) => {
            // The sandbox has ended with its owner. What the runtime's hooks did is undone by hooks.
            if let Err(other) = container.delete(context) {
                context.log.warn(format_args!("{}", chain(other.as_ref())));
            }
            Err(error)
        }
    }
}
