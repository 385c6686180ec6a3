//! Images between registries and the engine.

use berth_arch::host::Platform;
use berth_distribution::{Client, Credentials, Found, Pulled, Pushed, Transfer};
use berth_image::Reference;

use crate::{Engine, Error, Result};

/// The way to registries, for one call: what is learned of hosts, and connections to them, are worth as long as that lasts.
pub struct Registries<'e> {
    engine: &'e Engine,
    client: Client,
}

impl Engine {
    pub fn registries(&self) -> Result<Registries<'_>> {
        Ok(Registries { engine: self, client: Client::new(self.config().registries.clone())? })
    }
}

impl Registries<'_> {
    /// Pulls one image; the image that is part of the program is not asked for elsewhere.
    pub fn pull(&self, reference: &Reference, platform: Option<&Platform>, transfer: Transfer<'_>) -> Result<Pulled> {
        self.engine.usable_storage()?;
        let pulled = self.client.pull(self.engine.images(), reference, platform, transfer).map_err(as_missing)?;
        self.engine.emit_image("pull", &reference.familiar(), &reference.familiar_name());
        Ok(pulled)
    }

    /// The names of all images of a repository.
    pub fn tags(&self, repository: &Reference, credentials: Option<&Credentials>) -> Result<Vec<Reference>> {
        self.client.tags(repository, credentials).map_err(as_missing)
    }

    pub fn push(&self, reference: &Reference, transfer: Transfer<'_>) -> Result<Pushed> {
        self.engine.usable_storage()?;
        let pushed = self.client.push(self.engine.images(), reference, transfer)?;
        self.engine.emit_image("push", &reference.familiar(), &reference.familiar_name());
        Ok(pushed)
    }

    pub fn look_up(&self, reference: &Reference, credentials: Option<&Credentials>) -> Result<Found> {
        self.client.look_up(reference, credentials).map_err(as_missing)
    }

    /// Whether a registry (`host[:port]`, Docker Hub's old address, or nothing for Docker Hub) takes `credentials`.
    pub fn log_in(&self, server: &str, credentials: &Credentials) -> Result<()> {
        Ok(self.client.log_in(registry_domain(server), credentials)?)
    }
}

/// What names of images begin with, of what people log in to.
pub fn registry_domain(server: &str) -> &str {
    let host = server.strip_prefix("https://").or(server.strip_prefix("http://")).unwrap_or(server);
    match host.split('/').next().unwrap_or_default() {
        "" | "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

/// Docker says of an image that may not be seen that it is not there.
fn as_missing(error: berth_image::Error) -> Error {
    match error {
        berth_image::Error::Denied(message) => Error::NotFound(message),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_known_by_its_host() {
        for (server, domain) in [
            ("", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("docker.io", "docker.io"),
            ("https://host:5000/v2/", "host:5000"),
            ("host:5000", "host:5000"),
        ] {
            assert_eq!(registry_domain(server), domain, "{server}");
        }
    }
}
