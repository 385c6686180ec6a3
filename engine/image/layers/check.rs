//! Every layer compared with what was recorded of it.

use std::collections::HashMap;
use std::io::{self, ErrorKind};

use berth_fs_drivers::LayerId;

use super::graph::{Layer, chain, layer_id};
use crate::images::Users;
use crate::progress::{OnProgress, Reporter};
use crate::{Error, ImageId, ImageStore, Removed, Result};

/// A layer that is not what was recorded of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    pub number: i64,
    /// The driver's name for it.
    pub id: LayerId,
    /// `sha256:...` of an image's layer; nothing of a container's own.
    pub diff_id: Option<String>,
    pub reason: String,
    /// Images that have it.
    pub images: Vec<ImageId>,
}

/// What was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    pub layers: u64,
    /// Of their archives.
    pub bytes: u64,
    pub damaged: Vec<Damaged>,
    /// What the driver keeps without a record.
    pub left_over: Vec<LayerId>,
}

impl ImageStore {
    /// Writes the archive of every image's layer again and compares its digest with the recorded one; of containers'
    /// layers, which change, it is only looked whether they are there. Layers on a damaged one count with it.
    pub fn check_layers(&self, progress: &mut OnProgress<'_>) -> Result<Checked> {
        let left_over = self.left_over()?;
        let mut checked = Checked { left_over, ..Checked::default() };
        // Parents before children.
        let numbers: Vec<i64> = self.store.read(|connection| {
            let mut statement =
                connection.prepare("SELECT number FROM layers WHERE state = 'valid' ORDER BY number")?;
            Ok::<_, Error>(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
        })?;
        for number in numbers {
            let layers = self.store.read(|connection| chain(connection, Some(number)))?;
            let Some(layer) = layers.first() else { continue };
            checked.layers += 1;
            if layers.iter().any(|layer| checked.damaged.iter().any(|damaged| damaged.number == layer.number)) {
                continue;
            }
            let outcome = if layer.diff_id.is_some() {
                checked.bytes += layer.archive;
                let mut report = Reporter::new(progress, "Checking layer", layer.name(), Some(layer.archive));
                self.write_archive(&layers, &mut io::sink(), &mut report)
            } else {
                self.driver.usage(&layer_id(number)?).map(drop).map_err(Error::from)
            };
            if let Err(error) = outcome {
                // Somebody may have removed it meanwhile.
                if self.store.read(|connection| chain(connection, Some(number)))?.is_empty() {
                    continue;
                }
                checked.damaged.push(self.damaged(layer, error)?);
            }
        }
        Ok(checked)
    }

    /// Removes the images that have a damaged layer, so that they can be loaded again; the containers on them are the
    /// caller's business, who has seen to it that there are none.
    pub fn discard_damaged(&self, damaged: &Damaged, users: &Users<'_>) -> Result<Vec<Removed>> {
        let mut removed = Vec::new();
        let mut left = damaged.images.clone();
        // Those that others were made from go after these.
        while !left.is_empty() {
            let before = left.len();
            let mut refused = None;
            for id in std::mem::take(&mut left) {
                match self.remove_whole(&id, users) {
                    Ok(gone) => removed.extend(gone),
                    Err(Error::NotFound(_)) => {}
                    Err(error) => {
                        refused = Some(error);
                        left.push(id);
                    }
                }
            }
            if let Some(error) = refused
                && left.len() == before
            {
                return Err(error);
            }
        }
        Ok(removed)
    }

    /// An error if it tells nothing of the layer.
    fn damaged(&self, layer: &Layer, error: Error) -> Result<Damaged> {
        let reason = match &error {
            Error::Stream { source, .. } if source.kind() == ErrorKind::InvalidData => source.to_string(),
            Error::Driver(berth_fs_drivers::Error::Io { source, path, .. })
                if source.kind() == ErrorKind::InvalidData =>
            {
                format!("{}: {source}", path.display())
            }
            Error::Driver(berth_fs_drivers::Error::NotFound(_)) => "its files are gone".to_owned(),
            Error::Driver(berth_fs_drivers::Error::Io { source, .. }) | Error::Io { source, .. } if tells(source) => {
                error.to_string()
            }
            _ => return Err(error),
        };
        let images: Vec<ImageId> = self.store.read(|connection| {
            let mut statement = connection.prepare("SELECT id, layer FROM images WHERE layer IS NOT NULL")?;
            let tops: Vec<(String, i64)> =
                statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
            let mut known = HashMap::new();
            let mut found = Vec::new();
            for (id, top) in tops {
                let has = match known.get(&top) {
                    Some(has) => *has,
                    None => chain(connection, Some(top))?.iter().any(|other| other.number == layer.number),
                };
                known.insert(top, has);
                if has {
                    found.push(id.parse()?);
                }
            }
            Ok::<_, Error>(found)
        })?;
        let diff_id = layer.diff_id.as_ref().map(ToString::to_string);
        Ok(Damaged { number: layer.number, id: layer_id(layer.number)?, diff_id, reason, images })
    }
}

/// Whether it is about what is on the disk, and not about this process's rights or memory.
fn tells(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    const EUCLEAN: i32 = 117;
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidData | ErrorKind::UnexpectedEof
    ) || matches!(error.raw_os_error(), Some(EIO | EUCLEAN))
}
