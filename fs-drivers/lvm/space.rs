//! What is left in the pool: a floor below which nothing new is begun, and what `info` shows.

use std::io;

use super::Lvm;
use super::dm::Control;
use super::pool::{self, Pool};
use super::settings::Source;
use super::thin::{METADATA_BLOCK, PoolStatus};
use crate::error::At;
use crate::size::show;
use crate::{Error, Result};

/// Refuses a new layer where less than the floor of the pool is free. What is there stays, and can be removed.
pub(super) fn check(lvm: &Lvm, control: &Control, pool: &Pool) -> Result<()> {
    let status = pool.status(control)?;
    if let Some(trouble) = status.trouble {
        return Err(Error::Unavailable(format!("the thin pool {} {trouble}: no layer can be made", pool.name)));
    }
    let (free, all) = pool::room(lvm.path(), &lvm.settings, pool, &status)?;
    let metadata =
        (status.metadata.1.saturating_sub(status.metadata.0) * METADATA_BLOCK, status.metadata.1 * METADATA_BLOCK);
    let floor = u64::from(lvm.settings.min_free);
    for (what, (free, all)) in [("data", (free, all)), ("metadata", metadata)] {
        // In two steps, as the product may be too large.
        if free < all / 100 * floor {
            let more = match &lvm.settings.pool {
                Source::Named { name, .. } => {
                    let option = if what == "data" { "-L" } else { "--poolmetadatasize " };
                    format!("extend the pool {name} (lvextend {option}+SIZE VG/POOL)")
                }
                Source::Files => format!("make room on the file system of {}", lvm.path().display()),
            };
            let message = format!(
                "{} of {} for {what} are free in the thin pool, less than {floor} % ({}min_free_space): {more}, or remove images and \
                 containers (prune)",
                show(free),
                show(all),
                super::settings::PREFIX
            );
            return Err(io::Error::new(io::ErrorKind::StorageFull, message)).at("make a layer in", lvm.path());
        }
    }
    Ok(())
}

/// Docker's names where it has them.
pub(super) fn report(lvm: &Lvm) -> Vec<(&'static str, String)> {
    let looked = lvm.with_pool(|control, pool| {
        let status = pool.status(control)?;
        let room = pool::room(lvm.path(), &lvm.settings, pool, &status)?;
        Ok((pool.name.clone(), pool.block, status, room, control.defers()))
    });
    let (name, block, status, (free, all), defers) = match looked {
        Ok(found) => found,
        Err(error) => return vec![("Pool", error.to_string())],
    };
    let PoolStatus { metadata, data, trouble, errors_when_full } = status;
    let mut lines = vec![
        ("Pool Name", name),
        ("Pool Blocksize", show(block)),
        ("Base Device Size", show(lvm.settings.size)),
        ("Base File System", lvm.settings.filesystem.name().to_owned()),
        ("Data Space Used", show(data.0 * block)),
        ("Data Space Total", show(all)),
        ("Data Space Available", show(free)),
        ("Metadata Space Used", show(metadata.0 * METADATA_BLOCK)),
        ("Metadata Space Total", show(metadata.1 * METADATA_BLOCK)),
        ("Metadata Space Available", show(metadata.1.saturating_sub(metadata.0) * METADATA_BLOCK)),
        ("Thin Pool Minimum Free Space", format!("{} %", lvm.settings.min_free)),
        (
            "When Full",
            if errors_when_full { "writers get an error" } else { "writers wait (queue_if_no_space)" }.to_owned(),
        ),
        ("Deferred Removal Enabled", defers.to_string()),
    ];
    lines.extend(trouble.map(|trouble| ("Pool Trouble", trouble.to_owned())));
    if lvm.settings.pool == Source::Files {
        let file = lvm.path().join(pool::DATA).display().to_string();
        lines.push(("Data loop file", format!("{file} (slow, for trying it out: name a thin pool by lvm.pool)")));
    }
    lines
}
