//! From what an archive claims to images: each whole or not at all.

use std::collections::HashMap;
use std::io::Read;

use super::members::{Extent, Members, Verified, check, decode, invalid};
use super::{LoadOptions, Loaded, docker, oci};
use crate::compression::decompress;
use crate::images::{self, NewImage};
use crate::layers::Chain;
use crate::platform::Wanted;
use crate::progress::{ProgressReader, Reporter};
use crate::transfer::MAX_LAYERS;
use crate::{Digest, Error, ImageConfig, ImageStore, OnProgress, Reference, Result};

/// One image of an archive, as far as it can be checked before its layers are read.
pub(super) struct Plan {
    pub(super) names: Vec<Reference>,
    /// The configuration's exact bytes.
    pub(super) raw: Vec<u8>,
    pub(super) config: ImageConfig,
    /// The lowest first.
    pub(super) layers: Vec<Source>,
}

/// Where a layer's archive is, compressed or not.
pub(super) struct Source {
    pub(super) name: String,
    pub(super) extent: Extent,
    /// Of the file as it lies there.
    pub(super) digest: Option<Digest>,
}

pub(super) fn config(raw: &[u8]) -> Result<ImageConfig> {
    let config: ImageConfig = decode("an image configuration", raw)?;
    if !["", "linux"].contains(&config.os.as_str()) {
        return Err(Error::Unsupported(format!("cannot load {} image on linux", config.os)));
    }
    Ok(config)
}

impl Plan {
    pub(super) fn check(&self) -> Result<()> {
        let (stated, found) = (self.config.rootfs.diff_ids.len(), self.layers.len());
        if stated != found {
            return Err(invalid(format!("invalid manifest, layers length mismatch: expected {stated}, got {found}")));
        }
        if found > MAX_LAYERS {
            return Err(invalid(format!("the archive has an image of {found} layers; {MAX_LAYERS} are possible")));
        }
        Ok(())
    }
}

impl ImageStore {
    /// Takes in all images of a docker-archive or an OCI layout (tar, compressed or not). The archive is read to
    /// its end and looked through before anything is made of it. Images before one that turns out to be damaged
    /// stay.
    pub fn load(
        &self,
        archive: impl Read,
        options: &LoadOptions,
        progress: &mut OnProgress<'_>,
    ) -> Result<Vec<Loaded>> {
        let stream = ProgressReader::new(archive, Reporter::new(progress, "Reading archive", "", None));
        let stream = decompress(stream).map_err(|source| Error::Stream {
            action: "read",
            object: "the archive".to_owned(),
            source,
        })?;
        let members = Members::read(stream, &self.store.paths().scratch())?;
        let wanted = Wanted::new(options.platform.as_ref());
        // manifest.json knows no platforms.
        let (docker, oci) = (members.has(docker::MANIFEST), members.has(oci::LAYOUT));
        let plans = match (docker, oci) {
            (_, true) if wanted.explicit || !docker => oci::plan(&members, &wanted)?,
            (true, _) => docker::plan(&members)?,
            _ => {
                return Err(invalid(
                    "the archive holds no image: it has neither manifest.json nor index.json; a root file system is \
                     taken in by import",
                ));
            }
        };
        let mut uses: HashMap<Extent, usize> = HashMap::new();
        for source in plans.iter().flat_map(|plan| &plan.layers) {
            *uses.entry(source.extent).or_default() += 1;
        }
        let mut last = |extent: Extent| {
            let left = uses.entry(extent).or_default();
            *left = left.saturating_sub(1);
            *left == 0
        };
        let mut loaded = Vec::new();
        for plan in &plans {
            loaded.extend(self.load_one(&members, plan, &mut last, progress)?);
        }
        Ok(loaded)
    }

    /// `last` says of each extent, as it is used, whether it is for the last time.
    fn load_one(
        &self,
        members: &Members,
        plan: &Plan,
        last: &mut impl FnMut(Extent) -> bool,
        progress: &mut OnProgress<'_>,
    ) -> Result<Vec<Loaded>> {
        let mut chain = Chain::new(self);
        for (source, diff_id) in plan.layers.iter().zip(&plan.config.rootfs.diff_ids) {
            let content = members.open(source.extent, last(source.extent));
            add_layer(&mut chain, content, source, diff_id, progress).map_err(|error| match error {
                Error::InvalidArgument(reason) => invalid(format!("layer {:?} of the archive: {reason}", source.name)),
                Error::Driver(berth_fs_drivers::Error::InvalidArgument(reason)) => {
                    invalid(format!("layer {:?} of the archive: invalid {reason}", source.name))
                }
                other => other,
            })?;
        }
        let id = chain.settle(|transaction, layer, size| {
            let image = NewImage { config: &plan.raw, layer, size, parent: None };
            let id = images::insert(transaction, &image)?;
            for name in &plan.names {
                images::set_tag(transaction, name, &id)?;
            }
            Ok(id)
        })?;
        Ok(match &plan.names[..] {
            [] => vec![Loaded::Id(id)],
            names => names.iter().map(|name| Loaded::Name(name.familiar())).collect(),
        })
    }
}

fn add_layer(
    chain: &mut Chain<'_>,
    content: impl Read,
    source: &Source,
    diff_id: &Digest,
    progress: &mut OnProgress<'_>,
) -> Result<()> {
    let mut blob = Verified::new(content);
    let report = Reporter::new(progress, "Loading layer", diff_id.short(), Some(source.extent.length));
    let stream = decompress(ProgressReader::new(&mut blob, report)).map_err(|error| Error::Stream {
        action: "read",
        object: format!("layer {:?} of the archive", source.name),
        source: error,
    })?;
    chain.add_known(diff_id, stream, Some(source.extent.length))?;
    let found = blob.finish()?;
    source.digest.as_ref().map_or(Ok(()), |stated| check(&source.name, stated, &found))
}
