//! Images as the engine's users see them: the image store's verbs with what containers use, and events.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use berth_image::{
    Filter, ImageId, ImageUser, ImportOptions, LoadOptions, Loaded, OnProgress, Pruned, Reference, RemoveOptions,
    Removed,
};
use berth_monitor::State;
use berth_store::rusqlite::Connection;

use crate::containers::record;
use crate::{Engine, Result};

impl Engine {
    pub fn tag_image(&self, source: &str, target: &Reference) -> Result<()> {
        let image = self.images().tag(source, target)?;
        self.emit_image("tag", &image.id.to_string(), &target.familiar());
        Ok(())
    }

    pub fn remove_image(&self, name: &str, options: RemoveOptions) -> Result<Vec<Removed>> {
        let removed = self.images().remove(name, options, &|connection, id| self.image_users(connection, id))?;
        self.emit_removed(&removed);
        Ok(removed)
    }

    /// `all`: those with a tag too.
    pub fn prune_images(&self, all: bool, filter: &Filter) -> Result<Pruned> {
        let pruned = self.images().prune(all, filter, &|connection, id| self.image_users(connection, id))?;
        self.emit_removed(&pruned.removed);
        self.emit("image", "prune", "", BTreeMap::from([("reclaimed".to_owned(), pruned.reclaimed.to_string())]));
        Ok(pruned)
    }

    pub fn import_image(
        &self,
        archive: impl Read,
        options: &ImportOptions,
        progress: &mut OnProgress<'_>,
    ) -> Result<ImageId> {
        let id = self.images().import(archive, options, progress)?;
        let name = options.reference.as_ref().map(Reference::familiar).unwrap_or_default();
        self.emit_image("import", &id.to_string(), &name);
        Ok(id)
    }

    pub fn load_images(
        &self,
        archive: impl Read,
        options: &LoadOptions,
        progress: &mut OnProgress<'_>,
    ) -> Result<Vec<Loaded>> {
        let loaded = self.images().load(archive, options, progress)?;
        for one in &loaded {
            match one {
                Loaded::Name(name) => self.emit_image("load", name, name),
                Loaded::Id(id) => self.emit_image("load", &id.to_string(), ""),
            }
        }
        Ok(loaded)
    }

    pub fn save_images(&self, names: &[String], out: impl Write) -> Result<()> {
        self.images().save(names, out, &mut |_| {})?;
        for name in names {
            self.emit_image("save", name, name);
        }
        Ok(())
    }

    /// The containers that stand on an image, in the transaction of whoever asks.
    pub(crate) fn image_users(&self, connection: &Connection, id: &ImageId) -> berth_image::Result<Vec<ImageUser>> {
        let wrong = |error: berth_store::rusqlite::Error| berth_image::Error::Store(error.into());
        let mut statement = connection.prepare_cached("SELECT id FROM containers WHERE image = ?1").map_err(wrong)?;
        let rows = statement.query_map([id.to_string()], |row| row.get::<_, String>(0)).map_err(wrong)?;
        rows.map(|row| {
            let id = row.map_err(wrong)?;
            let state = record::by_id(connection, &id).and_then(|container| self.written_state(&container));
            let up = |state: State| state.status.is_up();
            Ok(ImageUser { running: state.is_ok_and(up), container: id })
        })
        .collect()
    }

    pub(crate) fn emit_image(&self, action: &str, id: &str, name: &str) {
        let attributes = [("name".to_owned(), name.to_owned())].into_iter().filter(|(_, name)| !name.is_empty());
        self.emit("image", action, id, attributes.collect());
    }

    pub(crate) fn emit_removed(&self, removed: &[Removed]) {
        for line in removed {
            match line {
                Removed::Untagged(name) => self.emit_image("untag", name, name),
                Removed::Deleted(digest) => self.emit_image("delete", &digest.to_string(), ""),
            }
        }
    }
}
