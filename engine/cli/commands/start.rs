//! `berth start`: containers that exist, in the background or in front of the user.

use anyhow::{Context, ensure};
use berth_api::models::ContainerInspectResponse;
use berth_client::Client;

use super::Act;
use super::each::{container, each};
use super::run::{attach, wait};
use crate::session::Session;
use crate::streams::attached::{Ended, Streams, carry};
use crate::streams::signals::{self, Target};
use crate::streams::{detach_keys_or_default, parse_detach_keys};
use berth_arch::terminal::RawMode;

#[derive(Debug, clap::Args)]
pub(crate) struct Start {
    /// Attach STDOUT/STDERR and forward signals
    #[arg(short, long)]
    attach: bool,
    /// Restore from this checkpoint
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    checkpoint: String,
    /// Use a custom checkpoint storage directory
    #[arg(long, value_name = "FOLDER", default_value = "", hide_default_value = true)]
    checkpoint_dir: String,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Attach container's STDIN
    #[arg(short, long)]
    interactive: bool,
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

impl Act for Start {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let client = &session.client;
        let from = self.from()?;
        if !self.attach && !self.interactive {
            return each(&self.containers, async |name| {
                client.act(&container(name, "start"), &from).await?;
                Ok(name.to_owned())
            })
            .await;
        }
        ensure!(self.containers.len() == 1, "you cannot start and attach multiple containers at once");
        let inspected: ContainerInspectResponse = client.get(&container(&self.containers[0], "json"), &()).await?;
        self.in_front(client, inspected, from).await
    }
}

impl Start {
    /// What the start's request says of a checkpoint.
    fn from(&self) -> anyhow::Result<Vec<(&'static str, String)>> {
        if self.checkpoint.is_empty() {
            ensure!(self.checkpoint_dir.is_empty(), "--checkpoint-dir needs --checkpoint");
            return Ok(Vec::new());
        }
        ensure!(self.containers.len() == 1, "you cannot restore multiple containers at once");
        let folder = super::checkpoint::absolute(&self.checkpoint_dir)?;
        Ok(vec![("checkpoint", self.checkpoint.clone()), ("checkpoint-dir", folder)])
    }

    async fn in_front(
        self,
        client: &Client,
        inspected: ContainerInspectResponse,
        from: Vec<(&'static str, String)>,
    ) -> anyhow::Result<u8> {
        let id = inspected.id.context("the engine named no container")?;
        let config = inspected.config.unwrap_or_default();
        let terminal = config.tty == Some(true);
        let detach_keys = detach_keys_or_default(self.detach_keys.as_deref());
        let streams = Streams {
            stdin: self.interactive && config.open_stdin == Some(true),
            stdout: true,
            stderr: true,
            terminal,
            detach_keys: parse_detach_keys(detach_keys)?,
        };
        let (connection, kind) = attach(client, &id, &streams, detach_keys, false).await?;
        let removes = inspected.host_config.and_then(|host| host.auto_remove) == Some(true);
        let ended = wait(client, &id, if removes { "removed" } else { "next-exit" }).await?;
        let raw = if terminal && streams.stdin { RawMode::enter().context("set up the terminal")? } else { None };
        client.act(&container(&id, "start"), &from).await?;
        let helpers = async {
            if terminal {
                let target = Target::Container(id.clone());
                let size = signals::follow_size(client, &target);
                tokio::try_join!(size, signals::give_back(raw.as_ref())).map(|_| ())
            } else {
                signals::proxy(client, &id, None).await
            }
        };
        let foreground = async {
            match carry(connection, kind.as_deref(), streams).await? {
                Ended::Detached => Ok(0),
                Ended::Closed => ended.code().await,
            }
        };
        let code = signals::beside(foreground, helpers).await;
        drop(raw);
        code
    }
}
