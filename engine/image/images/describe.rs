//! `image inspect` and `history`.

use std::collections::BTreeMap;
use std::path::Path;

use berth_fs_drivers::Whiteouts;

use super::{HistoryEntry, Inspect, digests_of, find, record};
use crate::layers::{chain, layer_id};
use crate::{ImageId, ImageStore, Reference, Result};

impl ImageStore {
    pub fn names(&self, id: &ImageId) -> Result<Vec<Reference>> {
        self.store.read(|connection| record::tags_of(connection, id))
    }

    pub fn inspect(&self, name: &str) -> Result<Inspect> {
        let (image, (tags, digests), last_tagged, layers) = self.store.read(|connection| {
            let image = find(connection, name)?;
            let tags = record::tags_of(connection, &image.id)?;
            let tagged: Option<i64> = connection
                .prepare_cached("SELECT max(tagged) FROM tags WHERE image = ?1")?
                .query_row([image.id.as_str()], |row| row.get(0))?;
            let layers = chain(connection, image.layer)?;
            let digests = digests_of(connection, &image.id)?;
            Ok::<_, crate::Error>((image, (tags, digests), tagged, layers))
        })?;
        let mut folders = Vec::with_capacity(layers.len());
        // Where each layer is a whole tree there is nothing to tell apart.
        if self.driver.whiteouts() != Whiteouts::Apply {
            for layer in &layers {
                folders.extend(self.driver.directory(&layer_id(layer.number)?)?);
            }
        }
        let mut driver_data = BTreeMap::new();
        if let Some((upper, lower)) = folders.split_first() {
            let show = |path: &Path| path.display().to_string();
            driver_data.insert("UpperDir".to_owned(), show(upper));
            if !lower.is_empty() {
                let lower: Vec<String> = lower.iter().map(|path| show(path)).collect();
                driver_data.insert("LowerDir".to_owned(), lower.join(":"));
            }
        }
        Ok(Inspect { image, tags, digests, last_tagged, driver: self.driver.name(), driver_data })
    }

    /// The newest first.
    pub fn history(&self, name: &str) -> Result<Vec<HistoryEntry>> {
        self.store.read(|connection| {
            let image = find(connection, name)?;
            let mut sizes = chain(connection, image.layer)?.into_iter().rev().map(|layer| layer.size);
            let mut entries: Vec<HistoryEntry> = image
                .config
                .history
                .iter()
                .map(|step| HistoryEntry {
                    id: None,
                    created: step
                        .created
                        .as_deref()
                        .and_then(|text| text.parse::<jiff::Timestamp>().ok())
                        .map_or(0, jiff::Timestamp::as_second),
                    created_by: step.created_by.clone().unwrap_or_default(),
                    tags: Vec::new(),
                    size: if step.empty_layer { 0 } else { sizes.next().unwrap_or(0) },
                    comment: step.comment.clone().unwrap_or_default(),
                })
                .collect();
            entries.reverse();
            // Each image adds one line to its parent's.
            let mut next = Some(image);
            for entry in &mut entries {
                let Some(image) = next else { break };
                entry.tags = record::tags_of(connection, &image.id)?;
                entry.id = Some(image.id);
                next = match &image.parent {
                    Some(parent) => record::get(connection, parent)?,
                    None => None,
                };
            }
            Ok(entries)
        })
    }
}
