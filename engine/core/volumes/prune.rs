//! Removing all volumes that nobody uses.

use berth_api::Filters;
use berth_api::models::VolumePruneResponse;

use super::record;
use crate::{Engine, Error, Result};

impl Engine {
    /// As Docker: of the local driver, without options, and only anonymous ones unless the filter `all` says otherwise.
    /// Filters: `all`, `label`, `label!`.
    pub fn prune_volumes(&self, filters: &Filters) -> Result<VolumePruneResponse> {
        let invalid = |error: berth_api::query::InvalidQuery| Error::InvalidArgument(error.0);
        filters.expect(&["all", "label", "label!"]).map_err(invalid)?;
        let all = filters.flag("all", false).map_err(invalid)?;
        let (mut deleted, mut reclaimed) = (Vec::new(), 0);
        for volume in self.store().read(record::all)? {
            let wanted = volume.is_local() && volume.options.is_empty() && (all || volume.anonymous);
            if !wanted || !filters.allows_labels(|key| volume.labels.get(key).map(String::as_str)) {
                continue;
            }
            if !self.store().read(|connection| record::users(connection, &volume.name))?.is_empty() {
                continue;
            }
            let size = self.volume_size(&volume).unwrap_or_default();
            match self.remove_volume(&volume.name, false) {
                Ok(()) => {
                    reclaimed += size;
                    deleted.push(volume.name);
                }
                // It was taken up, or removed by somebody else, in between.
                Err(Error::Conflict(_) | Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let attributes = [("reclaimed".to_owned(), reclaimed.to_string())];
        self.emit("volume", "prune", "", attributes.into_iter().collect());
        Ok(VolumePruneResponse { volumes_deleted: Some(deleted), space_reclaimed: Some(reclaimed) })
    }
}
