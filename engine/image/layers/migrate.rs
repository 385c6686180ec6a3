//! Layers copied from one storage driver to another, by way of their archives. Both keep them under the same numbers, so
//! that the records hold for either.

use std::collections::HashSet;

use berth_fs_drivers::diff::{UnpackOptions, Unpacked, unpack};
use berth_fs_drivers::mount::open_contents;
use berth_fs_drivers::{Access, LayerId, LayerOptions};

use super::graph::{Layer, chain, layer_id};
use crate::digest::{Hasher, HashingReader};
use crate::pipe::piped;
use crate::progress::{OnProgress, ProgressReader, Reporter};
use crate::{Digest, Error, ImageStore, Result};

/// What was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    pub layers: u64,
    /// Of their archives.
    pub bytes: u64,
}

const ACTION: &str = "Moving layer";

impl ImageStore {
    /// Copies the images' layers to the driver of `to`, all but those in `done`. Each is read again from there and compared with
    /// its digest before `copied` is told of it. Nobody else may change layers meanwhile. An error leaves what was copied.
    pub fn copy_images(
        &self,
        to: &Self,
        done: &HashSet<i64>,
        copied: &mut dyn FnMut(i64) -> Result<()>,
        progress: &mut OnProgress<'_>,
    ) -> Result<Moved> {
        // What has no image yet stays behind.
        self.forget_kept(i64::MAX)?;
        let mut moved = Moved::default();
        // Parents before children.
        let numbers: Vec<i64> = self.store.read(|connection| {
            let mut statement = connection
                .prepare("SELECT number FROM layers WHERE state = 'valid' AND diff_id IS NOT NULL ORDER BY number")?;
            Ok::<_, Error>(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
        })?;
        for number in numbers {
            let layers = self.store.read(|connection| chain(connection, Some(number)))?;
            let Some((layer, below)) = layers.split_first() else { continue };
            moved.layers += 1;
            moved.bytes += layer.archive;
            if done.contains(&number) {
                continue;
            }
            let parents: Vec<LayerId> = below.iter().map(|layer| layer_id(layer.number)).collect::<Result<_>>()?;
            let id = layer_id(number)?;
            let report = Reporter::new(progress, ACTION, layer.name(), Some(layer.archive));
            let expected = Some(layer.archive);
            to.receive(&id, &parents, &LayerOptions::default(), expected, report, |writer| {
                self.write_archive(&layers, writer, &mut Reporter::new(&mut |_| {}, ACTION, "", None))
            })?;
            to.compare(&layers)?;
            copied(number)?;
        }
        Ok(moved)
    }

    /// Copies what the container of the layer `number` wrote. `name` is the container's, for messages.
    pub fn copy_container(
        &self,
        to: &Self,
        number: i64,
        name: &str,
        options: &LayerOptions,
        progress: &mut OnProgress<'_>,
    ) -> Result<Moved> {
        let layer = to.container_layer(number)?;
        let report = Reporter::new(progress, "Moving container", name, None);
        let (unpacked, sent) = to.receive(&layer.id, &to.all_parents(&layer)?, options, None, report, |writer| {
            self.pack_changes(number, writer)
        })?;
        let mut arrived = Hasher::new();
        to.pack_changes(number, &mut arrived)?;
        if arrived.finish() != sent {
            let what = format!("{} cannot keep all that the container {name} wrote", to.driver.name());
            return Err(Error::Unsupported(what));
        }
        Ok(Moved { layers: 1, bytes: unpacked.bytes })
    }

    /// Makes the layer of the archive that `write` writes, and gives the archive's digest.
    fn receive(
        &self,
        id: &LayerId,
        parents: &[LayerId],
        options: &LayerOptions,
        expected: Option<u64>,
        report: Reporter<'_, '_>,
        write: impl FnOnce(&mut std::io::PipeWriter) -> Result<()> + Send,
    ) -> Result<(Unpacked, Digest)> {
        let driver = &*self.driver;
        // What an interrupted copy left is begun again.
        self.prepare_fresh(id, parents, options)?;
        let received = piped(write, |reader| {
            let root = open_contents(driver, id, parents, Access::ReadWrite)?;
            let mut reader = HashingReader::new(ProgressReader::new(reader, report));
            let options = UnpackOptions { expected, ..UnpackOptions::default() };
            let unpacked = unpack(&mut reader, root, driver.whiteouts(), options)?;
            Ok((unpacked, reader.finish().0))
        })?;
        driver.commit(id)?;
        Ok(received)
    }

    /// An error if the layer is not what its digest says.
    fn compare(&self, layers: &[Layer]) -> Result<()> {
        let mut quiet = |_: crate::Progress<'_>| {};
        let mut report = Reporter::new(&mut quiet, ACTION, "", None);
        self.write_archive(layers, &mut std::io::sink(), &mut report).map_err(|error| {
            let what = format!("{} cannot keep a layer as it is: {error}", self.driver.name());
            Error::Unsupported(what)
        })
    }
}
