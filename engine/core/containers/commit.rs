//! Making an image of a container.

use std::os::unix::net::UnixStream;

use berth_api::models::ContainerConfig;
use berth_image::{ImageId, Reference, RunConfig};
use berth_monitor::Status;
use berth_monitor::protocol::Request;

use super::record::Container;
use crate::settings::merge;
use crate::{Engine, Error, Result};

#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    pub container: String,
    /// Whether its processes are stopped meanwhile; `None`: if this host can.
    pub pause: Option<bool>,
    pub repository: Option<String>,
    pub tag: Option<String>,
    pub author: Option<String>,
    pub message: Option<String>,
    /// Dockerfile instructions (`CMD ...`, `ENV ...`).
    pub changes: Vec<String>,
    /// The request's body: replaces the container's own configuration where it says something.
    pub config: Option<ContainerConfig>,
}

impl Engine {
    /// The new image's ID.
    pub fn commit(&self, options: &CommitOptions) -> Result<String> {
        let container = self.find(&options.container)?;
        let number = container
            .layer
            .ok_or_else(|| Error::Conflict(format!("container {} has no layer", container.short_id())))?;
        let parent: ImageId = container.image.parse()?;
        let reference = match options.repository.as_deref().filter(|name| !name.is_empty()) {
            Some(name) => {
                let mut reference: Reference = name.parse()?;
                if let Some(tag) = options.tag.as_deref().filter(|tag| !tag.is_empty()) {
                    reference = reference.with_tag(tag)?;
                }
                Some(reference.with_default_tag())
            }
            None => None,
        };
        let own = run_config(&container.config)?;
        let config = match &options.config {
            Some(given) => {
                let mut given = given.clone();
                merge::image(&mut given, &own);
                run_config(&given)?
            }
            None => own,
        };
        let commit = berth_image::CommitOptions {
            reference: reference.clone(),
            config,
            changes: options.changes.clone(),
            author: options.author.clone().filter(|author| !author.is_empty()),
            message: options.message.clone().filter(|message| !message.is_empty()),
            created_by: container.command().join(" "),
        };
        let held = match options.pause {
            Some(false) => None,
            None if !self.can_pause(&container)? => None,
            _ => self.hold(&container)?,
        };
        let made = self.images().commit(number, &parent, &commit, &mut |_| {});
        if held.is_some()
            && let Err(error) = self.unpause(&container.id)
        {
            tracing::warn!("unpause container {} after commit: {error}", container.short_id());
        }
        let id = made?.to_string();
        let mut more = vec![("imageID", id.as_str()), ("comment", options.message.as_deref().unwrap_or_default())];
        let name = reference.map(|reference| reference.familiar());
        if let Some(name) = &name {
            more.push(("imageRef", name));
        }
        self.emit_container(&container, "commit", &more);
        Ok(id)
    }

    /// Without groups to freeze, as an ordinary user's engine is, processes cannot be stopped.
    fn can_pause(&self, container: &Container) -> Result<bool> {
        match self.sandbox(container, &self.state(container)?) {
            Ok(sandbox) => Ok(sandbox.freezer().is_some()),
            // It does not run.
            Err(Error::Conflict(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Pauses it for as long as the stream is open, even if this engine is killed. `None`: there is nothing to pause.
    fn hold(&self, container: &Container) -> Result<Option<UnixStream>> {
        if self.state(container)?.status != Status::Running {
            return Ok(None);
        }
        match self.ask_with_stream(container, &Request::Hold) {
            Ok((stream, _)) => Ok(Some(stream)),
            // It has ended, or somebody else paused it.
            Err(Error::Conflict(_)) => Ok(None),
            Err(error) => Err(Error::Unavailable(format!(
                "pause container {} for the commit: {error}; commit with --pause=false",
                container.short_id()
            ))),
        }
    }
}

/// The same keys in both; what the image lacks (host name, streams) is left out.
fn run_config(config: &ContainerConfig) -> Result<RunConfig> {
    let odd = |error: serde_json::Error| Error::Internal(format!("read a container's configuration: {error}"));
    serde_json::from_value(serde_json::to_value(config).map_err(odd)?).map_err(odd)
}
