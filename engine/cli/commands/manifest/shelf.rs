//! Where lists are put together: `manifests/LIST/MANIFEST` in Docker's folder, a file a manifest.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_distribution::Fetched;
use berth_image::Reference;
use berth_image::formats::Descriptor;
use serde::{Deserialize, Serialize};

use crate::registry;

/// One manifest of a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry {
    #[serde(rename = "Ref")]
    reference: String,
    pub(super) descriptor: Descriptor,
    /// The exact bytes, in base64.
    raw: String,
}

impl Entry {
    pub(super) fn new(reference: &Reference, fetched: Fetched) -> Self {
        let Fetched { descriptor, bytes } = fetched;
        Self { reference: reference.to_string(), descriptor, raw: STANDARD.encode(bytes) }
    }

    pub(super) fn reference(&self) -> anyhow::Result<Reference> {
        Ok(self.reference.parse()?)
    }

    pub(super) fn fetched(&self) -> anyhow::Result<Fetched> {
        let bytes = STANDARD.decode(&self.raw).with_context(|| format!("read the manifest of {}", self.reference))?;
        Ok(Fetched { descriptor: self.descriptor.clone(), bytes })
    }
}

/// A list that may be there or not.
pub(super) struct Shelf {
    folder: PathBuf,
}

/// A name as one of a file: neither slashes nor colons.
fn file_name(name: &Reference) -> String {
    name.to_string().replace(['/', ':'], "_")
}

impl Shelf {
    pub(super) fn of(list: &Reference) -> anyhow::Result<Self> {
        Ok(Self { folder: registry::folder()?.join("manifests").join(file_name(list)) })
    }

    pub(super) fn exists(&self) -> bool {
        self.folder.is_dir()
    }

    pub(super) fn get(&self, name: &Reference) -> anyhow::Result<Option<Entry>> {
        self.read(self.folder.join(file_name(name)))
    }

    fn read(&self, path: PathBuf) -> anyhow::Result<Option<Entry>> {
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).with_context(|| format!("read {}", path.display()))?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// Replaces the file whole.
    pub(super) fn put(&self, entry: &Entry) -> anyhow::Result<()> {
        let path = self.folder.join(file_name(&entry.reference()?));
        let at = || format!("write {}", path.display());
        std::fs::create_dir_all(&self.folder).with_context(at)?;
        let mut file = tempfile::Builder::new().prefix(".").tempfile_in(&self.folder).with_context(at)?;
        file.write_all(&serde_json::to_vec(entry)?).with_context(at)?;
        file.persist(&path).with_context(at)?;
        Ok(())
    }

    /// By name.
    pub(super) fn entries(&self) -> anyhow::Result<Vec<Entry>> {
        let at = || format!("read {}", self.folder.display());
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(&self.folder).with_context(at)? {
            let entry = entry.with_context(at)?;
            if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                paths.push(entry.path());
            }
        }
        paths.sort();
        let mut entries = Vec::new();
        for path in paths {
            entries.extend(self.read(path)?);
        }
        Ok(entries)
    }

    pub(super) fn remove(&self, list: &Reference) -> anyhow::Result<()> {
        match std::fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => bail!("No such manifest: {}", list.familiar()),
            other => other.with_context(|| format!("remove {}", self.folder.display())),
        }
    }
}
