//! `berth storage migrate`: the layers of images and containers go to another storage driver.
//!
//! Everything is copied under the numbers that it has, then one transaction makes the new driver the state's, then the
//! old one's folder is removed. What is interrupted before that transaction is gone on with by the next call; the images'
//! layers that had been copied are not copied again. Nobody else works on the state meanwhile (`hold.rs`).

use std::collections::HashSet;
use std::sync::Arc;

use berth_api::check::StorageMigration;
use berth_fs_drivers::registry;
use berth_image::{ImageStore, OnProgress};
use berth_store::Store;

use super::{Hold, KEY, forget, get, names, set};
use crate::containers::record::Phase;
use crate::settings::storage::layer_options;
use crate::{Engine, EngineConfig, Error, Result};

/// The row of `meta` that keeps which driver the layers are being copied to, and the numbers of those that are there:
/// `btrfs 1 2 3`.
const COPYING: &str = "migration";
/// The row that keeps which driver's folder is to go.
const LEAVING: &str = "leaving";

/// A copy that was begun.
struct Copy {
    to: String,
    done: HashSet<i64>,
}

impl Engine {
    /// Moves all layers to the driver `to`. An error takes back what was copied and leaves the state as it was; after a
    /// kill, a second call goes on. This engine must not be used any more afterwards.
    pub fn migrate_storage(&self, to: &str, progress: &mut OnProgress<'_>) -> Result<StorageMigration> {
        let to = match names(to)?[..] {
            [name] if super::exists(name) => name,
            _ => {
                return Err(Error::invalid(format!(
                    "storage driver {to:?}: name one of those that berth doctor lists"
                )));
            }
        };
        let _alone = self.alone()?;
        // With the driver that the state has, whatever this engine was to take.
        let config = EngineConfig { storage_driver: None, ..EngineConfig::clone(&self.config()) };
        let here = Self::with(config, self.store().clone(), None)?;
        here.usable_storage()?;
        here.nothing_runs()?;
        here.finish_leaving()?;
        here.images().discard_given()?;
        let from = here.storage().name;
        let copy = copying(here.store())?;
        if let Some(other) = copy.as_ref().filter(|copy| copy.to != to) {
            here.abandon(&other.to)?;
        }
        let nothing = StorageMigration { from: from.to_owned(), to: to.to_owned(), ..StorageMigration::default() };
        if from == to {
            return Ok(nothing);
        }
        let target = registry::select(&here.paths().state, Some(to), None)?.driver;
        let target = ImageStore::new(here.store().clone(), Arc::from(target), here.host().platform.clone());
        let done = copy.filter(|copy| copy.to == to).map(|copy| copy.done).unwrap_or_default();
        let copied = match here.copy_all(&target, done, progress) {
            Ok(copied) => copied,
            Err(error) => {
                here.abandon(to)?;
                return Err(error);
            }
        };
        here.store().write(|transaction| {
            set(transaction, KEY, to)?;
            set(transaction, LEAVING, from)?;
            forget(transaction, COPYING)
        })?;
        here.store().sync()?;
        here.finish_leaving()?;
        Ok(StorageMigration { layers: copied.layers, containers: copied.containers, bytes: copied.bytes, ..nothing })
    }

    /// What `storage check` says of a move that was interrupted.
    pub(crate) fn unfinished_migration(&self) -> Result<Option<String>> {
        let from = self.storage().name;
        let copying = copying(self.store())?.map(|copy| {
            let Copy { to, done } = copy;
            format!(
                "a move from {from} to {to} was interrupted ({} layers are copied): berth storage migrate --to {to} goes \
                 on, --to {from} takes it back",
                done.len()
            )
        });
        let leaving = self.store().read(|connection| get(connection, LEAVING))?.map(|old| {
            format!(
                "the move from {old} was interrupted while it cleared up: berth storage migrate --to {from} ends it"
            )
        });
        Ok(copying.or(leaving))
    }

    fn alone(&self) -> Result<Alone<'_>> {
        let hold =
            self.storage_hold().ok_or_else(|| Error::Internal("this engine has no hold of the state".to_owned()))?;
        if !hold.alone() {
            return Err(Error::Conflict(format!(
                "the state in {} is in use by other berth commands, or a daemon: let them end or stop them, and try again",
                self.paths().state.display()
            )));
        }
        Ok(Alone(hold))
    }

    fn nothing_runs(&self) -> Result<()> {
        let mut running = Vec::new();
        for container in self.containers()? {
            if self.state(&container)?.status.is_up() {
                running.push(container.name);
            }
        }
        match &running[..] {
            [] => Ok(()),
            names => Err(Error::Conflict(format!(
                "the storage of {} cannot move while they run: stop them first (berth stop {})",
                super::named("container", names),
                names.join(" ")
            ))),
        }
    }

    fn copy_all(
        &self,
        target: &ImageStore,
        mut done: HashSet<i64>,
        progress: &mut OnProgress<'_>,
    ) -> Result<StorageMigration> {
        let to = target.driver().name();
        let before = done.clone();
        note(self.store(), to, &done)?;
        let mut copied = |number| {
            done.insert(number);
            note(self.store(), to, &done).map_err(|error| match error {
                Error::Store(error) => error.into(),
                other => berth_image::Error::Conflict(other.to_string()),
            })
        };
        let images = self.images().copy_images(target, &before, &mut copied, progress)?;
        let mut all = StorageMigration { layers: images.layers, bytes: images.bytes, ..StorageMigration::default() };
        for container in self.containers()? {
            let Some(number) = container.layer.filter(|_| container.phase == Phase::Ready) else { continue };
            let options = layer_options(container.host_config.storage_opt.as_ref(), &self.config().storage_options)?;
            let copied = self.images().copy_container(target, number, &container.name, &options, progress)?;
            all.containers += 1;
            all.bytes += copied.bytes;
        }
        // Of layers that were removed between two calls.
        target.scrub()?;
        Ok(all)
    }

    /// Takes back a copy to `to`.
    fn abandon(&self, to: &str) -> Result<()> {
        registry::retire(&self.paths().state, to)?;
        self.store().write(|transaction| forget(transaction, COPYING))
    }

    /// Removes the folder of the driver that the layers have left.
    fn finish_leaving(&self) -> Result<()> {
        let Some(old) = self.store().read(|connection| get(connection, LEAVING))? else { return Ok(()) };
        registry::retire(&self.paths().state, &old)?;
        self.store().write(|transaction| forget(transaction, LEAVING))
    }
}

struct Alone<'a>(&'a Hold);

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.0.share();
    }
}

fn copying(store: &Store) -> Result<Option<Copy>> {
    let Some(text) = store.read(|connection| get(connection, COPYING))? else { return Ok(None) };
    let mut words = text.split(' ');
    let to = words.next().unwrap_or_default().to_owned();
    Ok(Some(Copy { to, done: words.filter_map(|word| word.parse().ok()).collect() }))
}

fn note(store: &Store, to: &str, done: &HashSet<i64>) -> Result<()> {
    let numbers = done.iter().map(i64::to_string);
    let text = std::iter::once(to.to_owned()).chain(numbers).collect::<Vec<_>>().join(" ");
    store.write(|transaction| set(transaction, COPYING, &text))
}
