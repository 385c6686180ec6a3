//! Who the user is to registries: Docker's configuration file and the programs that keep secrets for it.

mod config_file;
mod helper;

use anyhow::Context;
use berth_distribution::Credentials;
use berth_image::Reference;

pub(crate) use config_file::{ConfigFile, folder};

/// Docker Hub's name in configuration files.
const HUB: &str = "https://index.docker.io/v1/";

/// The name in configuration files of the registry `domain`.
pub(crate) fn key(domain: &str) -> String {
    if domain == "docker.io" { HUB.to_owned() } else { domain.to_owned() }
}

/// The credentials for the registry of `reference`, if there are any.
pub(crate) fn credentials(reference: &Reference) -> anyhow::Result<Option<Credentials>> {
    of_domain(reference.domain())
}

pub(crate) fn of_domain(domain: &str) -> anyhow::Result<Option<Credentials>> {
    let file = ConfigFile::read()?;
    let key = key(domain);
    let found = match file.helper(&key) {
        Some(helper) => helper::get(&helper, &key).with_context(|| format!("credentials for {domain}"))?,
        None => file.credentials(&key)?,
    };
    Ok(found.filter(|found| !found.is_nobody()))
}

/// Keeps the credentials. Returns a warning about where they are.
pub(crate) fn store(domain: &str, credentials: &Credentials) -> anyhow::Result<Option<String>> {
    let mut file = ConfigFile::read()?;
    let key = key(domain);
    match file.helper(&key) {
        Some(helper) => {
            helper::store(&helper, &key, credentials)?;
            // Says that somebody has logged in, as Docker does.
            file.set(&key, None);
            file.write()?;
            Ok(None)
        }
        None => {
            file.set(&key, Some(credentials));
            file.write()?;
            Ok(Some(format!(
                "WARNING! Your password will be stored unencrypted in {}.\nConfigure a credential helper to remove this \
                 warning. See\nhttps://docs.docker.com/engine/reference/commandline/login/#credential-stores",
                file.path().display()
            )))
        }
    }
}

/// Whether there was anything to forget.
pub(crate) fn forget(domain: &str) -> anyhow::Result<bool> {
    let mut file = ConfigFile::read()?;
    let key = key(domain);
    let known = file.remove(&key);
    if let Some(helper) = file.helper(&key) {
        helper::erase(&helper, &key)?;
    }
    if known {
        file.write()?;
    }
    Ok(known)
}
