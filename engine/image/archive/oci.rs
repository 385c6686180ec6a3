//! The OCI image layout: index.json leads over manifests, and over further indexes by platform, to images.

use std::collections::BTreeMap;

use super::load::{Plan, Source, config};
use super::members::{Members, blob_path, decode, invalid};
use crate::formats::{CONFIG, DOCKER_CONFIG, DOCKER_LIST, Descriptor, INDEX, Index, Manifest, NAME, REF_NAME};
use crate::platform::{Wanted, is_image, offered};
use crate::{Error, Reference, Result};

pub(super) const LAYOUT: &str = "index.json";
/// Indexes in indexes.
const MAX_DEPTH: usize = 4;
/// Of all indexes together.
const MAX_MANIFESTS: usize = 1024;

pub(super) fn plan(members: &Members, wanted: &Wanted) -> Result<Vec<Plan>> {
    let index: Index = decode(LAYOUT, &members.document(LAYOUT)?)?;
    let mut walk = Walk { members, wanted, seen: 0 };
    // Several manifests of one name are that image for several platforms.
    let mut groups: BTreeMap<Option<String>, Vec<Descriptor>> = BTreeMap::new();
    for descriptor in index.manifests {
        let name = descriptor.annotation(NAME).or(descriptor.annotation(REF_NAME)).map(str::to_owned);
        groups.entry(name).or_default().push(descriptor);
    }
    let mut plans: Vec<Plan> = Vec::new();
    for (name, descriptors) in groups {
        let reference = name.as_deref().and_then(reference);
        let chosen = match name {
            Some(_) => vec![walk.choose(descriptors, 0)?],
            None => {
                let each = descriptors.into_iter().filter(is_image).map(|descriptor| walk.choose(vec![descriptor], 0));
                each.collect::<Result<_>>()?
            }
        };
        for descriptor in chosen {
            let plan = walk.image(&descriptor)?;
            match plans.iter_mut().find(|other| other.raw == plan.raw) {
                Some(other) => other.names.extend(reference.clone()),
                None => plans.push(Plan { names: reference.clone().into_iter().collect(), ..plan }),
            }
        }
    }
    if plans.is_empty() {
        return Err(invalid(format!("{LAYOUT} of the archive names no image")));
    }
    Ok(plans)
}

/// A bare word is a tag of nobody knows what.
fn reference(name: &str) -> Option<Reference> {
    let whole = name.contains(['/', ':']);
    whole.then(|| name.parse().ok()).flatten().map(Reference::with_default_tag).filter(|name| name.digest().is_none())
}

struct Walk<'a> {
    members: &'a Members,
    wanted: &'a Wanted,
    seen: usize,
}

impl Walk<'_> {
    /// The manifest that fits best.
    fn choose(&mut self, descriptors: Vec<Descriptor>, depth: usize) -> Result<Descriptor> {
        if depth > MAX_DEPTH {
            return Err(invalid("the archive's indexes are nested too deep"));
        }
        let mut candidates = Vec::new();
        for descriptor in descriptors.into_iter().filter(is_image) {
            self.seen += 1;
            if self.seen > MAX_MANIFESTS {
                return Err(invalid(format!("the archive has more than {MAX_MANIFESTS} manifests")));
            }
            if self.is_index(&descriptor)? {
                let name = format!("index {}", descriptor.digest);
                let index: Index = decode(&name, &self.blob(&descriptor)?)?;
                candidates.push(self.choose(index.manifests, depth + 1)?);
            } else {
                candidates.push(descriptor);
            }
        }
        match self.wanted.choose(&candidates) {
            Some(best) => Ok(best.clone()),
            None if candidates.is_empty() => Err(invalid("an index of the archive names no image")),
            None => Err(Error::NotFound(format!(
                "the archive has no image for {}, only for {}",
                self.wanted.name(),
                offered(&candidates)
            ))),
        }
    }

    /// By its media type, or by its content where that is missing.
    fn is_index(&self, descriptor: &Descriptor) -> Result<bool> {
        if !descriptor.media_type.is_empty() {
            return Ok([INDEX, DOCKER_LIST].contains(&descriptor.media_type.as_str()));
        }
        let value: serde_json::Value = decode(&format!("blob {}", descriptor.digest), &self.blob(descriptor)?)?;
        Ok(value.get("manifests").is_some())
    }

    fn image(&self, descriptor: &Descriptor) -> Result<Plan> {
        let manifest: Manifest = decode(&format!("manifest {}", descriptor.digest), &self.blob(descriptor)?)?;
        let kind = &manifest.config.media_type;
        if ![CONFIG, DOCKER_CONFIG, ""].contains(&kind.as_str()) {
            return Err(Error::Unsupported(format!("the archive holds no container image but {kind}")));
        }
        let raw = self.blob(&manifest.config)?;
        let layers = manifest.layers.iter().map(|layer| {
            let name = blob_path(&layer.digest);
            let extent = self.members.find(&name)?;
            check_size(layer, extent.length)?;
            Ok(Source { name, extent, digest: Some(layer.digest.clone()) })
        });
        let plan = Plan { names: Vec::new(), config: config(&raw)?, layers: layers.collect::<Result<_>>()?, raw };
        plan.check()?;
        Ok(plan)
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let bytes = self.members.blob(&descriptor.digest)?;
        check_size(descriptor, bytes.len() as u64)?;
        Ok(bytes)
    }
}

fn check_size(descriptor: &Descriptor, found: u64) -> Result<()> {
    if descriptor.size == found {
        return Ok(());
    }
    let Descriptor { digest, size, .. } = descriptor;
    Err(invalid(format!("blob {digest} of the archive has {found} bytes and not {size}")))
}
