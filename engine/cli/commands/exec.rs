//! `berth exec`: another program in a running container.

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use berth_api::models::{ExecConfig, ExecInspectResponse, ExecStartConfig, IdResponse};
use berth_client::segment;

use super::each::container;
use super::{Act, Exit};
use crate::options::creation::{variable, variables_file};
use crate::options::wrong_flag;
use crate::session::Session;
use crate::streams::attached::{Ended, Streams, carry};
use crate::streams::signals::{self, Target};
use crate::streams::{detach_keys_or_default, parse_detach_keys};
use berth_arch::terminal::{self, RawMode};

#[derive(Debug, clap::Args)]
pub(crate) struct Exec {
    /// Detached mode: run command in the background
    #[arg(short, long)]
    detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Set environment variables
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    interactive: bool,
    /// Give extended privileges to the command
    #[arg(long)]
    privileged: bool,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    tty: bool,
    /// Username or UID (format: "<name|uid>[:<group|gid>]")
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "FOLDER")]
    workdir: Option<String>,
    container: String,
    #[arg(value_name = "COMMAND [ARG...]", required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Act for Exec {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let client = &session.client;
        let stdin = self.interactive && !self.detach;
        ensure!(!(self.tty && stdin) || std::io::stdin().is_terminal(), "the input device is not a TTY");
        let mut environment = Vec::new();
        for path in &self.env_file {
            environment.extend(variables_file(path, true)?);
        }
        for text in &self.env {
            environment.extend(variable(text).map_err(|why| wrong_flag("-e, --env", text, why))?);
        }
        let detach_keys = detach_keys_or_default(self.detach_keys.as_deref());
        let key_bytes = parse_detach_keys(detach_keys)?;
        let size = terminal::size().filter(|_| self.tty).map(|(columns, rows)| vec![rows.into(), columns.into()]);
        let config = ExecConfig {
            attach_stdin: Some(stdin),
            attach_stdout: Some(!self.detach),
            attach_stderr: Some(!self.detach),
            console_size: size.clone(),
            detach_keys: Some(detach_keys.to_owned()),
            tty: Some(self.tty),
            env: Some(environment),
            cmd: Some(self.command),
            privileged: Some(self.privileged),
            user: self.user,
            working_dir: self.workdir,
        };
        let made: IdResponse = client.post(&container(&self.container, "exec"), &(), &config).await?;
        let path = format!("/exec/{}/start", segment(&made.id));
        let start = ExecStartConfig { detach: Some(self.detach), tty: Some(self.tty), console_size: size };
        if self.detach {
            client.post::<Option<serde_json::Value>>(&path, &(), &start).await.map_err(not_started)?;
            return Ok(0);
        }
        let streams = Streams { stdin, stdout: true, stderr: true, terminal: self.tty, detach_keys: key_bytes };
        let (connection, kind) = client.upgrade(&path, &(), Some(&start)).await.map_err(not_started)?;
        let raw = if self.tty && stdin { RawMode::enter().context("set up the terminal")? } else { None };
        let target = Target::Exec(made.id.clone());
        let helpers = async {
            if self.tty {
                let size = signals::follow_size(client, &target);
                tokio::try_join!(size, signals::give_back(raw.as_ref())).map(|_| ())
            } else {
                std::future::pending().await
            }
        };
        let ended = signals::beside(carry(connection, kind.as_deref(), streams), helpers).await;
        drop(raw);
        if ended? == Ended::Detached {
            return Ok(0);
        }
        let state: ExecInspectResponse = client.get(&format!("/exec/{}/json", segment(&made.id)), &()).await?;
        Ok(u8::try_from(state.exit_code.unwrap_or(0) & 0xff).unwrap_or(u8::MAX))
    }
}

/// Docker's exit codes for a program that is missing or cannot be run.
fn not_started(error: berth_client::Error) -> anyhow::Error {
    let code = match (super::run::code_of_refusal(&error), error.status()) {
        (125, None | Some(404 | 409)) => 1,
        (125, Some(_)) => 126,
        (code, _) => code,
    };
    Exit { code, error: error.into() }.into()
}
