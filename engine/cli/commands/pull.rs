//! `berth pull` and `berth push`.

use anyhow::{bail, ensure};
use berth_client::{Client, Method};
use berth_image::Reference;
use serde_json::Value;

use super::Act;
use super::import::messages;
use crate::output::transfer::Transfer;
use crate::registry;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Pull {
    /// Download all tagged images in the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Set platform if server is multi-platform capable
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// Suppress verbose output
    #[arg(short, long)]
    quiet: bool,
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    name: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Push {
    /// Push all tags of an image to the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Suppress verbose output
    #[arg(short, long)]
    quiet: bool,
    #[arg(value_name = "NAME[:TAG]")]
    name: String,
}

/// Where a pull says how it goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    Out,
    /// Standard output is somebody else's.
    Err,
    Nothing,
}

/// Pulls `reference`; without tag and digest, all of its repository.
pub(super) async fn pull(
    client: &Client,
    reference: &Reference,
    platform: Option<&str>,
    says: Says,
) -> anyhow::Result<()> {
    let tag = reference.digest().map(ToString::to_string).or(reference.tag().map(str::to_owned)).unwrap_or_default();
    let mut query = vec![("fromImage", reference.familiar_name()), ("tag", tag)];
    query.extend(platform.map(|platform| ("platform", platform.to_owned())));
    let headers = auth(reference)?;
    let response = client.stream_with(Method::POST, "/images/create", &query, &headers).await?;
    let mut shown = Transfer::new(says == Says::Err, says == Says::Nothing);
    let outcome = messages(response.into_body(), |message| shown.show(message)).await;
    shown.end();
    outcome
}

fn auth(reference: &Reference) -> anyhow::Result<Vec<(&'static str, String)>> {
    let credentials = registry::credentials(reference)?;
    Ok(credentials.iter().map(|credentials| ("X-Registry-Auth", credentials.encode())).collect())
}

impl Act for Pull {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let mut reference: Reference = self.name.parse()?;
        if self.all_tags {
            let named = reference.tag().is_some() || reference.digest().is_some();
            ensure!(!named, "tag can't be used with --all-tags/-a");
        } else if reference.tag().is_none() && reference.digest().is_none() {
            reference = reference.with_default_tag();
            if !self.quiet {
                println!("Using default tag: latest");
            }
        }
        let says = if self.quiet { Says::Nothing } else { Says::Out };
        pull(&session.client, &reference, self.platform.as_deref(), says).await?;
        println!("{reference}");
        Ok(0)
    }
}

impl Act for Push {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let mut reference: Reference = self.name.parse()?;
        if reference.digest().is_some() {
            bail!("cannot push a digest reference");
        }
        match (self.all_tags, reference.tag()) {
            (true, Some(_)) => bail!("tag can't be used with --all-tags/-a"),
            (false, None) => {
                reference = reference.with_default_tag();
                if !self.quiet {
                    println!("Using default tag: latest");
                }
            }
            _ => {}
        }
        let path = format!("/images/{}/push", reference.familiar_name());
        let query: Vec<(&str, &str)> = reference.tag().map(|tag| ("tag", tag)).into_iter().collect();
        let headers = auth(&reference)?;
        let response = session.client.stream_with(Method::POST, &path, &query, &headers).await?;
        let mut shown = Transfer::new(false, self.quiet);
        let outcome = messages(response.into_body(), |message: &Value| shown.show(message)).await;
        shown.end();
        outcome?;
        if self.quiet {
            println!("{reference}");
        }
        Ok(0)
    }
}
