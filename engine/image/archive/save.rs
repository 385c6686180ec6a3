//! `save`: one archive that Docker, Podman, skopeo and everything that reads an OCI layout understands.
//!
//! Layers are written as the archives that they came as, so that an image keeps its ID. The same images give the
//! same bytes.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};

use super::members::blob_path;
use crate::formats::{CONFIG, Descriptor, INDEX, Index, Item, LAYER, MANIFEST, Manifest, NAME, PlatformSpec, REF_NAME};
use crate::images::{self, Image};
use crate::layers::{Chain, Layer, chain};
use crate::progress::Reporter;
use crate::{Digest, Error, ImageStore, OnProgress, Reference, Result};

/// An image to be saved, and the names by which it was asked for.
struct Chosen {
    image: Image,
    raw: Vec<u8>,
    names: Vec<Reference>,
}

impl ImageStore {
    /// Writes the named images as one archive that is both a docker-archive and an OCI layout. A name without tag
    /// means all of the repository's.
    pub fn save(&self, names: &[String], out: impl Write, progress: &mut OnProgress<'_>) -> Result<()> {
        let chosen = self.store.read(|connection| choose(connection, names))?;
        let mut writer = ArchiveWriter { out, written: HashSet::new() };
        let mut index = Vec::new();
        let mut items = Vec::new();
        let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        writer.directory("blobs/")?;
        writer.directory("blobs/sha256/")?;
        for Chosen { image, raw, names } in &chosen {
            // Holds the layers, should somebody remove the image meanwhile.
            let _held = Chain::on(self, &image.id)?;
            let layers = self.store.read(|connection| chain(connection, image.layer))?;
            let mut descriptors = Vec::with_capacity(layers.len());
            for position in (0..layers.len()).rev() {
                descriptors.push(self.save_layer(&mut writer, &layers[position..], progress)?);
            }
            let config = writer.blob(CONFIG, raw)?;
            let manifest =
                Manifest { schema_version: 2, media_type: MANIFEST.to_owned(), config, layers: descriptors.clone() };
            let mut descriptor = writer.blob(MANIFEST, &encode(&manifest)?)?;
            descriptor.platform = Some(PlatformSpec::from(&image.config));
            if names.is_empty() {
                index.push(descriptor.clone());
            }
            for name in names {
                let tag = name.tag().unwrap_or_default().to_owned();
                let annotations = [(NAME.to_owned(), name.to_string()), (REF_NAME.to_owned(), tag.clone())];
                index.push(Descriptor { annotations: Some(annotations.into()), ..descriptor.clone() });
                let top = descriptors.last().map_or(&image.id, |layer| &layer.digest);
                repositories.entry(name.familiar_name()).or_default().insert(tag, top.hex().to_owned());
            }
            items.push(Item {
                config: blob_path(&image.id),
                repo_tags: Some(names.iter().map(Reference::familiar).collect()),
                layers: Some(descriptors.iter().map(|layer| blob_path(&layer.digest)).collect()),
            });
        }
        let index = Index { schema_version: 2, media_type: INDEX.to_owned(), manifests: index };
        writer.file("index.json", &encode(&index)?)?;
        writer.file("manifest.json", &encode(&items)?)?;
        writer.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        if !repositories.is_empty() {
            writer.file("repositories", &encode(&repositories)?)?;
        }
        writer.finish()
    }

    fn save_layer(
        &self,
        writer: &mut ArchiveWriter<impl Write>,
        layers: &[Layer],
        progress: &mut OnProgress<'_>,
    ) -> Result<Descriptor> {
        let layer = &layers[0];
        let Some(diff_id) = &layer.diff_id else {
            return Err(Error::InvalidArgument(format!("layer {} has no digest", layer.number)));
        };
        if writer.begin_blob(diff_id, layer.archive)? {
            let mut report = Reporter::new(progress, "Saving layer", diff_id.short(), Some(layer.archive));
            self.write_archive(layers, &mut writer.out, &mut report)?;
            writer.pad(layer.archive)?;
        }
        Ok(Descriptor::new(LAYER, diff_id.clone(), layer.archive))
    }
}

fn choose(connection: &berth_store::rusqlite::Connection, names: &[String]) -> Result<Vec<Chosen>> {
    let mut chosen: Vec<Chosen> = Vec::new();
    let mut add = |image: Image, name: Option<Reference>| -> Result<()> {
        let position = match chosen.iter().position(|other| other.image.id == image.id) {
            Some(position) => position,
            None => {
                let raw = images::raw_config(connection, &image.id)?;
                chosen.push(Chosen { image, raw, names: Vec::new() });
                chosen.len() - 1
            }
        };
        let names = &mut chosen[position].names;
        if name.as_ref().is_some_and(|name| !names.contains(name)) {
            names.extend(name);
        }
        Ok(())
    };
    for name in names {
        let reference = name.parse::<Reference>().ok();
        if let Some(reference) = reference.filter(|reference| reference.tag().is_none() && reference.digest().is_none())
        {
            let all = images::tagged(connection, &reference)?;
            if !all.is_empty() {
                for (name, image) in all {
                    add(image, Some(name))?;
                }
                continue;
            }
        }
        let image = images::find(connection, name)?;
        let named = name.parse::<Reference>().ok().map(Reference::with_default_tag);
        let tags = images::tags_of(connection, &image.id)?;
        add(image, named.filter(|named| tags.contains(named)))?;
    }
    Ok(chosen)
}

fn encode(document: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(document).map_err(|error| writing(error.into()))
}

fn writing(source: io::Error) -> Error {
    Error::Stream { action: "write", object: "the archive".to_owned(), source }
}

/// tar, with members whose length is known before their content.
struct ArchiveWriter<W> {
    out: W,
    written: HashSet<Digest>,
}

impl<W: Write> ArchiveWriter<W> {
    fn header(&mut self, name: &str, kind: tar::EntryType, mode: u32, length: u64) -> Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).map_err(writing)?;
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(length);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        self.out.write_all(header.as_bytes()).map_err(writing)
    }

    fn directory(&mut self, name: &str) -> Result<()> {
        self.header(name, tar::EntryType::Directory, 0o755, 0)
    }

    fn file(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.header(name, tar::EntryType::Regular, 0o644, content.len() as u64)?;
        self.out.write_all(content).map_err(writing)?;
        self.pad(content.len() as u64)
    }

    fn blob(&mut self, media_type: &str, content: &[u8]) -> Result<Descriptor> {
        let digest = Digest::of(content);
        if self.begin_blob(&digest, content.len() as u64)? {
            self.out.write_all(content).map_err(writing)?;
            self.pad(content.len() as u64)?;
        }
        Ok(Descriptor::new(media_type, digest, content.len() as u64))
    }

    /// Whether its content has to follow; a blob is written once.
    fn begin_blob(&mut self, digest: &Digest, length: u64) -> Result<bool> {
        if !self.written.insert(digest.clone()) {
            return Ok(false);
        }
        self.header(&blob_path(digest), tar::EntryType::Regular, 0o644, length)?;
        Ok(true)
    }

    /// Fills the last block.
    fn pad(&mut self, length: u64) -> Result<()> {
        let rest = (512 - length % 512) % 512;
        self.out.write_all(&[0; 512][..rest as usize]).map_err(writing)
    }

    fn finish(mut self) -> Result<()> {
        self.out.write_all(&[0; 1024]).and_then(|()| self.out.flush()).map_err(writing)
    }
}
