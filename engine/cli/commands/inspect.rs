//! `berth inspect`, `berth container inspect`, `berth image inspect`: everything that is known of an object, as JSON.

use anyhow::bail;
use berth_api::models::{
    ContainerConfig, ContainerInspectResponse, ContainerState, HostConfig, ImageConfig, ImageInspect, NetworkInspect,
};
use berth_client::{Client, segment};
use serde_json::Value;

use super::Act;
use crate::output::{self, known};
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    /// Format output: 'json' or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Display total file sizes if the type is container
    #[arg(short, long)]
    size: bool,
    /// Only inspect objects of the given type
    #[arg(long = "type", value_name = "TYPE", value_parser = ["container", "image", "network", "volume"])]
    kind: Option<String>,
    #[arg(value_name = "NAME|ID", required = true)]
    names: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct InspectContainer {
    /// Format output: 'json' or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Display total file sizes
    #[arg(short, long)]
    size: bool,
    #[arg(value_name = "CONTAINER", required = true)]
    names: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct InspectImage {
    /// Format output: 'json' or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    #[arg(value_name = "IMAGE", required = true)]
    names: Vec<String>,
}

impl Act for Inspect {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let kinds = match self.kind.as_deref() {
            Some(kind) => vec![kind],
            None => vec!["container", "image", "network", "volume"],
        };
        let query = size(self.size);
        let wanted = Wanted { kinds: &kinds, query: &query };
        inspect(&session.client, wanted, self.format.as_deref(), &self.names).await
    }
}

impl Act for InspectContainer {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let query = size(self.size);
        let wanted = Wanted { kinds: &["container"], query: &query };
        inspect(&session.client, wanted, self.format.as_deref(), &self.names).await
    }
}

impl Act for InspectImage {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let wanted = Wanted { kinds: &["image"], query: &[] };
        inspect(&session.client, wanted, self.format.as_deref(), &self.names).await
    }
}

/// What may be meant, and what is asked about it.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The first kind that has something of the name counts.
    pub(super) kinds: &'a [&'a str],
    pub(super) query: &'a [(&'a str, &'a str)],
}

fn size(asked: bool) -> Vec<(&'static str, &'static str)> {
    if asked { vec![("size", "1")] } else { Vec::new() }
}

async fn find(client: &Client, wanted: Wanted<'_>, name: &str) -> anyhow::Result<Value> {
    // What is no name of one kind may be one of another.
    let other_kind = |error: &berth_client::Error| {
        let text = error.to_string();
        error.status() == Some(404) || text.contains("not supported") || text.contains("invalid reference format")
    };
    for kind in wanted.kinds {
        let path = match *kind {
            "container" => format!("/containers/{}/json", segment(name)),
            "image" => format!("/images/{}/json", segment(name)),
            "network" => super::network::path(name)?,
            other => format!("/{other}s/{}", segment(name)),
        };
        match client.get(&path, &wanted.query).await {
            Err(error) if wanted.kinds.len() > 1 && other_kind(&error) => {}
            other => return Ok(other?),
        }
    }
    bail!("Error: No such object: {name}")
}

/// So that `{{if .State.Health}}` is no error where there is none.
fn name_what_is_unset(value: &mut Value) {
    if value.get("HostConfig").is_some() {
        known::fill::<ContainerInspectResponse>(value);
        known::fill::<ContainerState>(&mut value["State"]);
        known::fill::<HostConfig>(&mut value["HostConfig"]);
        known::fill::<ContainerConfig>(&mut value["Config"]);
    } else if value.get("RootFS").is_some() {
        known::fill::<ImageInspect>(value);
        known::fill::<ImageConfig>(&mut value["Config"]);
    } else if value.get("IPAM").is_some() {
        known::fill::<NetworkInspect>(value);
    }
}

pub(super) async fn inspect(
    client: &Client,
    wanted: Wanted<'_>,
    format: Option<&str>,
    names: &[String],
) -> anyhow::Result<u8> {
    let template = match format.filter(|format| !format.is_empty()) {
        None | Some("json") => None,
        Some(format) => Some(output::template(format)?),
    };
    let mut found = Vec::new();
    let mut code = 0;
    for name in names {
        match find(client, wanted, name).await {
            Ok(mut value) => match &template {
                Some(template) => {
                    name_what_is_unset(&mut value);
                    println!("{}", template.render(&value)?);
                }
                None => found.push(value),
            },
            Err(error) => {
                eprintln!("{}", super::ending::described(&error));
                code = 1;
            }
        }
    }
    match (template, format) {
        (Some(_), _) => {}
        (None, Some("json")) => println!("{}", Value::from(found)),
        (None, _) => {
            let mut text = Vec::new();
            let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
            let mut serializer = serde_json::Serializer::with_formatter(&mut text, indent);
            serde::Serialize::serialize(&found, &mut serializer)?;
            println!("{}", String::from_utf8_lossy(&text));
        }
    }
    Ok(code)
}
