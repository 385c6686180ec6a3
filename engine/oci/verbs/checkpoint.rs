//! `checkpoint`: a running container as files.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use berth_backends::{ContainerId, GroupMode};

use crate::Context;
use crate::container::{Container, Status};

/// Where and how; the same words for a restore.
#[derive(clap::Args)]
pub(super) struct Images {
    /// Folder of the checkpoint's files
    #[arg(long, value_name = "FOLDER", default_value = "checkpoint")]
    image_path: PathBuf,
    /// Folder for criu's log [default: that of the files]
    #[arg(long, value_name = "FOLDER")]
    work_path: Option<PathBuf>,
    /// Keep established TCP connections
    #[arg(long)]
    tcp_established: bool,
    /// Let unix sockets lose what they were connected to outside
    #[arg(long)]
    ext_unix_sk: bool,
    /// Take a first process that is in the session of somebody outside
    #[arg(long)]
    shell_job: bool,
    /// Keep locks of files
    #[arg(long)]
    file_locks: bool,
    /// What becomes of the container's own control groups
    #[arg(long, value_name = "MODE", default_value = "soft")]
    manage_cgroups_mode: Groups,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Groups {
    Soft,
    Full,
    Strict,
    Ignore,
}

impl Images {
    /// Their folders, absolute; `work_path` is made.
    pub(super) fn checkpoint(&self, context: &Context) -> anyhow::Result<berth_backends::Checkpoint> {
        let absolute =
            |path: &PathBuf| std::path::absolute(path).with_context(|| format!("resolve {}", path.display()));
        let work = self.work_path.as_ref().map(absolute).transpose()?;
        if let Some(work) = &work {
            berth_store::create_private(work).with_context(|| format!("create {}", work.display()))?;
        }
        Ok(berth_backends::Checkpoint {
            criu: context.criu.clone(),
            images: absolute(&self.image_path)?,
            work,
            tcp_established: self.tcp_established,
            file_locks: self.file_locks,
            external_sockets: self.ext_unix_sk,
            shell_job: self.shell_job,
            groups: match self.manage_cgroups_mode {
                Groups::Soft => GroupMode::Soft,
                Groups::Full => GroupMode::Full,
                Groups::Strict => GroupMode::Strict,
                Groups::Ignore => GroupMode::Ignore,
            },
            ..Default::default()
        })
    }
}

/// Podman names `--leave-running` twice.
#[derive(clap::Args)]
#[command(args_override_self = true)]
pub(crate) struct Checkpoint {
    #[command(flatten)]
    images: Images,
    /// Let the processes go on afterwards
    #[arg(long)]
    leave_running: bool,
    /// Copy the memory alone, while the processes run
    #[arg(long)]
    pre_dump: bool,
    /// Folder of an earlier checkpoint of the same container, relative to that of the files
    #[arg(long, value_name = "FOLDER")]
    parent_path: Option<PathBuf>,
    /// The container's ID
    id: ContainerId,
}

impl Checkpoint {
    pub(crate) fn act(self, context: &Context) -> anyhow::Result<u8> {
        let _lock = context.root.lock(&self.id)?;
        let container = Container::find(context, &self.id)?;
        match container.status_with_lock() {
            Status::Running => {}
            status => bail!("cannot checkpoint a container in the {status} state: {}", self.id),
        }
        let spec = container.spec()?;
        let sandbox = container.sandbox(Some(&spec))?;
        let checkpointer = sandbox.checkpointer().context("the container's backend has no checkpoints")?;
        let to = berth_backends::Checkpoint {
            leave_running: self.leave_running || self.pre_dump,
            pre_dump: self.pre_dump,
            parent: self.parent_path,
            ..self.images.checkpoint(context)?
        };
        berth_store::create_private(&to.images).with_context(|| format!("create {}", to.images.display()))?;
        checkpointer.checkpoint(&to, &mut || Ok(()))?;
        if !to.leave_running {
            container.delete(context)?;
        }
        Ok(0)
    }
}
