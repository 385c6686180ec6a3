//! `berth attach`: the streams of a running container.

use std::io::IsTerminal;

use anyhow::{Context, ensure};
use berth_api::models::ContainerInspectResponse;

use super::Act;
use super::each::container;
use super::run::{attach, wait};
use crate::session::Session;
use crate::streams::attached::{Ended, Streams, carry};
use crate::streams::signals::{self, Target};
use crate::streams::{detach_keys_or_default, parse_detach_keys};
use berth_arch::terminal::RawMode;

#[derive(Debug, clap::Args)]
pub(crate) struct Attach {
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Do not attach STDIN
    #[arg(long)]
    no_stdin: bool,
    /// Proxy all received signals to the process
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", action = clap::ArgAction::Set)]
    sig_proxy: bool,
    container: String,
}

impl Act for Attach {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let client = &session.client;
        let inspected: ContainerInspectResponse = client.get(&container(&self.container, "json"), &()).await?;
        let state = inspected.state.unwrap_or_default();
        ensure!(state.running == Some(true), "cannot attach to a stopped container, start it first");
        ensure!(state.paused != Some(true), "cannot attach to a paused container, unpause it first");
        ensure!(state.restarting != Some(true), "cannot attach to a restarting container, wait until it is running");
        let id = inspected.id.context("the engine named no container")?;
        let config = inspected.config.unwrap_or_default();
        let terminal = config.tty == Some(true);
        let stdin = !self.no_stdin && config.open_stdin == Some(true);
        ensure!(!(terminal && stdin) || std::io::stdin().is_terminal(), "the input device is not a TTY");
        let detach_keys = detach_keys_or_default(self.detach_keys.as_deref());
        let streams =
            Streams { stdin, stdout: true, stderr: true, terminal, detach_keys: parse_detach_keys(detach_keys)? };
        let ended = wait(client, &id, "not-running").await?;
        let (connection, kind) = attach(client, &id, &streams, detach_keys, false).await?;
        let raw = if terminal && stdin { RawMode::enter().context("set up the terminal")? } else { None };
        let helpers = async {
            if terminal {
                let target = Target::Container(id.clone());
                let size = async {
                    signals::redraw(client, &target).await;
                    signals::follow_size(client, &target).await
                };
                tokio::try_join!(size, signals::give_back(raw.as_ref())).map(|_| ())
            } else if self.sig_proxy {
                signals::proxy(client, &id, None).await
            } else {
                std::future::pending().await
            }
        };
        let foreground = async {
            match carry(connection, kind.as_deref(), streams).await? {
                Ended::Detached => Ok(0),
                // Somebody may have detached us from the engine's side: then the container still runs.
                Ended::Closed => match tokio::time::timeout(std::time::Duration::from_secs(1), ended.code()).await {
                    Ok(code) => code,
                    Err(_) => Ok(0),
                },
            }
        };
        let code = signals::beside(foreground, helpers).await;
        drop(raw);
        code
    }
}
