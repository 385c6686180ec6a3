//! Making an image's layers out of archives, the lowest first.
//!
//! Nothing of it counts until [`Chain::settle`] makes all of it valid in one transaction, together with the image;
//! dropped before that, it takes back what it made. A layer that another engine is making at the same time is
//! waited for and used.

use std::io::Read;

use berth_arch::host::User;
use berth_fs_drivers::diff::{UnpackOptions, unpack};
use berth_fs_drivers::mount::open_contents;
use berth_fs_drivers::{Access, LayerId, LayerOptions};
use berth_store::Lock;
use berth_store::rusqlite::Transaction;

use super::graph::{Owner, chain, layer_id, lock_name, owner};
use super::record::RecordWriter;
use crate::digest::{HashingReader, chain_id};
use crate::{Digest, Error, ImageStore, Result};

pub(crate) struct Chain<'a> {
    pub(super) images: &'a ImageStore,
    /// Rows before the layers that stand on them, so that dropping in reverse takes children first.
    pub(super) made: Vec<Made<'a>>,
    /// A row that stands on `top` so that nobody removes it meanwhile, when `top` is not ours.
    pub(super) pin: Option<OpenLayer<'a>>,
    pub(super) top: Option<i64>,
    pub(super) top_chain: Option<Digest>,
}

pub(super) struct Made<'a> {
    pub(super) layer: OpenLayer<'a>,
    pub(super) content: Content,
}

#[derive(Clone)]
pub(super) struct Content {
    pub(super) diff_id: Digest,
    /// Bytes of file content.
    pub(super) size: u64,
    /// Bytes of the archive.
    pub(super) archive: u64,
    /// Whether the root directory has to get its attributes from the layer below.
    pub(super) inherits: bool,
}

/// A layer's row that is ours while we hold its lock.
pub(super) struct OpenLayer<'a> {
    images: &'a ImageStore,
    pub(super) number: i64,
    lock: Lock,
    /// It is to stay.
    pub(super) settled: bool,
}

impl Drop for OpenLayer<'_> {
    fn drop(&mut self) {
        if !self.settled
            && let Err(error) = self.images.discard_locked(self.number, &self.lock)
        {
            tracing::warn!("leave layer {} to the next sweep: {error}", self.number);
        }
    }
}

/// Inserts a row on top of `parent`. Its lock is taken before anybody can see it.
pub(super) fn insert(
    images: &ImageStore,
    transaction: &Transaction<'_>,
    parent: Option<i64>,
    chain_id: Option<&Digest>,
) -> Result<(i64, Lock)> {
    transaction
        .prepare_cached("INSERT INTO layers (parent, chain_id, state) VALUES (?1, ?2, 'open')")?
        .execute((parent, chain_id.map(Digest::as_str)))?;
    let number = transaction.last_insert_rowid();
    Ok((number, Lock::acquire(&images.store.paths().locks(), &lock_name(number))?))
}

impl<'a> OpenLayer<'a> {
    /// Not inside a transaction: dropping it takes one.
    pub(super) fn new(images: &'a ImageStore, (number, lock): (i64, Lock)) -> Self {
        Self { images, number, lock, settled: false }
    }
}

impl Content {
    /// Records it with the layer, of the same transaction that makes it valid or says that it is complete.
    pub(super) fn record(&self, transaction: &Transaction<'_>, number: i64) -> Result<()> {
        transaction
            .prepare_cached("UPDATE layers SET diff_id = ?2, size = ?3, archive = ?4, inherits = ?5 WHERE number = ?1")?
            .execute((number, self.diff_id.as_str(), self.size as i64, self.archive as i64, self.inherits))?;
        Ok(())
    }
}

/// Dropped in reverse, as layers cannot go before those that stand on them.
impl Drop for Chain<'_> {
    fn drop(&mut self) {
        while self.made.pop().is_some() {}
    }
}

impl<'a> Chain<'a> {
    pub(crate) fn new(images: &'a ImageStore) -> Self {
        Self { images, made: Vec::new(), pin: None, top: None, top_chain: None }
    }

    /// Goes on from the layers of an image.
    pub(crate) fn on(images: &'a ImageStore, base: &Digest) -> Result<Self> {
        let mut this = Self::new(images);
        let pinned = images.store.write(|transaction| {
            let (top, chain_id): (Option<i64>, Option<String>) = transaction
                .query_row(
                    "SELECT layer, chain_id FROM images LEFT JOIN layers ON number = layer WHERE id = ?1",
                    [base.as_str()],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .map_err(|_| Error::NotFound(format!("No such image: {base}")))?;
            let pin = top.map(|top| insert(images, transaction, Some(top), None)).transpose()?;
            Ok::<_, Error>((top, chain_id, pin))
        })?;
        let (top, chain_id, pin) = pinned;
        (this.top, this.pin) = (top, pin.map(|pin| OpenLayer::new(images, pin)));
        this.top_chain = chain_id.map(|text| text.parse()).transpose()?;
        Ok(this)
    }

    /// Adds the layer whose archive has the digest `diff_id` and `expected` bytes at least. If the layer is there
    /// already, `archive` is only checked.
    pub(crate) fn add_known(&mut self, diff_id: &Digest, archive: impl Read, expected: Option<u64>) -> Result<()> {
        let chain_id = chain_id(self.top_chain.as_ref(), diff_id);
        let claimed = self.claim(&chain_id)?;
        let (found, made) = match claimed {
            Some(layer) => {
                let content = self.fill(&layer, archive, expected)?;
                (content.diff_id.clone(), Some((layer, content)))
            }
            None => (digest_of(archive)?, None),
        };
        if found != *diff_id {
            return Err(Error::InvalidArgument(format!("its content has the diff ID {found} and not {diff_id}")));
        }
        if let Some((layer, content)) = made {
            self.push(layer, content);
        }
        self.top_chain = Some(chain_id);
        Ok(())
    }

    /// Adds a layer of which nothing is known before it is read. Returns its diff ID.
    pub(crate) fn add(&mut self, archive: impl Read) -> Result<Digest> {
        let images = self.images;
        let row = images.store.write(|transaction| insert(images, transaction, self.top, None))?;
        let layer = OpenLayer::new(images, row);
        let content = self.fill(&layer, archive, None)?;
        let diff_id = content.diff_id.clone();
        let chain_id = chain_id(self.top_chain.as_ref(), &diff_id);
        let ours = self.unless_there(&chain_id, |transaction| {
            let (number, chain_id) = (layer.number, chain_id.as_str());
            transaction.execute("UPDATE layers SET chain_id = ?2 WHERE number = ?1", (number, chain_id))?;
            Ok(())
        })?;
        if ours.is_some() {
            self.push(layer, content);
        }
        self.top_chain = Some(chain_id);
        Ok(diff_id)
    }

    /// Makes everything valid, with what `f` records on top of it, and brings it to the disk. `f` gets the topmost
    /// layer and the bytes of content of them all.
    pub(crate) fn settle<T>(mut self, f: impl FnOnce(&Transaction<'_>, Option<i64>, u64) -> Result<T>) -> Result<T> {
        let value = self.images.store.write(|transaction| {
            for Made { layer, content } in &self.made {
                content.record(transaction, layer.number)?;
                transaction.execute("UPDATE layers SET state = 'valid' WHERE number = ?1", [layer.number])?;
            }
            if let Some(pin) = &self.pin {
                transaction.execute("DELETE FROM layers WHERE number = ?1", [pin.number])?;
            }
            let layers = chain(transaction, self.top)?;
            for layer in &layers {
                transaction
                    .prepare_cached("UPDATE layers SET kept = NULL WHERE number = ?1 AND kept IS NOT NULL")?
                    .execute([layer.number])?;
            }
            f(transaction, self.top, layers.iter().map(|layer| layer.size).sum())
        })?;
        for layer in self.made.iter_mut().map(|made| &mut made.layer).chain(&mut self.pin) {
            layer.settled = true;
        }
        self.images.store.sync()?;
        Ok(value)
    }

    pub(super) fn push(&mut self, layer: OpenLayer<'a>, content: Content) {
        self.top = Some(layer.number);
        self.made.push(Made { layer, content });
    }

    /// Records that we are making the layer `chain_id` on top of `top`; `None` if it is there.
    fn claim(&mut self, chain_id: &Digest) -> Result<Option<OpenLayer<'a>>> {
        let (images, top) = (self.images, self.top);
        let row = self.unless_there(chain_id, |transaction| insert(images, transaction, top, Some(chain_id)))?;
        Ok(row.map(|row| OpenLayer::new(images, row)))
    }

    /// Calls `f` if nobody has `chain_id`. If it is there, it becomes the top; if somebody is making it, waits.
    pub(super) fn unless_there<T>(
        &mut self,
        chain_id: &Digest,
        f: impl Fn(&Transaction<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        enum Found<T> {
            Nobody(T),
            Pinned(i64, (i64, Lock)),
            Open(i64),
        }
        let images = self.images;
        loop {
            let found = images.store.write(|transaction| match owner(transaction, chain_id)? {
                Owner::Nobody => f(transaction).map(Found::Nobody),
                Owner::Valid(number) => Ok(Found::Pinned(number, insert(images, transaction, Some(number), None)?)),
                Owner::Open(number) => Ok(Found::Open(number)),
            })?;
            match found {
                Found::Nobody(value) => return Ok(Some(value)),
                Found::Pinned(number, pin) => {
                    self.top = Some(number);
                    self.pin = Some(OpenLayer::new(images, pin));
                    return Ok(None);
                }
                Found::Open(number) => {
                    let lock = Lock::acquire(&images.store.paths().locks(), &lock_name(number))?;
                    images.discard_locked(number, &lock)?;
                }
            }
        }
    }

    fn fill(&self, layer: &OpenLayer<'_>, archive: impl Read, expected: Option<u64>) -> Result<Content> {
        let parents = self.images.parents(self.top)?;
        self.images.prepare_fresh(&layer_id(layer.number)?, &parents, &LayerOptions::default())?;
        fill(self.images, layer.number, &parents, archive, expected)
    }
}

impl ImageStore {
    /// The driver's names of a new layer's parents, whose topmost is `top`.
    pub(super) fn parents(&self, top: Option<i64>) -> Result<Vec<LayerId>> {
        self.store.read(|connection| super::graph::chain_ids(connection, top))
    }
}

/// Unpacks `archive` into the prepared layer `number` and brings it to the disk.
pub(super) fn fill(
    images: &ImageStore,
    number: i64,
    parents: &[LayerId],
    archive: impl Read,
    expected: Option<u64>,
) -> Result<Content> {
    let id = layer_id(number)?;
    let mut record = RecordWriter::create(images.store.paths(), &id)?;
    let mut reader = HashingReader::new(archive);
    let in_user_namespace = User::detect().in_user_namespace;
    let options = UnpackOptions { in_user_namespace, expected, record: Some(&mut record) };
    let driver = &*images.driver;
    let root = open_contents(driver, &id, parents, Access::ReadWrite)?;
    let unpacked = unpack(&mut reader, root, driver.whiteouts(), options)?;
    record.finish()?;
    images.driver.commit(&id)?;
    let (diff_id, archive) = reader.finish();
    Ok(Content { diff_id, size: unpacked.bytes, archive, inherits: !unpacked.root })
}

fn digest_of(archive: impl Read) -> Result<Digest> {
    let mut reader = HashingReader::new(archive);
    std::io::copy(&mut reader, &mut std::io::sink()).map_err(|source| Error::Stream {
        action: "read",
        object: "the layer's archive".to_owned(),
        source,
    })?;
    Ok(reader.finish().0)
}
