//! Making an image's layers of archives that come from elsewhere, several at a time, in any order.
//!
//! All rows are claimed first, the lowest first, each on the one below. A layer that is complete is marked so (`diff_id`),
//! and valid once those below are. What is complete is `kept` when the work breaks off, and the next who needs it takes it
//! over by its lock, row and all.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use berth_fs_drivers::LayerOptions;
use berth_store::Lock;
use berth_store::rusqlite::{OptionalExtension, Row};

use super::chain::{Content, Made, OpenLayer, fill, insert};
use super::graph::{Owner, layer_id, lock_name, owner};
use super::{Chain, record};
use crate::digest::chain_id;
use crate::images::now;
use crate::{Digest, Error, ImageStore, Result};

/// Takes a layer's archive, not compressed, to its end.
pub type Take<'a> = dyn FnMut(&mut dyn Read) -> Result<()> + 'a;

/// Where layers' archives come from. Layers are counted from the lowest.
pub trait Supplier: Sync {
    /// Nothing is needed of layer `index`.
    fn exists(&self, index: usize);

    /// Hands over the archive of layer `index`, and after that confirms that it was what was asked for. Called from several
    /// threads at once, for one layer once.
    fn supply(&self, index: usize, take: &mut Take<'_>) -> Result<()>;

    /// Layer `index` is complete.
    fn complete(&self, index: usize);
}

/// Whether long work is to break off; asked often, by several threads.
pub type Stop<'a> = dyn Fn() -> bool + Sync + 'a;

/// How many layers may be made at a time, and who ends it.
#[derive(Clone, Copy)]
pub struct Gathering<'a> {
    pub parallel: usize,
    pub stop: &'a Stop<'a>,
}

/// One of the layers that are made.
struct Task<'a> {
    index: usize,
    number: i64,
    below: Option<i64>,
    diff_id: Digest,
    /// Given up when the layer is valid: what stands on it keeps it then.
    layer: Option<OpenLayer<'a>>,
    /// Of a layer that is complete.
    content: Option<Content>,
}

/// The lowest first; dropped in reverse, as layers cannot go before those that stand on them.
struct Tasks<'a>(Vec<Mutex<Task<'a>>>);

impl Drop for Tasks<'_> {
    fn drop(&mut self) {
        while self.0.pop().is_some() {}
    }
}

enum Claimed<'a> {
    There,
    Ours(OpenLayer<'a>, Option<Content>),
}

impl<'a> Chain<'a> {
    /// Adds the layers `diff_ids`. When that breaks off for a want of archives, and not because one was wrong, complete layers
    /// are kept.
    pub(crate) fn gather(
        &mut self,
        diff_ids: &[Digest],
        supplier: &dyn Supplier,
        gathering: Gathering<'_>,
    ) -> Result<()> {
        let images = self.images;
        let mut tasks = Tasks(Vec::new());
        for (index, diff_id) in diff_ids.iter().enumerate() {
            let (below, chain_id) = (self.top, chain_id(self.top_chain.as_ref(), diff_id));
            match self.claim_kept(&chain_id)? {
                Claimed::There => supplier.exists(index),
                Claimed::Ours(layer, content) => {
                    self.top = Some(layer.number);
                    if content.is_some() {
                        supplier.exists(index);
                    }
                    let (number, diff_id) = (layer.number, diff_id.clone());
                    tasks.0.push(Mutex::new(Task { index, number, below, diff_id, layer: Some(layer), content }));
                }
            }
            self.top_chain = Some(chain_id);
        }
        let work = Work { images, tasks: &tasks.0, supplier, gathering, failed: AtomicBool::new(false) };
        if let Err(error) = work.run() {
            if let Err(error) = images.leave(&tasks, error.is_interruption()) {
                tracing::warn!("leave the layers of a broken pull to the next sweep: {error}");
            }
            return Err(error);
        }
        for task in &tasks.0 {
            let task = &mut *lock(task);
            if let (Some(layer), Some(content)) = (task.layer.take(), task.content.take()) {
                self.made.push(Made { layer, content });
            }
        }
        Ok(())
    }

    /// Records that we are making the layer `chain_id` on top of `top`, taking over what somebody left of it.
    fn claim_kept(&mut self, chain_id: &Digest) -> Result<Claimed<'a>> {
        enum Found {
            Nobody((i64, Lock)),
            Pinned(i64, (i64, Lock)),
            Open(i64),
        }
        let (images, top) = (self.images, self.top);
        loop {
            let found = images.store.write(|transaction| match owner(transaction, chain_id)? {
                Owner::Nobody => {
                    let row = insert(images, transaction, top, Some(chain_id))?;
                    transaction
                        .prepare_cached("UPDATE layers SET kept = ?2 WHERE number = ?1")?
                        .execute((row.0, now()))?;
                    Ok::<_, Error>(Found::Nobody(row))
                }
                Owner::Valid(number) => Ok(Found::Pinned(number, insert(images, transaction, Some(number), None)?)),
                Owner::Open(number) => Ok(Found::Open(number)),
            })?;
            match found {
                Found::Nobody(row) => return Ok(Claimed::Ours(OpenLayer::new(images, row), None)),
                Found::Pinned(number, pin) => {
                    self.top = Some(number);
                    self.pin = Some(OpenLayer::new(images, pin));
                    return Ok(Claimed::There);
                }
                Found::Open(number) => {
                    let lock = Lock::acquire(&images.store.paths().locks(), &lock_name(number))?;
                    match images.left_of(number, chain_id, top)? {
                        Some(content) => {
                            return Ok(Claimed::Ours(OpenLayer::new(images, (number, lock)), content));
                        }
                        None => images.discard_locked(number, &lock)?,
                    }
                }
            }
        }
    }
}

impl ImageStore {
    /// What is left of an open layer whose lock we hold: nothing that can be used, the row, or all of it.
    fn left_of(&self, number: i64, chain_id: &Digest, top: Option<i64>) -> Result<Option<Option<Content>>> {
        let content = |row: &Row<'_>| {
            Ok((row.get::<_, Option<String>>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, row.get(3)?))
        };
        let found = self.store.write(|transaction| {
            let found = transaction
                .query_row(
                    "UPDATE layers SET kept = ?4 WHERE number = ?1 AND chain_id = ?2 AND parent IS ?3
                     AND state = 'open' AND kept IS NOT NULL RETURNING diff_id, size, archive, inherits",
                    (number, chain_id.as_str(), top, now()),
                    content,
                )
                .optional()?;
            Ok::<_, Error>(found)
        })?;
        let Some((diff_id, size, archive, inherits)) = found else { return Ok(None) };
        let Some(diff_id) = diff_id.and_then(|text| text.parse().ok()) else { return Ok(Some(None)) };
        let there = self.driver.directory(&layer_id(number)?).is_ok();
        let content = Content { diff_id, size: size as u64, archive: archive as u64, inherits };
        Ok(Some(there.then_some(content)))
    }

    /// What is to become of layers whose image has not come to be: `keep` those that are complete, or none.
    fn leave(&self, tasks: &Tasks<'_>, keep: bool) -> Result<()> {
        if !keep {
            // The open ones take those below with them when they are dropped.
            return self.store.write(|transaction| {
                for task in &tasks.0 {
                    transaction.execute("UPDATE layers SET kept = NULL WHERE number = ?1", [lock(task).number])?;
                }
                Ok(())
            });
        }
        let complete = tasks.0.iter().rposition(|task| lock(task).content.is_some()).unwrap_or(0);
        for (position, task) in tasks.0.iter().enumerate() {
            let task = &mut *lock(task);
            let Some(layer) = &mut task.layer else { continue };
            layer.settled = task.content.is_some();
            if !layer.settled && position < complete {
                // Its row stays for those that stand on it.
                let id = layer_id(task.number)?;
                self.driver.remove(&id)?;
                record::remove(self.store.paths(), &id)?;
            }
        }
        Ok(())
    }
}

struct Work<'w, 'a> {
    images: &'a ImageStore,
    tasks: &'w [Mutex<Task<'a>>],
    supplier: &'w dyn Supplier,
    gathering: Gathering<'w>,
    failed: AtomicBool,
}

impl Work<'_, '_> {
    fn run(&self) -> Result<()> {
        let together = self.images.driver.inheritor().is_some();
        if together {
            // A driver wants to see the layer below, if only its folder.
            for task in self.tasks {
                self.prepare(&lock(task))?;
            }
        }
        let next = Mutex::new(0..self.tasks.len());
        let worker = || -> Result<()> {
            loop {
                let Some(position) = lock(&next).next() else { return Ok(()) };
                self.one(position, together).inspect_err(|_| self.failed.store(true, Ordering::Relaxed))?;
                if self.is_over() {
                    return Ok(());
                }
            }
        };
        let threads = if together { self.gathering.parallel.clamp(1, self.tasks.len().max(1)) } else { 1 };
        let outcomes: Vec<Result<()>> = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(worker)).collect();
            let ours = worker();
            let join = |other: std::thread::ScopedJoinHandle<'_, _>| {
                other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            std::iter::once(ours).chain(others.into_iter().map(join)).collect()
        });
        // Who was stopped because another failed says nothing of its own.
        let mut errors: Vec<Error> = outcomes.into_iter().filter_map(Result::err).collect();
        errors.sort_by_key(|error| matches!(error, Error::Stopped));
        match errors.into_iter().next() {
            Some(error) => Err(error),
            None if (self.gathering.stop)() => Err(Error::Stopped),
            None => self.settle(),
        }
    }

    fn prepare(&self, task: &Task<'_>) -> Result<()> {
        if task.content.is_some() {
            return Ok(());
        }
        let parents = self.images.parents(task.below)?;
        self.images.prepare_fresh(&layer_id(task.number)?, &parents, &LayerOptions::default())
    }

    fn one(&self, position: usize, prepared: bool) -> Result<()> {
        let mut task = lock(&self.tasks[position]);
        if task.content.is_some() {
            return Ok(());
        }
        if !prepared {
            self.prepare(&task)?;
        }
        let parents = self.images.parents(task.below)?;
        let mut content = None;
        self.supplier.supply(task.index, &mut |archive| {
            let archive = Stoppable { inner: archive, work: self };
            let filled = fill(self.images, task.number, &parents, archive, None);
            content = Some(filled.map_err(|error| if self.is_over() { Error::Stopped } else { error })?);
            Ok(())
        })?;
        let content = content.ok_or_else(|| Error::InvalidArgument("a layer without an archive".to_owned()))?;
        if content.diff_id != task.diff_id {
            return Err(Error::InvalidArgument(format!(
                "its content has the diff ID {} and not {}, which the image's configuration says",
                content.diff_id, task.diff_id
            )));
        }
        self.images.store.write(|transaction| content.record(transaction, task.number))?;
        task.content = Some(content);
        let index = task.index;
        drop(task);
        self.supplier.complete(index);
        self.settle()
    }

    /// Makes complete layers valid that have nothing but valid ones below; all but the topmost, which has nothing on it that
    /// would keep it until its image is there.
    fn settle(&self) -> Result<()> {
        for (position, task) in self.tasks.iter().enumerate() {
            // Somebody is working on it.
            let Ok(mut task) = task.try_lock() else { return Ok(()) };
            let Some(content) = &mut task.content else { return Ok(()) };
            let inherits = std::mem::take(&mut content.inherits);
            if let Some(inheritor) = self.images.driver.inheritor().filter(|_| inherits) {
                inheritor.inherit(&layer_id(task.number)?, &self.images.parents(task.below)?)?;
            }
            if position + 1 == self.tasks.len() {
                return Ok(());
            }
            if let Some(mut layer) = task.layer.take() {
                layer.settled = true;
                self.images.store.write(|transaction| {
                    transaction.execute("UPDATE layers SET state = 'valid' WHERE number = ?1", [task.number])?;
                    Ok::<_, Error>(())
                })?;
            }
        }
        Ok(())
    }

    /// Whether somebody else has failed, or wants it to end.
    fn is_over(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || (self.gathering.stop)()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends when the whole work is over.
struct Stoppable<'s, 'w, 'a, 'r> {
    inner: &'r mut dyn Read,
    work: &'s Work<'w, 'a>,
}

impl Read for Stoppable<'_, '_, '_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.work.is_over() {
            return Err(io::Error::other("stopped"));
        }
        self.inner.read(buffer)
    }
}
