//! `berth manifest`: images for several platforms under one name. A list is put together in Docker's folder of the user, and
//! goes to its registry from there; no engine is needed.

mod annotate;
mod create;
mod inspect;
mod push;
mod rm;
mod shelf;

use berth_distribution::{Access, Client, Fetched, Repository};
use berth_image::Reference;

use super::{Verb, verb};
use crate::registry;
use crate::session::{Globals, Session};

pub(super) const VERBS: &[Verb] = &[
    verb::<annotate::Annotate>("annotate", &[], "Add additional information to a local image manifest"),
    verb::<create::Create>("create", &[], "Create a local manifest list for annotating and pushing to a registry"),
    verb::<inspect::Inspect>("inspect", &[], "Display an image manifest, or manifest list"),
    verb::<push::Push>("push", &[], "Push a manifest list to a repository"),
    verb::<rm::Rm>("rm", &[], "Delete one or more manifest lists from local storage"),
];

/// Local verbs have no session.
async fn without_engine(_: Session) -> anyhow::Result<u8> {
    unreachable!("a local verb")
}

fn reference(text: &str) -> anyhow::Result<Reference> {
    Ok(text.parse::<Reference>()?.with_default_tag())
}

/// A client by the settings of this host; `insecure`: the registries of `names` need not show who they are.
fn client(globals: &Globals, insecure: bool, names: &[&Reference]) -> anyhow::Result<Client> {
    let mut config = globals.engine_config()?.registries;
    if insecure {
        config.insecure.extend(names.iter().map(|name| name.domain().to_owned()));
    }
    Ok(Client::new(config)?)
}

fn repository<'c>(client: &'c Client, name: &Reference, access: Access) -> anyhow::Result<Repository<'c>> {
    Ok(client.repository(name, access, registry::credentials(name)?.as_ref())?)
}

/// A manifest of a registry with the platform that its image is for.
fn fetch(client: &Client, name: &Reference) -> anyhow::Result<Fetched> {
    let repository = repository(client, name, Access::Pull)?;
    let mut fetched = repository.manifest(name)?;
    if !fetched.is_index() {
        fetched.descriptor.platform = Some(repository.platform_of(&fetched)?);
    }
    Ok(fetched)
}
