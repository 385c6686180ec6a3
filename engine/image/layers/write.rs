//! A layer's archive again, byte for byte, from its files and its record.

use std::io::{self, Read, Write};

use berth_arch::root_dir::RootDir;
use berth_fs_drivers::{Access, diff, mount};

use super::graph::{Layer, layer_id};
use super::record;
use crate::digest::Hasher;
use crate::progress::Reporter;
use crate::{Error, ImageStore, Result};

const BUFFER: usize = 128 * 1024;

impl ImageStore {
    /// Writes the archive of `layers[0]`, which stands on the others (nearest first): `layer.archive` bytes with
    /// the digest `layer.diff_id`, or an error.
    pub(crate) fn write_archive(
        &self,
        layers: &[Layer],
        out: &mut impl Write,
        report: &mut Reporter<'_, '_>,
    ) -> Result<()> {
        let Some((layer, below)) = layers.split_first() else { return Ok(()) };
        let id = layer_id(layer.number)?;
        let parents = below.iter().map(|layer| layer_id(layer.number)).collect::<Result<Vec<_>>>()?;
        let mounts = self.driver.mounts(&id, &parents, Access::ReadOnly)?;
        let paths = self.store.paths();
        let stream = |action, object: &str| {
            let object = object.to_owned();
            move |source| Error::Stream { action, object, source }
        };
        let (mut reader, mut writer) = io::pipe().map_err(stream("make", "a pipe"))?;
        // The tree is only seen in the mount's own thread; the digest is made by this one at the same time.
        std::thread::scope(|scope| {
            let assembler = scope.spawn(move || {
                mount::with_mounted(&mounts, |root| {
                    let root = RootDir::open(root).map_err(|source| berth_fs_drivers::Error::Io {
                        action: "open",
                        path: root.to_path_buf(),
                        source,
                    })?;
                    diff::assemble(|| record::open(paths, &id), &root, &mut writer)
                })?
            });
            let copied = copy(&mut reader, out, layer, report);
            drop(reader);
            let assembled = assembler.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            match (copied, assembled) {
                (Err(source), _) if source.kind() != io::ErrorKind::InvalidData => {
                    Err(stream("write", "the archive")(source))
                }
                (_, Err(error)) => Err(error.into()),
                (Err(source), Ok(_)) => Err(stream("assemble", &format!("layer {}", layer.name()))(source)),
                (Ok(()), Ok(_)) => Ok(()),
            }
        })
    }
}

/// InvalidData if what comes is not the layer's archive.
fn copy(reader: &mut impl Read, out: &mut impl Write, layer: &Layer, report: &mut Reporter<'_, '_>) -> io::Result<()> {
    let damaged = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut hasher = Hasher::new();
    let mut left = layer.archive;
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(damaged(error.to_string())),
        };
        let bytes = &buffer[..count];
        left = left.checked_sub(count as u64).ok_or_else(|| damaged("its files have grown".to_owned()))?;
        hasher.update(bytes);
        out.write_all(bytes)?;
        report.add(count as u64);
    }
    let digest = hasher.finish();
    if left > 0 || layer.diff_id.as_ref() != Some(&digest) {
        return Err(damaged(format!("its files have changed on disk: the digest is {digest}")));
    }
    Ok(())
}
