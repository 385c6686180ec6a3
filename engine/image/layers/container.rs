//! Containers' writable layers.

use std::io::Write;

use berth_arch::IdMap;
use berth_arch::mount::Mount;
use berth_fs_drivers::diff::{self, Owners};
use berth_fs_drivers::{Access, Change, LayerId, LayerOptions, Usage, mount, owners};
use berth_store::rusqlite::{Connection, OptionalExtension, Transaction};

use super::given;
use super::graph::{chain_ids, layer_id, release_unneeded};
use super::mount_points::MountPoints;
use crate::{Error, ImageId, ImageStore, Result};

/// A container's writable layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerLayer {
    /// What `containers.layer` keeps.
    pub number: i64,
    pub id: LayerId,
    /// Nearest first.
    pub parents: Vec<LayerId>,
    /// Whose its files are on the disk, if the nearest of the parents gives the image to others.
    pub given: Option<IdMap>,
}

impl ContainerLayer {
    /// Whose the files are in archives: the container's users by its own numbers.
    fn owners(&self) -> Owners<'_> {
        self.given.as_ref().map_or(Owners::AsTheyAre, Owners::Inside)
    }
}

/// Called with each change.
pub type Visit<'a> = dyn FnMut(Change<'_>) -> std::io::Result<()> + Send + 'a;

impl ImageStore {
    /// Records a writable layer on top of `image`, in the transaction that records its container: whoever owns the
    /// container's record owns the layer from then on. [`ImageStore::prepare_container_layer`] makes it after the
    /// transaction. `given`: on the layer that [`ImageStore::give`] has made.
    pub fn insert_container_layer(
        &self,
        transaction: &Transaction<'_>,
        image: &ImageId,
        given: Option<&IdMap>,
    ) -> Result<ContainerLayer> {
        let mut top = given::top(transaction, image)?;
        if let Some(map) = given {
            top = Some(given::ready(transaction, top, map)?);
        }
        transaction.prepare_cached("INSERT INTO layers (parent, state) VALUES (?1, 'valid')")?.execute([top])?;
        let number = transaction.last_insert_rowid();
        Ok(ContainerLayer {
            number,
            id: layer_id(number)?,
            parents: chain_ids(transaction, top)?,
            given: given.cloned(),
        })
    }

    /// Makes the recorded layer on disk. On an error nothing of it is left but the record.
    pub fn prepare_container_layer(&self, layer: &ContainerLayer, options: &LayerOptions) -> Result<()> {
        self.prepare_fresh(&layer.id, &self.all_parents(layer)?, options)
    }

    pub fn container_layer(&self, number: i64) -> Result<ContainerLayer> {
        self.store.read(|connection| container_layer(connection, number))
    }

    /// What the driver stacks the layer on: the image, and the places to mount on.
    pub(super) fn all_parents(&self, layer: &ContainerLayer) -> Result<Vec<LayerId>> {
        Ok(layer.parents.iter().cloned().chain(self.mount_points()?).collect())
    }

    /// The mounts that show the container's files as the host sees them, with the container's users as owners if it has `users`
    /// of its own; the first one's target is `/`.
    pub fn container_mounts(&self, number: i64, users: Option<&IdMap>, access: Access) -> Result<Vec<Mount>> {
        let layer = self.container_layer(number)?;
        let mut mounts = self.driver.mounts(&layer.id, &self.all_parents(&layer)?, access)?;
        if let Some(map) = users
            && layer.given.is_none()
        {
            // The kernel is not always the one that it was made on.
            if let Some(why) = self.maps_no_owners(map)? {
                return Err(Error::Unsupported(format!(
                    "the container has users of its own, and the storage driver {} cannot map the owners of its files here: \
                     {why}; make the container again",
                    self.driver.name()
                )));
            }
            owners::map(&mut mounts, map);
        }
        Ok(mounts)
    }

    /// Removes the layer's data, for the owner of the container's record, who calls [`Self::forget_container_layer`]
    /// next. Idempotent.
    pub fn remove_container_layer(&self, number: i64) -> Result<()> {
        Ok(self.driver.remove(&layer_id(number)?)?)
    }

    /// Takes the layer's record away, in the transaction that takes the container's. Returns image layers that nobody
    /// needs any more: [`ImageStore::discard_layers`] removes them after the transaction; if nobody does, the next sweep.
    pub fn forget_container_layer(&self, transaction: &Transaction<'_>, number: i64) -> Result<Vec<i64>> {
        let parent: Option<Option<i64>> = transaction
            .prepare_cached("DELETE FROM layers WHERE number = ?1 AND chain_id IS NULL RETURNING parent")?
            .query_row([number], |row| row.get(0))
            .optional()?;
        Ok(release_unneeded(transaction, parent.flatten())?.into_iter().map(|(number, _)| number).collect())
    }

    /// What the container changed, parents before children, sorted by name.
    pub fn changes(&self, number: i64, visit: &mut Visit<'_>) -> Result<()> {
        let layer = self.container_layer(number)?;
        Ok(self.own_changes(&layer.id, &self.all_parents(&layer)?, visit)?)
    }

    /// Bytes and inodes of what the container wrote.
    pub fn container_usage(&self, number: i64) -> Result<Usage> {
        Ok(self.driver.usage(&layer_id(number)?)?)
    }

    /// Writes what the container changed as a layer archive.
    pub fn pack_changes(&self, number: i64, out: impl Write + Send) -> Result<()> {
        let layer = self.container_layer(number)?;
        let parents = self.all_parents(&layer)?;
        diff::pack_changes(&*self.driver, &layer.id, &parents, layer.owners(), out, &mut |visit| {
            self.own_changes(&layer.id, &parents, visit)
        })?;
        Ok(())
    }

    /// Without the places for what is mounted into every container, where they had to be made in its layer.
    fn own_changes(
        &self,
        id: &LayerId,
        parents: &[LayerId],
        visit: &mut dyn FnMut(Change<'_>) -> std::io::Result<()>,
    ) -> berth_fs_drivers::Result<()> {
        let mut kept = MountPoints::default();
        diff::changes(&*self.driver, id, parents, &mut |change| kept.pass(change, visit))?;
        kept.end(visit).map_err(|source| berth_fs_drivers::Error::Io {
            action: "tell changes of",
            path: id.as_str().into(),
            source,
        })
    }

    /// Writes the container's whole tree as an archive (`export`): the image's and its own files.
    pub fn export(&self, number: i64, out: impl Write + Send) -> Result<()> {
        let layer = self.container_layer(number)?;
        let mounts = self.driver.mounts(&layer.id, &layer.parents, Access::ReadOnly)?;
        mount::with_mounted(&mounts, |root| diff::pack_tree(root, layer.owners(), out))??;
        Ok(())
    }

    /// The layer's record is new, so data by its name can only be what a power cut left.
    pub(super) fn prepare_fresh(&self, id: &LayerId, parents: &[LayerId], options: &LayerOptions) -> Result<()> {
        match self.driver.prepare(id, parents, options) {
            Err(berth_fs_drivers::Error::Conflict(_)) => {
                self.driver.remove(id)?;
                Ok(self.driver.prepare(id, parents, options)?)
            }
            other => Ok(other?),
        }
    }
}

fn container_layer(connection: &Connection, number: i64) -> Result<ContainerLayer> {
    let mut ids = chain_ids(connection, Some(number))?;
    if ids.is_empty() {
        return Err(Error::NotFound(format!("layer {number} does not exist")));
    }
    let id = ids.remove(0);
    let parent: Option<i64> = connection
        .prepare_cached("SELECT parent FROM layers WHERE number = ?1")?
        .query_row([number], |row| row.get(0))?;
    let given = given::given(connection, parent)?.map(|(map, _)| map);
    Ok(ContainerLayer { number, id, parents: ids, given })
}
