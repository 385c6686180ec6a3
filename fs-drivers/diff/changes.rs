//! What a layer changed, by the driver's own way where it has one.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};

use super::compare::{Kinship, compare};
use crate::mount::with_mounted;
use crate::{Access, Change, ChangeKind, Driver, Error, LayerId, Result};

/// Calls `visit` with each change of `id` against `parents`, parents before children, sorted by name. A directory
/// whose content changed is itself reported as modified, as in `docker diff`; the root never is.
pub fn changes(
    driver: &dyn Driver,
    id: &LayerId,
    parents: &[LayerId],
    visit: &mut dyn FnMut(Change<'_>) -> io::Result<()>,
) -> Result<()> {
    if let Some(differ) = driver.differ() {
        return differ.changes(id, parents, visit);
    }
    compare_whole(driver, id, parents, visit)
}

/// Compares the two trees, whatever the driver can.
pub(crate) fn compare_whole(
    driver: &dyn Driver,
    id: &LayerId,
    parents: &[LayerId],
    visit: &mut dyn FnMut(Change<'_>) -> io::Result<()>,
) -> Result<()> {
    compare_kin(driver, id, parents, Kinship::None, visit)
}

/// As [`compare_whole`], knowing what the layer's tree has to do with that of its nearest parent.
pub(crate) fn compare_kin(
    driver: &dyn Driver,
    id: &LayerId,
    parents: &[LayerId],
    kinship: Kinship,
    visit: &mut dyn FnMut(Change<'_>) -> io::Result<()>,
) -> Result<()> {
    let failed = |source| Error::Io { action: "compare", path: id.as_str().into(), source };
    // The trees are seen by the thread that mounts them only, and `visit` stays in this one.
    let (sender, receiver) = sync_channel(64);
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || compare_mounted(driver, id, parents, kinship, &sender));
        let visited = receiver.iter().try_for_each(|(path, kind)| visit(Change { path: &path, kind }));
        drop(receiver);
        let compared = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        visited.map_err(failed)?;
        compared?.map_err(failed)
    })
}

fn compare_mounted(
    driver: &dyn Driver,
    id: &LayerId,
    parents: &[LayerId],
    kinship: Kinship,
    sender: &SyncSender<(PathBuf, ChangeKind)>,
) -> Result<io::Result<()>> {
    let mut send = |change: Change<'_>| {
        let stopped = |_| io::Error::other("nobody wants more");
        sender.send((change.path.to_path_buf(), change.kind)).map_err(stopped)
    };
    let upper = driver.mounts(id, parents, Access::ReadOnly)?;
    let Some((parent, rest)) = parents.split_first() else {
        return with_mounted(&upper, |upper| compare(None, upper, kinship, &mut send));
    };
    let lower = driver.mounts(parent, rest, Access::ReadOnly)?;
    with_mounted(&lower, |lower| with_mounted(&upper, |upper| compare(Some(lower), upper, kinship, &mut send)))?
}
