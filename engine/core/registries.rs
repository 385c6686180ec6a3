//! Images between registries and the engine.

use std::sync::atomic::AtomicBool;

use berth_arch::host::Platform;
use berth_distribution::{Client, Credentials, Found, PullOptions, Pulled, PushOptions, Pushed, Tell};
use berth_image::Reference;

use crate::{Engine, Error, Result};

/// Who asks, who hears, and who may end it.
#[derive(Clone, Copy)]
pub struct Transfer<'a> {
    pub credentials: Option<&'a Credentials>,
    pub tell: &'a Tell<'a>,
    pub stop: &'a AtomicBool,
}

impl Engine {
    /// A client of its own: what it learns of hosts is worth as long as a call lasts.
    fn registries(&self) -> Result<Client> {
        Ok(Client::new(self.config().registries.clone())?)
    }

    /// Pulls one image; the image that is part of the program is not asked for elsewhere.
    pub fn pull_image(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
        transfer: Transfer<'_>,
    ) -> Result<Pulled> {
        self.usable_storage()?;
        let Transfer { credentials, tell, stop } = transfer;
        let options = PullOptions { platform, credentials, tell, stop };
        let pulled = self.registries()?.pull(self.images(), reference, &options).map_err(as_missing)?;
        let name = reference.familiar();
        self.emit_image("pull", &name, &reference.familiar_name());
        Ok(pulled)
    }

    /// The names of all images of a repository.
    pub fn remote_tags(&self, repository: &Reference, credentials: Option<&Credentials>) -> Result<Vec<Reference>> {
        self.registries()?.tags(repository, credentials).map_err(as_missing)
    }

    pub fn push_image(&self, reference: &Reference, transfer: Transfer<'_>) -> Result<Pushed> {
        self.usable_storage()?;
        let Transfer { credentials, tell, stop } = transfer;
        let pushed = self.registries()?.push(self.images(), reference, &PushOptions { credentials, tell, stop })?;
        self.emit_image("push", &reference.familiar(), &reference.familiar_name());
        Ok(pushed)
    }

    pub fn look_up_image(&self, reference: &Reference, credentials: Option<&Credentials>) -> Result<Found> {
        self.registries()?.look_up(reference, credentials).map_err(as_missing)
    }

    /// Whether a registry (`host[:port]`, Docker Hub's old address, or nothing for Docker Hub) takes `credentials`.
    pub fn log_in(&self, server: &str, credentials: &Credentials) -> Result<()> {
        Ok(self.registries()?.log_in(registry_domain(server), credentials)?)
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
