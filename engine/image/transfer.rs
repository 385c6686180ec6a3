//! Images on their way from and to registries, without what they travel by: engine/distribution has that.

use std::io::Write;

use berth_store::rusqlite::{OptionalExtension, Row};

use crate::formats::Descriptor;
use crate::images::{self, NewImage};
use crate::layers::{Chain, Gathering, Layer, Supplier, chain};
use crate::progress::Reporter;
use crate::{Digest, Error, ImageConfig, ImageId, ImageStore, OnProgress, Reference, Result};

/// More than any driver can stack.
pub(crate) const MAX_LAYERS: usize = 1024;

/// An image whose layers are to come.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    /// The names that it gets: a tag, a digest, or both.
    pub reference: &'a Reference,
    /// Of the manifest, or of the index that led to it, by which the registry knows it.
    pub digest: &'a Digest,
    /// The exact bytes.
    pub manifest: &'a [u8],
    pub config: &'a [u8],
    /// The lowest first, as the registry has them.
    pub layers: &'a [Descriptor],
}

/// An image that is sent away; nobody can remove its layers meanwhile.
pub struct Outgoing<'a> {
    images: &'a ImageStore,
    pub id: ImageId,
    /// The exact bytes.
    pub config: Vec<u8>,
    /// The manifest that it came with.
    pub manifest: Option<Vec<u8>>,
    /// The topmost first.
    layers: Vec<Layer>,
    _held: Chain<'a>,
}

/// A registry's form of a layer's archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownBlob {
    /// Normalised, with its domain.
    pub repository: String,
    pub blob: Descriptor,
}

/// The configuration of an image that others made, as far as it can be checked before its layers are there.
pub fn check_config(raw: &[u8], layers: usize) -> Result<ImageConfig> {
    let config: ImageConfig = serde_json::from_slice(raw)
        .map_err(|error| Error::InvalidArgument(format!("the image's configuration makes no sense: {error}")))?;
    if !["", "linux"].contains(&config.os.as_str()) {
        return Err(Error::Unsupported(format!("the image is for {}, and containers here are of linux", config.os)));
    }
    let stated = config.rootfs.diff_ids.len();
    if stated != layers || layers > MAX_LAYERS {
        return Err(Error::InvalidArgument(format!(
            "invalid image: its manifest has {layers} layers and its configuration {stated}; {MAX_LAYERS} are possible"
        )));
    }
    Ok(config)
}

impl ImageStore {
    /// Takes in an image: all of it or, but for complete layers that wait for the next try, nothing.
    pub fn receive_image(
        &self,
        incoming: &Incoming<'_>,
        supplier: &dyn Supplier,
        gathering: Gathering<'_>,
    ) -> Result<ImageId> {
        let config = check_config(incoming.config, incoming.layers.len())?;
        let mut chain = Chain::new(self);
        chain.gather(&config.rootfs.diff_ids, supplier, gathering)?;
        chain.settle(|transaction, layer, size| {
            let id = images::insert(transaction, &NewImage { config: incoming.config, layer, size, parent: None })?;
            transaction.execute("UPDATE images SET manifest = ?2 WHERE id = ?1", (id.as_str(), incoming.manifest))?;
            if incoming.reference.tag().is_some() && incoming.reference.digest().is_none() {
                images::set_tag(transaction, incoming.reference, &id)?;
            }
            images::set_digest(transaction, incoming.reference, incoming.digest, &id)?;
            for (diff_id, blob) in config.rootfs.diff_ids.iter().zip(incoming.layers) {
                images::note_blob(transaction, diff_id, &incoming.reference.repository(), blob)?;
            }
            Ok(id)
        })
    }

    pub fn outgoing(&self, name: &Reference) -> Result<Outgoing<'_>> {
        let missing =
            || Error::NotFound(format!("An image does not exist locally with the tag: {}", name.familiar_name()));
        let image = self.resolve_reference(name)?.ok_or_else(missing)?;
        let held = Chain::on(self, &image.id)?;
        self.store.read(|connection| {
            let (config, manifest) = connection.query_row(
                "SELECT config, manifest FROM images WHERE id = ?1",
                [image.id.as_str()],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            let layers = chain(connection, image.layer)?;
            Ok(Outgoing { images: self, id: image.id.clone(), config, manifest, layers, _held: held })
        })
    }

    /// The tags of a repository, of whatever image.
    pub fn tags(&self, repository: &Reference) -> Result<Vec<Reference>> {
        let tagged = self.store.read(|connection| images::tagged(connection, repository))?;
        Ok(tagged.into_iter().map(|(reference, _)| reference).collect())
    }

    /// In which forms registries have the archive of `diff_id`, as far as anybody has noted it; the latest first.
    pub fn known_blobs(&self, diff_id: &Digest) -> Result<Vec<KnownBlob>> {
        let blob = |row: &Row<'_>| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?, row.get::<_, String>(3)?))
        };
        let rows: Vec<_> = self.store.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT repository, digest, size, media_type FROM blobs WHERE diff_id = ?1 ORDER BY seen DESC",
            )?;
            Ok::<_, Error>(statement.query_map([diff_id.as_str()], blob)?.collect::<Result<_, _>>()?)
        })?;
        rows.into_iter()
            .map(|(repository, digest, size, media_type)| {
                Ok(KnownBlob { repository, blob: Descriptor::new(&media_type, digest.parse()?, size as u64) })
            })
            .collect()
    }

    /// Notes what a push has brought to a repository: in which form each layer, and under which digest the image.
    pub fn note_sent(
        &self,
        reference: &Reference,
        digest: &Digest,
        id: &ImageId,
        layers: &[(Digest, Descriptor)],
    ) -> Result<()> {
        self.store.write(|transaction| {
            for (diff_id, blob) in layers {
                images::note_blob(transaction, diff_id, &reference.repository(), blob)?;
            }
            // Somebody may have removed the image meanwhile.
            let there =
                transaction.query_row("SELECT 1 FROM images WHERE id = ?1", [id.as_str()], |_| Ok(())).optional()?;
            there.map_or(Ok(()), |()| images::set_digest(transaction, reference, digest, id))
        })
    }

    /// Forgets that a repository has a blob.
    pub fn forget_blob(&self, diff_id: &Digest, repository: &str) -> Result<()> {
        self.store.write(|transaction| {
            transaction
                .execute("DELETE FROM blobs WHERE diff_id = ?1 AND repository = ?2", (diff_id.as_str(), repository))?;
            Ok(())
        })
    }

    /// Notes that an image's tag of a registry, which has been looked up, still means the image that is here.
    pub fn confirm(&self, reference: &Reference, digest: &Digest, id: &ImageId) -> Result<()> {
        self.store.write(|transaction| {
            if reference.tag().is_some() && reference.digest().is_none() {
                images::set_tag(transaction, reference, id)?;
            }
            images::set_digest(transaction, reference, digest, id)
        })
    }
}

impl Outgoing<'_> {
    /// The diff IDs and archive sizes (bytes), the lowest first.
    pub fn layers(&self) -> Result<Vec<(Digest, u64)>> {
        let of = |layer: &Layer| {
            let diff_id = layer.diff_id.clone();
            let missing = || Error::InvalidArgument(format!("layer {} has no digest", layer.number));
            Ok((diff_id.ok_or_else(missing)?, layer.archive))
        };
        self.layers.iter().rev().map(of).collect()
    }

    /// Writes the archive of the layer `index`, counted from the lowest, byte for byte as it came.
    pub fn write_layer(&self, index: usize, out: &mut impl Write, progress: &mut OnProgress<'_>) -> Result<()> {
        let position = self.layers.len() - 1 - index;
        let layer = &self.layers[position];
        let mut report = Reporter::new(progress, "Pushing", layer.name(), Some(layer.archive));
        self.images.write_archive(&self.layers[position..], out, &mut report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_whose_documents_disagree_is_refused() {
        let config = br#"{"os":"linux","architecture":"amd64","config":{},"rootfs":{"type":"layers","diff_ids":[]}}"#;
        assert!(check_config(config, 0).is_ok());
        assert!(check_config(config, 1).is_err());
        assert!(check_config(b"nonsense", 0).is_err());
        let other = br#"{"os":"windows","config":{},"rootfs":{"diff_ids":[]}}"#;
        assert!(matches!(check_config(other, 0), Err(Error::Unsupported(_))));
    }
}
