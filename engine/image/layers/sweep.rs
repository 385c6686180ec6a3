//! Removing layers, and finding what interrupted work left.

use berth_fs_drivers::LayerId;
use berth_store::Lock;
use berth_store::rusqlite::OptionalExtension;

use super::graph::{LOCK_PREFIX, layer_id, lock_name, release_unneeded};
use super::record;
use crate::images::now;
use crate::{Error, ImageStore, Result};

/// How long what an interrupted pull has completed is kept for the next one, in nanoseconds.
const KEPT: i64 = 24 * 60 * 60 * 1_000_000_000;

impl ImageStore {
    /// Removes released layers' data and records, and image layers that nobody needs without them. Idempotent.
    pub fn discard_layers(&self, numbers: &[i64]) -> Result<()> {
        self.sync_release(numbers);
        for &number in numbers {
            let lock = Lock::acquire(&self.store.paths().locks(), &lock_name(number))?;
            self.discard_locked(number, &lock)?;
        }
        Ok(())
    }

    /// A power cut must not bring back the record of a layer whose data has gone: that it goes is on the disk first. Once for
    /// all; on a full disk the removal, which makes room, does not wait for it.
    fn sync_release(&self, numbers: &[i64]) {
        if !numbers.is_empty() {
            let _ = self.store.sync();
        }
    }

    /// Discards what interrupted work left. One indexed query when there is nothing to do.
    pub fn sweep(&self) -> Result<()> {
        let unsettled: Vec<i64> = self.store.read(|connection| {
            // A layer's children have higher numbers, but for those that only hold on to it.
            let mut statement = connection.prepare_cached(
                "SELECT number FROM layers WHERE state <> 'valid' AND (kept IS NULL OR (diff_id IS NULL
                 AND NOT EXISTS (SELECT 1 FROM layers AS child WHERE child.parent = layers.number)))
                 ORDER BY number DESC",
            )?;
            Ok::<_, Error>(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
        })?;
        self.forget_kept(now() - KEPT)?;
        if unsettled.is_empty() {
            return Ok(());
        }
        self.sync_release(&unsettled);
        let mut left = false;
        for number in unsettled {
            if let Some(lock) = Lock::try_acquire(&self.store.paths().locks(), &lock_name(number))? {
                left = true;
                self.discard_locked(number, &lock)?;
            }
        }
        // Where others are at work with all of them, nothing was interrupted: their files are theirs.
        if left { self.sweep_files() } else { Ok(()) }
    }

    /// Removes what pulls that broke off before `time` (nanoseconds after the epoch) have left to the next.
    pub(crate) fn forget_kept(&self, time: i64) -> Result<()> {
        let old: Vec<i64> = self.store.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT number FROM layers WHERE kept < ?1 ORDER BY number DESC")?;
            Ok::<_, Error>(statement.query_map([time], |row| row.get(0))?.collect::<Result<_, _>>()?)
        })?;
        for number in old {
            // Whoever is making it holds the lock.
            let Some(lock) = Lock::try_acquire(&self.store.paths().locks(), &lock_name(number))? else { continue };
            let released = self.store.write(|transaction| {
                transaction.execute("UPDATE layers SET kept = NULL WHERE number = ?1", [number])?;
                release_unneeded(transaction, Some(number))
            })?;
            self.discard_locked(number, &lock)?;
            drop(lock);
            self.discard_layers(&released.into_iter().map(|(number, _)| number).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// Files without a meaning that were left in the moment between two system calls.
    pub fn sweep_files(&self) -> Result<()> {
        let paths = self.store.paths();
        crate::spool::sweep(&paths.scratch());
        for entry in std::fs::read_dir(paths.locks()).into_iter().flatten().flatten() {
            if let Some(name) = entry.file_name().to_str().filter(|name| name.starts_with(LOCK_PREFIX)) {
                drop(Lock::try_acquire(&paths.locks(), name)?);
            }
        }
        Ok(self.driver.sweep()?)
    }

    /// Removes what the driver keeps without a record, as a power cut can leave it.
    pub fn scrub(&self) -> Result<()> {
        for id in self.left_over()? {
            self.driver.remove(&id)?;
            record::remove(self.store.paths(), &id)?;
        }
        self.sweep_files()
    }

    /// What the driver keeps without a record.
    pub(super) fn left_over(&self) -> Result<Vec<LayerId>> {
        // The record comes first and goes last, so what is listed before the records are read has one or is left over.
        let found = self.driver.list()?;
        let known: std::collections::HashSet<i64> = self.store.read(|connection| {
            let mut statement = connection.prepare("SELECT number FROM layers")?;
            Ok::<_, Error>(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
        })?;
        let is_ours = |id: &LayerId| {
            let number = i64::from_str_radix(id.as_str(), 36).ok();
            number.is_some_and(|number| !known.contains(&number) && layer_id(number).ok().as_ref() == Some(id))
        };
        Ok(found.into_iter().filter(is_ours).collect())
    }

    /// With the layer's lock: its data, then its row, then what only this layer needed. What is valid, gone or
    /// still stood on is left alone.
    pub(super) fn discard_locked(&self, number: i64, _lock: &Lock) -> Result<()> {
        let going = self.store.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT 1 FROM layers WHERE number = ?1 AND state <> 'valid'
                 AND NOT EXISTS (SELECT 1 FROM layers AS child WHERE child.parent = ?1)",
            )?;
            Ok::<_, Error>(statement.exists([number])?)
        })?;
        if !going {
            return Ok(());
        }
        let id = layer_id(number)?;
        self.driver.remove(&id)?;
        record::remove(self.store.paths(), &id)?;
        let freed = self.store.write(|transaction| {
            let parent: Option<Option<i64>> = transaction
                .prepare_cached("DELETE FROM layers WHERE number = ?1 AND state <> 'valid' RETURNING parent")?
                .query_row([number], |row| row.get(0))
                .optional()?;
            release_unneeded(transaction, parent.flatten())
        })?;
        let freed: Vec<i64> = freed.into_iter().map(|(number, _)| number).collect();
        self.discard_layers(&freed)
    }
}
