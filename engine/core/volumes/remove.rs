//! Removing volumes, and finishing what dead engines left half-way.

use std::ffi::OsStr;
use std::os::fd::AsFd;

use berth_fs_drivers::content;
use rusqlite::Transaction;
use rustix::fs::{Mode, OFlags};

use super::record::{self, Phase, Volume};
use super::settle::volumes_of;
use crate::{Container, Engine, Error, Result};

impl Engine {
    /// `force`: one that is not there is removed, and so is one that its plugin cannot remove.
    pub fn remove_volume(&self, name: &str, force: bool) -> Result<()> {
        match self.remove_unused(name, force) {
            Err(Error::NotFound(_)) if force => Ok(()),
            other => other,
        }
    }

    fn remove_unused(&self, name: &str, force: bool) -> Result<()> {
        if self.store().read(|connection| record::phase(connection, name))?.is_none() {
            return self.remove_of_plugin(name);
        }
        let _lock = self.lock_volume(name)?;
        self.settle_left_over(name)?;
        let volume = self.store().write(|transaction| {
            let volume = record::find(transaction, name)?.ok_or_else(|| record::no_such(name))?;
            let users = record::users(transaction, name)?;
            if !users.is_empty() {
                return Err(Error::Conflict(format!("remove {name}: volume is in use - [{}]", users.join(", "))));
            }
            record::set_phase(transaction, name, Phase::Removing)?;
            Ok(volume)
        })?;
        match self.erase_volume(&volume, true) {
            Err(error) if !volume.is_local() && force => {
                tracing::warn!("remove volume {name} by force: {error}");
                self.store().write(|transaction| record::delete(transaction, name))?;
            }
            Err(error) => {
                // Of a local volume nobody knows what is left; the next engine goes on.
                if !volume.is_local() {
                    self.store().write(|transaction| record::set_phase(transaction, name, Phase::Ready).map(drop))?;
                }
                return Err(error);
            }
            Ok(()) => {}
        }
        self.emit_volume(&volume, "destroy");
        Ok(())
    }

    /// One that only a plugin knows.
    fn remove_of_plugin(&self, name: &str) -> Result<()> {
        let (plugin, _) = self.find_in_plugins(name).ok_or_else(|| record::no_such(name))?;
        plugin.remove(name)
    }

    /// With the lock, of a volume in phase `creating` or `removing`: takes content and row away. Idempotent. `of_plugin`:
    /// a plugin is to remove it too.
    pub(super) fn erase_volume(&self, volume: &Volume, of_plugin: bool) -> Result<()> {
        if volume.is_local() {
            let all = self.volumes_folder();
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            match rustix::fs::open(&all, flags, Mode::empty()) {
                Ok(folder) => content::remove(folder.as_fd(), OsStr::new(&volume.name))
                    .map_err(Error::io("remove", self.volume_folder(&volume.name)))?,
                Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(Error::io("open", all)(error.into())),
            }
        } else if of_plugin {
            self.plugin(&volume.driver)?.remove(&volume.name)?;
        }
        self.store().write(|transaction| record::delete(transaction, &volume.name))
    }

    /// With the lock: what somebody who died was making or removing is removed.
    pub(super) fn settle_left_over(&self, name: &str) -> Result<()> {
        let found = self.store().read(|connection| record::find(connection, name))?;
        let Some(volume) = found.filter(|volume| volume.phase != Phase::Ready) else { return Ok(()) };
        // Whether a plugin's half-made volume was there before nobody knows: it stays with the plugin.
        self.erase_volume(&volume, volume.phase == Phase::Removing)
    }

    /// As [`Engine::settle_left_over`] for one that nobody holds.
    pub(crate) fn sweep_volume(&self, name: &str) {
        let swept = || {
            let Some(_lock) = self.try_lock_volume(name)? else { return Ok(()) };
            self.settle_left_over(name)
        };
        if let Err(error) = swept() {
            tracing::warn!("remove the half-made or half-removed volume {name}: {error}");
        }
    }

    /// In the transaction that has just deleted the container's row: marks its anonymous volumes that nobody else uses.
    /// [`Engine::remove_marked`] removes them; if nobody does, the next engine.
    pub(crate) fn mark_anonymous(&self, transaction: &Transaction<'_>, container: &Container) -> Result<Vec<String>> {
        let mut marked = Vec::new();
        for (_, mount) in
            volumes_of(container.mounts.as_deref().unwrap_or_default()).filter(|(_, mount)| mount.anonymous)
        {
            let changed = transaction
                .prepare_cached(
                    "UPDATE volumes SET phase = 'removing' WHERE name = ?1 AND anonymous AND phase = 'ready'
                     AND NOT EXISTS (SELECT 1 FROM volume_uses WHERE volume = ?1)",
                )?
                .execute([&mount.name])?;
            if changed > 0 {
                marked.push(mount.name.clone());
            }
        }
        Ok(marked)
    }

    pub(crate) fn remove_marked(&self, names: &[String]) {
        for name in names {
            let removed = || {
                let _lock = self.lock_volume(name)?;
                let found = self.store().read(|connection| record::find(connection, name))?;
                // Somebody may have been faster.
                let Some(volume) = found.filter(|volume| volume.phase == Phase::Removing) else { return Ok(()) };
                self.erase_volume(&volume, true)?;
                self.emit_volume(&volume, "destroy");
                Ok::<_, Error>(())
            };
            if let Err(error) = removed() {
                tracing::warn!("remove the anonymous volume {name}: {error}");
            }
        }
    }
}
