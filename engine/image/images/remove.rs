//! `rmi`, by Docker's rules (moby, daemon/images/image_delete.go).

use berth_store::rusqlite::Transaction;

use super::{Image, RemoveOptions, Removed, Users, digests, digests_of, find, record};
use crate::layers::release_unneeded;
use crate::{Digest, Error, ImageId, ImageStore, Reference, Result};

/// What stands in the way of a removal.
struct Obstacle {
    id: ImageId,
    /// Not even force helps.
    hard: bool,
    /// A container needs it.
    used: bool,
    reason: String,
}

impl From<Obstacle> for Error {
    fn from(obstacle: Obstacle) -> Self {
        let force = if obstacle.hard { "cannot be forced" } else { "must be forced" };
        Self::Conflict(format!("conflict: unable to delete {} ({force}) - {}", obstacle.id.short(), obstacle.reason))
    }
}

/// Which obstacles count.
#[derive(Clone, Copy)]
struct Check {
    tags: bool,
    stopped: bool,
}

impl ImageStore {
    /// By name: takes the name away, and the image with its last one. By ID: the image, if it has at most one name
    /// or `force` is given.
    pub fn remove(&self, name: &str, options: RemoveOptions, users: &Users<'_>) -> Result<Vec<Removed>> {
        let mut removal = Removal::new(users, options);
        self.store.write(|transaction| removal.run(transaction, name))?;
        self.finish(removal)
    }

    /// An image with all its names, whoever made another image from it aside.
    pub(crate) fn remove_whole(&self, id: &ImageId, users: &Users<'_>) -> Result<Vec<Removed>> {
        let mut removal = Removal::new(users, RemoveOptions { force: true, keep_parents: true });
        self.store.write(|transaction| {
            let image = find(transaction, id.as_str())?;
            removal.image(transaction, &image, true, false)
        })?;
        self.finish(removal)
    }

    /// Removes the data after the records.
    pub(super) fn finish(&self, removal: Removal<'_>) -> Result<Vec<Removed>> {
        self.discard_layers(&removal.layers)?;
        Ok(removal.removed)
    }
}

/// One removal: what it says, and the layers whose data is to go after the transaction.
pub(super) struct Removal<'a> {
    users: &'a Users<'a>,
    options: RemoveOptions,
    pub(super) removed: Vec<Removed>,
    layers: Vec<i64>,
    /// Bytes of content of the layers that go.
    pub(super) reclaimed: u64,
}

impl<'a> Removal<'a> {
    pub(super) fn new(users: &'a Users<'a>, options: RemoveOptions) -> Self {
        Self { users, options, removed: Vec::new(), layers: Vec::new(), reclaimed: 0 }
    }

    fn run(&mut self, transaction: &Transaction<'_>, name: &str) -> Result<()> {
        let force = self.options.force;
        let image = find(transaction, name)?;
        let tags = record::tags_of(transaction, &image.id)?;
        if is_id_of(&image.id, name) {
            if tags.len() <= 1 {
                self.check(transaction, &image.id, Check { tags: false, stopped: !force })?.map_or(Ok(()), refuse)?;
                self.untag_all(transaction, &image.id)?;
            }
            return self.image(transaction, &image, force, false);
        }
        let reference = name.parse::<Reference>()?.with_default_tag();
        if !force
            && tags.len() <= 1
            && let Some(user) = (self.users)(transaction, &image.id)?.first()
        {
            return Err(Error::Conflict(format!(
                "conflict: unable to remove repository reference \"{name}\" (must force) - container {} is using its \
                 referenced image {}",
                short(&user.container),
                image.id.short()
            )));
        }
        self.untag(transaction, &image.id, &reference)?;
        if !record::tags_of(transaction, &image.id)?.is_empty() || !digests_of(transaction, &image.id)?.is_empty() {
            return Ok(());
        }
        self.image(transaction, &image, force, true)
    }

    /// Removes an image with all its names, and parents that only it needed. `quiet`: what stands in the way leaves
    /// it as it is.
    pub(super) fn image(
        &mut self,
        transaction: &Transaction<'_>,
        image: &Image,
        force: bool,
        quiet: bool,
    ) -> Result<()> {
        if let Some(obstacle) = self.check(transaction, &image.id, Check { tags: !force, stopped: !force })? {
            let dangling =
                record::tags_of(transaction, &image.id)?.is_empty() && !record::has_children(transaction, &image.id)?;
            return if quiet && (!dangling || obstacle.used) { Ok(()) } else { refuse(obstacle) };
        }
        self.untag_all(transaction, &image.id)?;
        transaction.execute("DELETE FROM images WHERE id = ?1", [image.id.as_str()])?;
        self.removed.push(Removed::Deleted(image.id.clone()));
        for (number, chain_id) in release_unneeded(transaction, image.layer)? {
            let size: i64 =
                transaction.query_row("SELECT size FROM layers WHERE number = ?1", [number], |row| row.get(0))?;
            self.reclaimed += size as u64;
            self.layers.push(number);
            self.removed.extend(chain_id.map(Removed::Deleted));
        }
        let parent = match &image.parent {
            Some(parent) if !self.options.keep_parents => record::get(transaction, parent)?,
            _ => None,
        };
        parent.map_or(Ok(()), |parent| self.image(transaction, &parent, false, true))
    }

    fn check(&self, transaction: &Transaction<'_>, id: &ImageId, check: Check) -> Result<Option<Obstacle>> {
        let obstacle = |hard, used, reason: String| Ok(Some(Obstacle { id: id.clone(), hard, used, reason }));
        if record::has_children(transaction, id)? {
            return obstacle(true, false, "image has dependent child images".to_owned());
        }
        let users = (self.users)(transaction, id)?;
        if let Some(user) = users.iter().find(|user| user.running) {
            let reason = format!("image is being used by running container {}", short(&user.container));
            return obstacle(true, true, reason);
        }
        if check.tags && !record::tags_of(transaction, id)?.is_empty() {
            return obstacle(false, false, "image is referenced in multiple repositories".to_owned());
        }
        if check.stopped
            && let Some(user) = users.first()
        {
            let reason = format!("image is being used by stopped container {}", short(&user.container));
            return obstacle(false, true, reason);
        }
        Ok(None)
    }

    fn untag_all(&mut self, transaction: &Transaction<'_>, id: &ImageId) -> Result<()> {
        for reference in record::tags_of(transaction, id)? {
            self.untag(transaction, id, &reference)?;
        }
        for reference in digests_of(transaction, id)? {
            self.untag(transaction, id, &reference)?;
        }
        Ok(())
    }

    /// The last tag of a repository takes the repository's digests with it.
    fn untag(&mut self, transaction: &Transaction<'_>, id: &ImageId, reference: &Reference) -> Result<()> {
        let repository = reference.repository();
        self.removed.push(Removed::Untagged(reference.familiar()));
        if let Some(digest) = reference.digest() {
            return digests::remove_digest(transaction, &repository, digest);
        }
        transaction.execute("DELETE FROM tags WHERE repository = ?1 AND tag = ?2", (&repository, reference.tag()))?;
        let tags = record::tags_of(transaction, id)?;
        if tags.iter().any(|other| other.repository() == repository) {
            return Ok(());
        }
        for name in digests_of(transaction, id)?.iter().filter(|name| name.repository() == repository) {
            self.untag(transaction, id, name)?;
        }
        Ok(())
    }
}

fn refuse(obstacle: Obstacle) -> Result<()> {
    Err(obstacle.into())
}

fn short(container: &str) -> &str {
    container.get(..12).unwrap_or(container)
}

fn is_id_of(id: &Digest, name: &str) -> bool {
    id.as_str().starts_with(name) || id.hex().starts_with(name)
}
