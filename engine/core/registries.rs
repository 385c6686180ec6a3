//! Images between registries and the engine, and the settings of registries.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use berth_arch::host::Platform;
use berth_distribution::{Client, Config, Credentials, Found, PullOptions, Pulled, PushOptions, Pushed, Tell};
use berth_image::Reference;
use serde::Deserialize;

use crate::{Engine, Error, Result};

/// `[registries]` of berth.toml.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Settings {
    /// Hosts, addresses or networks whose certificates are not checked, with or without TLS.
    #[serde(default)]
    insecure: Vec<String>,
    /// `"docker.io" = ["https://mirror"]`
    #[serde(default)]
    mirrors: BTreeMap<String, Vec<String>>,
    /// Folders instead of /etc/berth/certs.d and /etc/docker/certs.d.
    certificates: Option<Vec<PathBuf>>,
    /// Layers at a time.
    max_concurrent_downloads: Option<usize>,
    max_concurrent_uploads: Option<usize>,
    /// Seconds without progress after which a connection is given up.
    timeout: Option<u64>,
    /// How often what broke is tried again.
    max_download_attempts: Option<u32>,
}

impl Settings {
    pub(crate) fn check(&self, path: &Path) -> Result<()> {
        let wrong = |what: &str| Error::invalid(format!("{}: registries: {what}", path.display()));
        let is_url = |url: &String| url.starts_with("https://") || url.starts_with("http://");
        if let Some(url) = self.mirrors.values().flatten().find(|url| !is_url(url)) {
            return Err(wrong(&format!("mirror {url:?}: https://HOST[:PORT] is wanted")));
        }
        if [self.max_concurrent_downloads, self.max_concurrent_uploads].contains(&Some(0)) {
            return Err(wrong("max-concurrent-downloads and max-concurrent-uploads are 1 at least"));
        }
        if self.timeout == Some(0) || self.max_download_attempts == Some(0) {
            return Err(wrong("timeout and max-download-attempts are 1 at least"));
        }
        Ok(())
    }

    pub(crate) fn apply(self, config: &mut Config) {
        config.insecure.extend(self.insecure);
        config.mirrors.extend(self.mirrors);
        config.certificates = self.certificates.unwrap_or(std::mem::take(&mut config.certificates));
        config.downloads = self.max_concurrent_downloads.unwrap_or(config.downloads);
        config.uploads = self.max_concurrent_uploads.unwrap_or(config.uploads);
        config.retries = self.max_download_attempts.map_or(config.retries, |attempts| attempts.min(20) - 1);
        if let Some(seconds) = self.timeout {
            config.stall = Duration::from_secs(seconds);
            config.connect = config.connect.min(config.stall);
        }
    }
}

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
