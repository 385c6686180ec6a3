//! Making volumes: by themselves, and together with the container that names them.

use std::collections::BTreeMap;

use berth_api::models::VolumeCreateRequest;
use berth_store::Lock;
use rusqlite::Transaction;

use super::list::VolumeInfo;
use super::local::{self, Backing};
use super::record::{self, Phase, Volume};
use super::settle::{driver_of, volumes_of};
use crate::containers::random_id;
use crate::settings::mounts::{Kind, Point};
use crate::settings::volumes::{self, ANONYMOUS, VolumeMount};
use crate::{Container, Engine, Error, Result, time};

/// Volumes that come into being with a container. Their locks are held until it is made.
#[derive(Default)]
pub(crate) struct Making {
    locks: Vec<Lock>,
    /// Those that this container makes, in phase `creating` once its row is there.
    volumes: Vec<Volume>,
    /// Of these, those that a plugin made for us: they go if the container does not come about.
    by_plugin: Vec<String>,
}

impl Engine {
    /// The volume, made if it is not there. One that is there is taken as it is, if the driver is the same.
    pub fn create_volume(&self, request: VolumeCreateRequest) -> Result<VolumeInfo> {
        if request.cluster_volume_spec.is_some() {
            return Err(Error::Unsupported("volumes of a cluster: berth has no swarm mode".to_owned()));
        }
        let driver = request.driver.unwrap_or_default();
        let mut labels: BTreeMap<_, _> = request.labels.unwrap_or_default().into_iter().collect();
        let name = match request.name.filter(|name| !name.is_empty()) {
            Some(name) => name,
            None => {
                labels.insert(ANONYMOUS.to_owned(), String::new());
                random_id()?
            }
        };
        volumes::check_name(&name, &driver)?;
        let wanted = VolumeMount {
            anonymous: labels.contains_key(ANONYMOUS),
            driver,
            options: request.driver_opts.unwrap_or_default().into_iter().collect(),
            labels,
            name,
            ..VolumeMount::default()
        };
        let _lock = self.lock_volume(&wanted.name)?;
        self.settle_left_over(&wanted.name)?;
        if let Some(found) = self.store().read(|connection| record::find(connection, &wanted.name))? {
            same_driver(&found, &wanted)?;
            return self.volume_info(&found);
        }
        let volume = self.new_volume(&wanted)?;
        self.store().write(|transaction| volume.insert(transaction))?;
        let made = self.usual_root().and_then(|root| self.make_volume(&volume, root));
        if let Err(error) = made {
            self.discard_row(&volume);
            return Err(error);
        }
        self.store().write(|transaction| record::set_phase(transaction, &volume.name, Phase::Ready).map(drop))?;
        self.emit_volume(&volume, "create");
        self.volume_info(&volume)
    }

    /// What there is to be known before anything is made: the driver is there, the options mean something.
    fn new_volume(&self, wanted: &VolumeMount) -> Result<Volume> {
        let volume = Volume {
            name: wanted.name.clone(),
            driver: driver_of(&wanted.driver).to_owned(),
            created: time::now(),
            anonymous: wanted.anonymous,
            phase: Phase::Creating,
            options: wanted.options.clone(),
            labels: wanted.labels.clone(),
        };
        let about = |error: Error| match error {
            Error::InvalidArgument(why) => Error::InvalidArgument(format!("create {}: {why}", volume.name)),
            Error::NotFound(why) => Error::NotFound(format!("create {}: {why}", volume.name)),
            other => other,
        };
        if volume.is_local() {
            local::backing(&volume.options).map_err(about)?;
        } else {
            self.plugin(&volume.driver).map_err(about)?;
        }
        Ok(volume)
    }

    /// Behind a row in phase `creating`, with the lock. True if a plugin was asked to make it, and did.
    fn make_volume(&self, volume: &Volume, root: Option<(u32, u32)>) -> Result<bool> {
        if volume.is_local() {
            return self.make_volume_folder(volume, root).map(|()| false);
        }
        let plugin = self.plugin(&volume.driver)?;
        if plugin.get(&volume.name).is_ok() {
            return Ok(false);
        }
        plugin.create(&volume.name, &volume.options)?;
        Ok(true)
    }

    /// Before a container's transaction: locks what does not exist yet, and sees that it can be made.
    pub(crate) fn begin_volumes(&self, points: &[Point]) -> Result<Making> {
        let mut wanted: BTreeMap<&str, &VolumeMount> = BTreeMap::new();
        for (_, volume) in volumes_of(points) {
            wanted.entry(&volume.name).or_insert(volume);
        }
        let mut making = Making::default();
        // In the order of their names, so that two that want the same ones do not wait for each other.
        for volume in wanted.into_values() {
            let found = self.store().read(|connection| record::find(connection, &volume.name))?;
            if let Some(found) = found.filter(|found| found.phase == Phase::Ready) {
                same_driver(&found, volume)?;
                continue;
            }
            let lock = self.lock_volume(&volume.name)?;
            self.settle_left_over(&volume.name)?;
            match self.store().read(|connection| record::find(connection, &volume.name))? {
                Some(found) => same_driver(&found, volume)?,
                None => {
                    making.volumes.push(self.new_volume(volume)?);
                    making.locks.push(lock);
                }
            }
        }
        Ok(making)
    }

    /// In the transaction that has just inserted the container's row. Notes in `points` what driver each volume has.
    /// False: a volume has come or gone since its lock was taken, or not taken; nothing of this may be committed.
    pub(crate) fn take_volumes(
        &self,
        transaction: &Transaction<'_>,
        container: &str,
        making: &Making,
        points: &mut [Point],
    ) -> Result<bool> {
        for volume in &making.volumes {
            if record::phase(transaction, &volume.name)?.is_some() {
                return Ok(false);
            }
            volume.insert(transaction)?;
        }
        for point in points {
            let Kind::Volume(mount) = &mut point.kind else { continue };
            let Some(found) = record::find(transaction, &mount.name)? else { return Ok(false) };
            let ours = making.volumes.iter().any(|volume| volume.name == found.name);
            if !ours && found.phase != Phase::Ready {
                return Ok(false);
            }
            mount.driver = found.driver;
            transaction
                .prepare_cached("INSERT OR IGNORE INTO volume_uses (volume, container) VALUES (?1, ?2)")?
                .execute([mount.name.as_str(), container])?;
        }
        Ok(true)
    }

    /// Makes the new volumes and fills those that are to be filled from the container's image.
    pub(crate) fn make_volumes(&self, container: &Container, making: &mut Making) -> Result<()> {
        for volume in &making.volumes {
            if self.make_volume(volume, container.root_outside())? {
                making.by_plugin.push(volume.name.clone());
            }
        }
        let Some(points) = &container.mounts else { return Ok(()) };
        for (point, mount) in volumes_of(points) {
            let (volume, _lock) = match making.volumes.iter().find(|volume| volume.name == mount.name) {
                Some(volume) => (volume.clone(), None),
                None => (self.find_volume(&mount.name)?, Some(self.lock_volume(&mount.name)?)),
            };
            if mount.subpath.is_some()
                && volume.is_local()
                && let Backing::FileSystem { kind, .. } = local::backing(&volume.options)?
                && kind == "tmpfs"
            {
                return Err(Error::invalid(format!(
                    "volume-subpath: volume {} is a tmpfs, which is empty at every start",
                    volume.name
                )));
            }
            self.fill_volume(&volume, container, point, mount)?;
        }
        Ok(())
    }

    /// In the transaction that makes the container ready.
    pub(crate) fn volumes_ready(&self, transaction: &Transaction<'_>, making: &Making) -> Result<()> {
        for volume in &making.volumes {
            record::set_phase(transaction, &volume.name, Phase::Ready)?;
        }
        Ok(())
    }

    /// After that transaction.
    pub(crate) fn volumes_made(&self, making: Making) {
        for volume in &making.volumes {
            self.emit_volume(volume, "create");
        }
    }

    /// The container has not come about, and its row is gone: neither do they.
    pub(crate) fn undo_volumes(&self, making: Making) {
        for volume in &making.volumes {
            if making.by_plugin.contains(&volume.name)
                && let Err(error) = self.plugin(&volume.driver).and_then(|plugin| plugin.remove(&volume.name))
            {
                tracing::warn!("undo the creation of volume {}: {error}", volume.name);
            }
            self.discard_row(volume);
        }
        drop(making.locks);
    }

    /// With the lock: takes a volume that was not finished away, but never what a plugin has.
    fn discard_row(&self, volume: &Volume) {
        if let Err(error) = self.erase_volume(volume, false) {
            tracing::warn!("undo the creation of volume {}: {error}", volume.name);
        }
    }

    pub(crate) fn emit_volume(&self, volume: &Volume, action: &str) {
        let attributes = [("driver".to_owned(), volume.driver.clone())];
        self.emit("volume", action, &volume.name, attributes.into_iter().collect());
    }
}

/// Docker's words.
fn same_driver(found: &Volume, wanted: &VolumeMount) -> Result<()> {
    if !wanted.driver.is_empty() && wanted.driver != found.driver {
        return Err(Error::Conflict(format!(
            "create {}: conflict: volume name must be unique: there is one of driver {}",
            found.name, found.driver
        )));
    }
    Ok(())
}
