//! From a registry into the image store.

use std::io::{self, Read};
use std::path::Path;

use berth_arch::host::Platform;
use berth_image::formats::{
    CONFIG, DOCKER_CONFIG, DOCKER_LAYER, DOCKER_LAYER_GZIP, Descriptor, LAYER, LAYER_GZIP, LAYER_ZSTD, Manifest,
};
use berth_image::platform::Wanted;
use berth_image::{
    Digest, Error, Gathering, ImageId, ImageStore, Incoming, Reference, Result, Supplier, Take, check_config,
    decompress_layer,
};

use crate::blobs::Blob;
use crate::manifests::{Fetched, MAX_MANIFEST};
use crate::tell::{Bar, Tell, status};
use crate::{Access, Client, Credentials, Repository, Transfer};

/// What layers may be.
const LAYERS: &[&str] = &[LAYER, LAYER_GZIP, LAYER_ZSTD, DOCKER_LAYER, DOCKER_LAYER_GZIP];
/// Up to this many bytes a layer may unpack to whatever it likes, beyond that to [`ratio`] times its size.
const FREE_RATIO: u64 = 256 << 20;
/// Bytes of disk that a pull leaves free, and how often that is looked at.
const RESERVE: u64 = 32 << 20;
const LOOK: u64 = 16 << 20;

/// What has come of a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    pub id: ImageId,
    /// As the registry knows it.
    pub digest: Digest,
    /// Whether the name meant something else before, or nothing.
    pub newer: bool,
}

impl Client {
    /// Pulls the image that `reference` (with a tag or a digest) means, from a mirror or from the registry itself. `platform`:
    /// instead of what this host runs.
    pub fn pull(
        &self,
        images: &ImageStore,
        reference: &Reference,
        platform: Option<&Platform>,
        transfer: Transfer<'_>,
    ) -> Result<Pulled> {
        let wanted = Wanted::new(platform);
        for mirror in self.config.mirrors(reference)? {
            let host = mirror.base.origin.to_string();
            let repository = self.at(mirror, reference, Access::Pull, None)?;
            match repository.pull(images, reference, &wanted, transfer) {
                Err(
                    error @ (Error::Unreachable(_) | Error::NotFound(_) | Error::Denied(_) | Error::InvalidArgument(_)),
                ) => {
                    tracing::warn!("pull {} from the mirror {host}: {error}", reference.familiar());
                }
                other => return other,
            }
        }
        self.repository(reference, Access::Pull, transfer.credentials)?.pull(images, reference, &wanted, transfer)
    }

    /// All tags of a repository.
    pub fn tags(&self, reference: &Reference, credentials: Option<&Credentials>) -> Result<Vec<Reference>> {
        let tags = self.repository(reference, Access::Pull, credentials)?.tags()?;
        tags.iter().map(|tag| reference.with_tag(tag)).collect()
    }
}

impl Repository<'_> {
    fn pull(
        &self,
        images: &ImageStore,
        reference: &Reference,
        wanted: &Wanted,
        transfer: Transfer<'_>,
    ) -> Result<Pulled> {
        let top = self.manifest(reference)?;
        // What is refused before this line has a status of its own.
        let label = reference.digest().map(Digest::to_string).or(reference.tag().map(str::to_owned));
        status(transfer.tell, &label.unwrap_or_default(), format!("Pulling from {}", reference.path()));
        let digest = top.descriptor.digest.clone();
        let found = self.choose(top, wanted)?;
        let manifest = found.manifest()?;
        check(&manifest)?;
        let id = manifest.config.digest.clone();
        let before = images.resolve_reference(reference)?.map(|image| image.id);
        if images.get(&id).is_ok() {
            images.confirm(reference, &digest, &id)?;
            tell_digest(transfer.tell, &digest);
            return Ok(Pulled { newer: before.as_ref() != Some(&id), id, digest });
        }
        let config = self.small_blob(&manifest.config, MAX_MANIFEST, transfer.stop)?;
        check_config(&config, manifest.layers.len())?;
        let labels: Vec<String> = manifest.layers.iter().map(|layer| layer.digest.short().to_owned()).collect();
        labels.iter().for_each(|label| status(transfer.tell, label, "Pulling fs layer"));
        let state = images.state_folder();
        let layers = Layers { repository: self, layers: &manifest.layers, labels: &labels, transfer, state };
        let incoming =
            Incoming { reference, digest: &digest, manifest: &found.bytes, config: &config, layers: &manifest.layers };
        let gathering = Gathering { parallel: self.client.config.downloads, stop: transfer.stop };
        let id = images.receive_image(&incoming, &layers, gathering)?;
        tell_digest(transfer.tell, &digest);
        Ok(Pulled { id, digest, newer: true })
    }

    /// The manifest for the wanted platform.
    pub fn choose(&self, top: Fetched, wanted: &Wanted) -> Result<Fetched> {
        /// Indexes in indexes.
        const MAX_DEPTH: usize = 4;
        let mut current = top;
        for _ in 0..MAX_DEPTH {
            if !current.is_index() {
                return Ok(current);
            }
            let index = current.index()?;
            let images: Vec<Descriptor> = index.manifests.into_iter().filter(berth_image::platform::is_image).collect();
            let best = wanted.choose(&images).ok_or_else(|| {
                let offered = berth_image::platform::offered(&images);
                Error::NotFound(format!(
                    "no matching manifest for {} in the manifest list entries of {}: there is {}",
                    wanted.name(),
                    self.name.familiar(),
                    if offered.is_empty() { "none" } else { &offered }
                ))
            })?;
            current = self.child(best)?;
        }
        Err(Error::InvalidArgument(format!("the indexes of {} are nested too deep", self.name.familiar())))
    }
}

fn tell_digest(tell: &Tell<'_>, digest: &Digest) {
    status(tell, "", format!("Digest: {digest}"));
}

/// Refuses what is no image, before anything of it is fetched.
fn check(manifest: &Manifest) -> Result<()> {
    let kind = manifest.config.media_type.as_str();
    if ![CONFIG, DOCKER_CONFIG].contains(&kind) {
        return Err(Error::Unsupported(format!("this is no container image: its configuration is {kind:?}")));
    }
    for layer in &manifest.layers {
        let kind = layer.media_type.as_str();
        if LAYERS.contains(&kind) {
            continue;
        }
        let why = if kind.contains("foreign") || kind.contains("nondistributable") {
            "it is not for registries to hand out, and is had from its maker alone"
        } else if kind.contains("encrypted") {
            "it is encrypted"
        } else {
            "nobody here knows that"
        };
        return Err(Error::Unsupported(format!("layer {} is {kind:?}: {why}", layer.digest.short())));
    }
    Ok(())
}

/// The layers of one image.
struct Layers<'p, 'c> {
    repository: &'p Repository<'c>,
    layers: &'p [Descriptor],
    labels: &'p [String],
    transfer: Transfer<'p>,
    state: &'p Path,
}

impl Supplier for Layers<'_, '_> {
    fn exists(&self, index: usize) {
        status(self.transfer.tell, &self.labels[index], "Already exists");
    }

    fn supply(&self, index: usize, take: &mut Take<'_>) -> Result<()> {
        let (layer, label, transfer) = (&self.layers[index], &self.labels[index], self.transfer);
        let mut blob = self.repository.blob(layer, transfer.stop);
        let reading = Reading { blob: &mut blob, bar: Bar::new(transfer.tell, label, "Downloading", layer.size) };
        let unpacked = decompress_layer(reading).map_err(stream).and_then(|archive| {
            let mut archive = Bounded {
                inner: archive,
                size: layer.size,
                ratio: ratio(&layer.media_type),
                count: 0,
                looked: 0,
                state: self.state,
            };
            take(&mut archive)
        });
        blob.finish(unpacked).map_err(|error| match error {
            Error::InvalidArgument(why) => Error::InvalidArgument(format!("layer {label}: {why}")),
            Error::Driver(berth_image::DriverError::InvalidArgument(why)) => {
                Error::InvalidArgument(format!("layer {label}: invalid {why}"))
            }
            Error::Stream { source, .. } if source.kind() == io::ErrorKind::InvalidData => {
                Error::InvalidArgument(format!("layer {label}: {source}"))
            }
            other => other,
        })
    }

    fn complete(&self, index: usize) {
        status(self.transfer.tell, &self.labels[index], "Pull complete");
    }
}

fn stream(source: io::Error) -> Error {
    Error::Stream { action: "read", object: "a layer".to_owned(), source }
}

/// Tells how far a blob has come.
struct Reading<'b, 'r, 'c> {
    blob: &'b mut Blob<'r, 'c>,
    bar: Bar<'b>,
}

impl Read for Reading<'_, '_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.blob.read(buffer)?;
        self.bar.at(self.blob.position());
        Ok(count)
    }
}

/// How many times its size a layer can unpack to. deflate reaches 1032. zstd puts 128 KiB of the same byte into a block of four
/// (RFC 8878, 3.1.1.2): there it is the disk that ends a bomb ([`leave_room`]).
fn ratio(media_type: &str) -> u64 {
    if media_type == LAYER_ZSTD { 33_000 } else { 1_100 }
}

/// Ends what unpacks to more than it can honestly be, and what would fill the disk to its end.
struct Bounded<'s, R> {
    inner: R,
    /// Of the packed blob.
    size: u64,
    ratio: u64,
    count: u64,
    looked: u64,
    state: &'s Path,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count += count as u64;
        if self.count > FREE_RATIO && self.count / self.ratio > self.size {
            let message = format!("its {} bytes unpack to more than {} MiB: it is a bomb", self.size, self.count >> 20);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        if self.count - self.looked >= LOOK {
            self.looked = self.count;
            leave_room(self.state)?;
        }
        Ok(count)
    }
}

/// The last bytes of a disk are for those who make room, and for containers that run.
fn leave_room(state: &Path) -> io::Result<()> {
    let Ok(found) = rustix::fs::statvfs(state) else { return Ok(()) };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let total = found.f_blocks.saturating_mul(found.f_frsize);
    if free < RESERVE.min(total / 20) {
        let message = format!("no space left on the disk of {}: {} MiB are free", state.display(), free >> 20);
        return Err(io::Error::new(io::ErrorKind::StorageFull, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes of a packed blob of `size` are let through of a gigabyte.
    fn unpacked(media_type: &str, size: u64) -> io::Result<u64> {
        let inner = io::repeat(0).take(1 << 30);
        let mut bounded =
            Bounded { inner, size, ratio: ratio(media_type), count: 0, looked: 0, state: Path::new("/nowhere") };
        let (mut count, mut buffer) = (0, vec![0; 1 << 20]);
        loop {
            match bounded.read(&mut buffer)? {
                0 => return Ok(count),
                more => count += more as u64,
            }
        }
    }

    #[test]
    fn a_layer_unpacks_to_what_its_kind_can_hold() {
        assert_eq!(unpacked(LAYER_ZSTD, 35_000).unwrap(), 1 << 30);
        assert_eq!(unpacked(LAYER_GZIP, 1 << 20).unwrap(), 1 << 30);
        for (kind, size) in [(LAYER_GZIP, 35_000), (DOCKER_LAYER_GZIP, 35_000), (LAYER, 35_000), (LAYER_ZSTD, 5_000)] {
            let error = unpacked(kind, size).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{kind}: {error}");
        }
    }
}
