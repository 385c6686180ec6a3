//! From the image store to a registry.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use berth_image::formats::{
    CONFIG, DOCKER_CONFIG, DOCKER_LAYER, DOCKER_LAYER_GZIP, DOCKER_MANIFEST, Descriptor, LAYER, LAYER_GZIP, LAYER_ZSTD,
    MANIFEST, Manifest,
};
use berth_image::{Digest, Error, Hasher, ImageStore, Outgoing, Progress, Reference, Result, Stop};
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::net::{Chunks, Payload, Url};
use crate::tell::{Bar, status};
use crate::uploads::Mounted;
use crate::{Access, Client, Repository, Transfer};

/// Bytes that are handed to a connection at a time, and how many of these may wait.
const CHUNK: usize = 64 * 1024;
const DEPTH: usize = 4;
/// Other repositories that a layer is looked for in, and all layers: a token's URL names them all.
const SOURCES: usize = 2;
const ALL_SOURCES: usize = 16;

/// What a registry has got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    pub digest: Digest,
    /// Of the manifest, in bytes.
    pub size: u64,
}

impl Client {
    /// Pushes the image that `reference` (with a tag) means here to where the name says.
    pub fn push(&self, images: &ImageStore, reference: &Reference, transfer: Transfer<'_>) -> Result<Pushed> {
        let outgoing = images.outgoing(reference)?;
        let layers = outgoing.layers()?;
        for (diff_id, _) in &layers {
            status(transfer.tell, diff_id.short(), "Preparing");
        }
        let mut repository = self.repository(reference, Access::Push, transfer.credentials)?;
        let sources = sources(images, reference, &layers)?;
        for path in &sources {
            repository = repository.and_pull(path);
        }
        let push =
            Push { images, repository: &repository, outgoing: &outgoing, layers: &layers, sources: &sources, transfer };
        let blobs = push.all()?;
        let (media_type, manifest) = push.manifest(&blobs)?;
        repository.put_manifest(reference, &media_type, &manifest)?;
        let pushed = Pushed { digest: Digest::of(&manifest), size: manifest.len() as u64 };
        let sent: Vec<_> = layers.iter().map(|(diff_id, _)| diff_id.clone()).zip(blobs).collect();
        images.note_sent(reference, &pushed.digest, &outgoing.id, &sent)?;
        let tag = reference.tag().unwrap_or_default();
        status(transfer.tell, "", format!("{tag}: digest: {} size: {}", pushed.digest, pushed.size));
        Ok(pushed)
    }
}

/// The repositories of the registry that layers need perhaps not be sent to again, since these have them; the right to read them
/// is asked for with the right to push.
fn sources(images: &ImageStore, reference: &Reference, layers: &[(Digest, u64)]) -> Result<Vec<String>> {
    let mut sources: Vec<String> = Vec::new();
    for (diff_id, _) in layers {
        let known = images.known_blobs(diff_id)?;
        let others = known.iter().filter_map(|known| other_path(&known.repository, reference));
        for path in others.take(SOURCES) {
            if sources.len() < ALL_SOURCES && !sources.iter().any(|source| source == path) {
                sources.push(path.to_owned());
            }
        }
    }
    Ok(sources)
}

/// The path of another repository of the same registry.
fn other_path<'a>(repository: &'a str, reference: &Reference) -> Option<&'a str> {
    let (domain, path) = repository.split_once('/')?;
    (domain == reference.domain() && path != reference.path()).then_some(path)
}

struct Push<'p, 'c> {
    images: &'p ImageStore,
    repository: &'p Repository<'c>,
    outgoing: &'p Outgoing<'p>,
    /// Diff IDs and sizes, the lowest first.
    layers: &'p [(Digest, u64)],
    /// Paths of other repositories that may be read.
    sources: &'p [String],
    transfer: Transfer<'p>,
}

impl Push<'_, '_> {
    /// Brings all layers there, several at a time.
    fn all(&self) -> Result<Vec<Descriptor>> {
        let done: Vec<Mutex<Option<Descriptor>>> = self.layers.iter().map(|_| Mutex::new(None)).collect();
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let worker = || -> Result<()> {
            while !failed.load(Ordering::Relaxed) {
                if (self.transfer.stop)() {
                    return Err(Error::Stopped);
                }
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(slot) = done.get(index) else { break };
                let blob = self.one(index).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(blob);
            }
            Ok(())
        };
        let threads = self.repository.client.config.uploads.clamp(1, self.layers.len().max(1));
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(worker)).collect();
            let ours = worker();
            others.into_iter().fold(ours, |first, other| {
                first.and(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            })
        })?;
        let blobs = done.into_iter().map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner));
        blobs.map(|blob| blob.ok_or(Error::Stopped)).collect()
    }

    fn one(&self, index: usize) -> Result<Descriptor> {
        let (diff_id, _) = &self.layers[index];
        let (tell, label) = (self.transfer.tell, diff_id.short());
        let known = self.images.known_blobs(diff_id)?;
        let name = self.repository.name.repository();
        if let Some(known) = known.iter().find(|known| known.repository == name) {
            if self.repository.has_blob(&known.blob)? {
                status(tell, label, "Layer already exists");
                return Ok(known.blob.clone());
            }
            self.images.forget_blob(diff_id, &name)?;
        }
        let mut place = None;
        let others = known.iter().filter_map(|known| {
            let path = other_path(&known.repository, &self.repository.name)?;
            self.sources.iter().any(|source| source == path).then_some((path, &known.blob))
        });
        for (path, blob) in others.take(SOURCES) {
            match self.repository.mount_blob(blob, path) {
                Ok(Mounted::Yes) => {
                    status(tell, label, format!("Mounted from {path}"));
                    return Ok(blob.clone());
                }
                // One upload has begun, and is used.
                Ok(Mounted::No(found)) => {
                    place = Some(found);
                    break;
                }
                // It is sent as any other.
                Err(
                    error @ (Error::Denied(_) | Error::NotFound(_) | Error::InvalidArgument(_) | Error::Unsupported(_)),
                ) => tracing::debug!("layer {label} is not to be had of {path}: {error}"),
                Err(error) => return Err(error),
            }
        }
        let mut tries = 0;
        loop {
            let found = match place.take() {
                Some(place) => place,
                None => self.repository.begin_upload()?,
            };
            match self.send(index, &found) {
                Err(error @ Error::Unreachable(_)) if tries < self.repository.client.config.retries.min(3) => {
                    tracing::debug!("send layer {label} again: {error}");
                    tries += 1;
                }
                Err(error) => return Err(error),
                Ok(blob) => {
                    status(tell, label, "Pushed");
                    return Ok(blob);
                }
            }
        }
    }

    /// Packs the layer's archive while it is sent.
    fn send(&self, index: usize, place: &Url) -> Result<Descriptor> {
        let (diff_id, size) = &self.layers[index];
        let (sender, receiver) = mpsc::channel(DEPTH);
        let (sent, packed) = std::thread::scope(|scope| {
            let packer = scope.spawn(move || {
                let sink = Sink {
                    sender,
                    stop: self.transfer.stop,
                    buffer: Vec::with_capacity(CHUNK),
                    hasher: Hasher::new(),
                    length: 0,
                };
                let mut gzip = flate2::write::GzEncoder::new(sink, flate2::Compression::default());
                let mut bar = Bar::new(self.transfer.tell, diff_id.short(), "Pushing", *size);
                let mut current = |progress: Progress<'_>| bar.at(progress.current);
                let written = self.outgoing.write_layer(index, &mut gzip, &mut current);
                written.and_then(|()| gzip.finish().and_then(Sink::finish).map_err(broken))
            });
            let chunks = Chunks::new(receiver);
            let sent = self.repository.send_blob(place, Payload::Stream(chunks.clone()));
            chunks.close();
            (sent, packer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        if (self.transfer.stop)() {
            return Err(Error::Stopped);
        }
        // Who stops listening breaks the packer's pipe: then the reason is the other's.
        let (next, (digest, length)) = match (sent, packed) {
            (Ok(next), Ok(packed)) => (next, packed),
            (Err(error), _) => return Err(error),
            (Ok(_), Err(error)) => return Err(error),
        };
        let blob = Descriptor::new(DOCKER_LAYER_GZIP, digest, length);
        self.repository.finish_upload(&next, &blob, &Bytes::new())?;
        Ok(blob)
    }

    /// The manifest that the image came with, if its parts are as it says; else a new one.
    fn manifest(&self, blobs: &[Descriptor]) -> Result<(String, Vec<u8>)> {
        let config = Bytes::copy_from_slice(&self.outgoing.config);
        let digest = self.outgoing.id.clone();
        if let Some(raw) = &self.outgoing.manifest
            && let Ok(manifest) = serde_json::from_slice::<Manifest>(raw)
            && [MANIFEST, DOCKER_MANIFEST].contains(&manifest.media_type.as_str())
            && manifest.config.digest == digest
            && manifest.layers.iter().map(|layer| &layer.digest).eq(blobs.iter().map(|blob| &blob.digest))
        {
            self.repository.put_blob(&manifest.config, &config)?;
            return Ok((manifest.media_type, raw.clone()));
        }
        // Docker's form is known to the oldest of registries, but has no zstd.
        let oci = blobs.iter().any(|blob| blob.media_type == LAYER_ZSTD);
        let (kind, config_kind) = if oci { (MANIFEST, CONFIG) } else { (DOCKER_MANIFEST, DOCKER_CONFIG) };
        let layer = |blob: &Descriptor| {
            let kind = match (blob.media_type.as_str(), oci) {
                (LAYER | DOCKER_LAYER, true) => LAYER,
                (LAYER | DOCKER_LAYER, false) => DOCKER_LAYER,
                (LAYER_GZIP | DOCKER_LAYER_GZIP, true) => LAYER_GZIP,
                (LAYER_GZIP | DOCKER_LAYER_GZIP, false) => DOCKER_LAYER_GZIP,
                (other, _) => other,
            };
            Descriptor::new(kind, blob.digest.clone(), blob.size)
        };
        let manifest = Manifest {
            schema_version: 2,
            media_type: kind.to_owned(),
            config: Descriptor::new(config_kind, digest, config.len() as u64),
            layers: blobs.iter().map(layer).collect(),
        };
        self.repository.put_blob(&manifest.config, &config)?;
        let bytes = serde_json::to_vec(&manifest).map_err(|error| broken(error.into()))?;
        Ok((kind.to_owned(), bytes))
    }
}

fn broken(source: io::Error) -> Error {
    Error::Stream { action: "send", object: "a layer".to_owned(), source }
}

/// Hands on what is written, digested.
struct Sink<'s> {
    sender: mpsc::Sender<io::Result<Bytes>>,
    stop: &'s Stop<'s>,
    buffer: Vec<u8>,
    hasher: Hasher,
    length: u64,
}

impl Sink<'_> {
    fn finish(mut self) -> io::Result<(Digest, u64)> {
        self.flush()?;
        Ok((self.hasher.finish(), self.length))
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(data);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        if (self.stop)() {
            // Without this the registry would take what there is for all of the blob.
            let _ = self.sender.blocking_send(Err(io::Error::other("stopped")));
            return Err(io::Error::other("stopped"));
        }
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        self.hasher.update(&chunk);
        self.length += chunk.len() as u64;
        self.sender.blocking_send(Ok(chunk.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
