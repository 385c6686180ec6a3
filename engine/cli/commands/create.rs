//! `berth create`: a container, made and not started.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use berth_api::models::ContainerCreateResponse;
use berth_client::Client;
use berth_image::Reference;

use super::pull::Says;
use super::{Act, Exit};
use crate::options::container::ContainerArgs;
use crate::options::creation::Creation;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    #[command(flatten)]
    container: ContainerArgs,
}

impl Act for Create {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let creation = self.container.creation(None).map_err(|error| Exit { code: 125, error })?;
        // What the engine refuses ends `run` with 125, which is not a container's; here it is a verb's 1, as in Docker.
        let id = create(&session.client, &creation).await?;
        println!("{id}");
        Ok(0)
    }
}

#[derive(serde::Serialize)]
struct Query<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<&'a str>,
}

/// Makes the container and returns its ID; warnings go to standard error.
pub(crate) async fn create(client: &Client, creation: &Creation) -> anyhow::Result<String> {
    let mut id_file = creation.id_file.as_deref().map(open_id_file).transpose()?;
    let response = match make(client, creation).await {
        Ok(response) => response,
        Err(error) => {
            if let Some(path) = creation.id_file.as_deref() {
                let _ = std::fs::remove_file(path);
            }
            return Err(error);
        }
    };
    for warning in &response.warnings {
        eprintln!("WARNING: {warning}");
    }
    if let (Some(file), Some(path)) = (&mut id_file, &creation.id_file) {
        file.write_all(response.id.as_bytes()).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(response.id)
}

/// Asks for the container; an image that is not there is fetched first, as far as `--pull` lets it.
async fn make(client: &Client, creation: &Creation) -> anyhow::Result<ContainerCreateResponse> {
    let image = creation.body.image.as_deref().unwrap_or_default();
    if creation.pull == "always" {
        pull(client, creation, image).await?;
    }
    let query = Query { name: creation.name.as_deref(), platform: creation.platform.as_deref() };
    let path = "/containers/create";
    match client.post(path, &query, &creation.body).await {
        Err(error) if creation.pull == "missing" && is_missing_image(&error) => {
            if !creation.quiet {
                let name = image.parse::<Reference>()?.with_default_tag().familiar();
                eprintln!("Unable to find image '{name}' locally");
            }
            pull(client, creation, image).await?;
            Ok(client.post(path, &query, &creation.body).await?)
        }
        other => Ok(other?),
    }
}

/// Also where the name means an image for another platform than was asked for.
pub(super) fn is_missing_image(error: &berth_client::Error) -> bool {
    let text = error.to_string();
    let other_platform = text.ends_with(')') && text.contains("does not provide the specified platform (");
    error.status() == Some(404) && (text.starts_with("No such image") || other_platform)
}

/// What only says that the engine works goes to standard error: standard output is the container's.
async fn pull(client: &Client, creation: &Creation, image: &str) -> anyhow::Result<()> {
    let reference = image.parse::<Reference>()?.with_default_tag();
    let says = if creation.quiet { Says::Nothing } else { Says::Err };
    super::pull::pull(client, &reference, creation.platform.as_deref(), says).await
}

fn open_id_file(path: &Path) -> anyhow::Result<std::fs::File> {
    std::fs::File::create_new(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => anyhow::anyhow!(
            "container ID file found, make sure the other container isn't running or delete {}",
            path.display()
        ),
        _ => anyhow::Error::new(error).context(format!("create the container ID file {}", path.display())),
    })
}
