//! `berth run`: a container, made, started, and in front of the user until it ends or is left.

use std::io::IsTerminal;

use anyhow::{Context, anyhow, bail};
use berth_api::models::ContainerWaitResponse;
use berth_client::{Client, Error, segment};

use super::create::create;
use super::{Act, Exit};
use crate::options::container::ContainerArgs;
use crate::options::creation::Attached;
use crate::session::Session;
use crate::streams::attached::{Ended, Streams, carry};
use crate::streams::signals::{self, Target};
use crate::streams::{detach_keys_or_default, parse_detach_keys};
use berth_arch::terminal::RawMode;

#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// Run container in background and print container ID
    #[arg(short, long)]
    detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Do not proxy received signals to the process when false
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", action = clap::ArgAction::Set)]
    sig_proxy: bool,
    #[command(flatten)]
    container: ContainerArgs,
}

impl Act for Run {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        run(self, &session.client).await.map_err(|error| match error.downcast::<Exit>() {
            Ok(exit) => exit.into(),
            Err(error) => Exit { code: 125, error }.into(),
        })
    }
}

async fn run(arguments: Run, client: &Client) -> anyhow::Result<u8> {
    let detach_keys = detach_keys_or_default(arguments.detach_keys.as_deref());
    let key_bytes = parse_detach_keys(detach_keys)?;
    let creation = arguments.container.creation(Some(arguments.detach))?;
    let terminal = creation.body.tty == Some(true);
    let remove = creation.body.host_config.as_ref().and_then(|host| host.auto_remove) == Some(true);
    let Attached { stdin, stdout, stderr } = creation.attached;
    if terminal && stdin && !std::io::stdin().is_terminal() {
        return Err(Exit { code: 1, error: anyhow!("the input device is not a TTY") }.into());
    }
    let id = create(client, &creation).await?;
    if arguments.detach || !(stdin || stdout || stderr) {
        start(client, &id).await?;
        println!("{id}");
        return Ok(0);
    }

    let streams = Streams { stdin, stdout, stderr, terminal, detach_keys: key_bytes };
    let (connection, kind) = attach(client, &id, &streams, detach_keys, false).await?;
    // The wait begins before the start, so that no end is missed.
    let ended = wait(client, &id, if remove { "removed" } else { "next-exit" }).await?;
    if !stdout && !stderr {
        println!("{id}");
    }
    let raw = if terminal && stdin { RawMode::enter().context("set up the terminal")? } else { None };
    if let Err(error) = start(client, &id).await {
        drop(raw);
        return Err(error);
    }
    let helpers = async {
        let resize = async {
            if terminal {
                signals::follow_size(client, &Target::Container(id.clone())).await
            } else {
                std::future::pending().await
            }
        };
        let proxy = async {
            if arguments.sig_proxy {
                signals::proxy(client, &id, raw.as_ref()).await
            } else {
                signals::give_back(raw.as_ref()).await
            }
        };
        tokio::try_join!(resize, proxy).map(|_| ())
    };
    let foreground = async {
        let carried = carry(connection, kind.as_deref(), streams).await?;
        if carried == Ended::Detached {
            return Ok(None);
        }
        ended.code().await.map(Some)
    };
    let code = signals::beside(foreground, helpers).await;
    drop(raw);
    code.map(|code| code.unwrap_or(0))
}

/// Starts a container; an error carries Docker's exit code for a program that is missing (127) or cannot run (126).
pub(crate) async fn start(client: &Client, id: &str) -> anyhow::Result<()> {
    let started = client.act(&format!("/containers/{}/start", segment(id)), &()).await;
    let Err(error) = started else { return Ok(()) };
    let code = code_of_refusal(&error);
    Err(Exit { code, error: error.into() }.into())
}

/// What Docker's command line makes of a refused start: 127 for a program that is not there, 126 for one that cannot
/// be run.
pub(crate) fn code_of_refusal(error: &Error) -> u8 {
    const MISSING: &[&str] = &["executable file not found", "no such file or directory", "system cannot find the file"];
    const UNFIT: &[&str] = &["permission denied", "not a directory", "is a directory", "exec format error"];
    let text = error.to_string();
    let says = |words: &[&str]| error.status().is_some() && words.iter().any(|words| text.contains(words));
    match () {
        () if says(MISSING) => 127,
        () if says(UNFIT) => 126,
        () => 125,
    }
}

/// Opens a container's streams.
pub(crate) async fn attach(
    client: &Client,
    id: &str,
    streams: &Streams,
    detach_keys: &str,
    logs: bool,
) -> anyhow::Result<(berth_client::Upgraded, Option<String>)> {
    let query = [
        ("stream", "1"),
        ("stdin", if streams.stdin { "1" } else { "0" }),
        ("stdout", if streams.stdout { "1" } else { "0" }),
        ("stderr", if streams.stderr { "1" } else { "0" }),
        ("logs", if logs { "1" } else { "0" }),
        ("detachKeys", detach_keys),
    ];
    Ok(client.upgrade(&format!("/containers/{}/attach", segment(id)), &query, None::<&()>).await?)
}

/// A wait that has begun.
pub(crate) struct Waiting(berth_client::Incoming);

/// Begins to wait; the engine has taken note when this returns.
pub(crate) async fn wait(client: &Client, id: &str, condition: &str) -> anyhow::Result<Waiting> {
    let path = format!("/containers/{}/wait", segment(id));
    let response = client.stream(berth_client::Method::POST, &path, &[("condition", condition)], None, None).await?;
    Ok(Waiting(response.into_body()))
}

impl Waiting {
    /// The exit code, when there is one.
    pub(crate) async fn code(self) -> anyhow::Result<u8> {
        let body = berth_client::collect(self.0).await?;
        let response: ContainerWaitResponse =
            serde_json::from_slice(&body).context("the engine ended before the container did")?;
        if let Some(message) = response.error.and_then(|error| error.message) {
            bail!(Error::Api { status: 500, message });
        }
        Ok(u8::try_from(response.status_code & 0xff).unwrap_or(u8::MAX))
    }
}
