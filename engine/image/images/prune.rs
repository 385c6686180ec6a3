//! `image prune`.

use super::remove::Removal;
use super::{Filter, Pruned, RemoveOptions, Users, digests_of, list, record};
use crate::{ImageStore, Result};

impl ImageStore {
    /// Removes images that no container uses: those without a tag, or (`all`) whatever their tags.
    /// `filter.dangling` and `filter.all` are not looked at.
    pub fn prune(&self, all: bool, filter: &Filter, users: &Users<'_>) -> Result<Pruned> {
        let filter = Filter { all: true, dangling: (!all).then_some(true), ..filter.clone() };
        let chosen = self.store.read(|connection| list::chosen(connection, &filter))?;
        let mut pruned = Pruned::default();
        for (image, _) in chosen {
            let mut removal = Removal::new(users, RemoveOptions::default());
            self.store.write(|transaction| {
                // Each in a transaction of its own, so what was true of it may have changed, or it went as a parent.
                let Some(image) = record::get(transaction, &image.id)? else { return Ok(()) };
                let tagged = !record::tags_of(transaction, &image.id)?.is_empty()
                    || !digests_of(transaction, &image.id)?.is_empty();
                if (tagged && !all)
                    || record::has_children(transaction, &image.id)?
                    || !users(transaction, &image.id)?.is_empty()
                {
                    return Ok(());
                }
                removal.image(transaction, &image, true, true)
            })?;
            pruned.reclaimed += removal.reclaimed;
            pruned.removed.extend(self.finish(removal)?);
        }
        self.forget_kept(i64::MAX)?;
        self.scrub()?;
        Ok(pruned)
    }
}
