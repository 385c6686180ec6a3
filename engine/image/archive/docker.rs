//! docker-archive: manifest.json names a configuration, layers and tags for each image.

use super::load::{Plan, Source, config};
use super::members::{Members, check, decode, invalid};
use crate::digest::is_lower_hex;
use crate::formats::Item;
use crate::{Digest, Error, Reference, Result};

pub(super) const MANIFEST: &str = "manifest.json";

pub(super) fn plan(members: &Members) -> Result<Vec<Plan>> {
    let items: Vec<Item> = decode(MANIFEST, &members.document(MANIFEST)?)?;
    if items.is_empty() {
        return Err(invalid(format!("{MANIFEST} of the archive names no image")));
    }
    items.iter().map(|item| image(members, item)).collect()
}

fn image(members: &Members, item: &Item) -> Result<Plan> {
    let bytes = members.document(&item.config)?;
    if let Some(stated) = digest_in(&item.config) {
        check(&item.config, &stated, &Digest::of(&bytes))?;
    }
    let names = item.repo_tags.iter().flatten().map(|tag| {
        let reference: Reference = tag.parse()?;
        if reference.tag().is_none() || reference.digest().is_some() {
            return Err(Error::InvalidArgument(format!("invalid tag {tag:?}")));
        }
        Ok(reference)
    });
    let layers = item.layers.iter().flatten().map(|name| {
        // Only content-addressed names promise anything.
        let digest = name.strip_prefix("blobs/sha256/").and_then(digest_in);
        Ok(Source { name: name.clone(), extent: members.find(name)?, digest })
    });
    let plan = Plan {
        names: names.collect::<Result<_>>()?,
        layers: layers.collect::<Result<_>>()?,
        config: config(&bytes)?,
        raw: bytes,
    };
    plan.check()?;
    Ok(plan)
}

/// `blobs/sha256/DIGITS`, `DIGITS.json`.
fn digest_in(name: &str) -> Option<Digest> {
    let last = name.rsplit('/').next()?;
    let digits = last.strip_suffix(".json").unwrap_or(last);
    (digits.len() == 64 && is_lower_hex(digits)).then(|| format!("sha256:{digits}").parse().ok()).flatten()
}
