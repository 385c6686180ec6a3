//! The pids controller: how many processes and threads.

use super::files::{number, set};
use super::limits::{Groups, Warnings, find};
use crate::{Result, Sample};

/// Zero and below is no limit.
pub(super) fn apply(groups: &Groups, limit: i64, warnings: &mut Warnings) -> Result<()> {
    let text = if limit > 0 { limit.to_string() } else { "max".to_owned() };
    let done = match find(groups, "pids") {
        Some(group) => set(&group.dir, "pids.max", &text)?,
        None => false,
    };
    if !done && limit > 0 {
        warnings.absent("PIDs limit capabilities", "PIDs limit discarded");
    }
    Ok(())
}

pub(super) fn sample(groups: &Groups, sample: &mut Sample) {
    let Some(group) = find(groups, "pids") else { return };
    sample.pids_current = number(&group.dir, "pids.current").unwrap_or_default();
    sample.pids_limit = number(&group.dir, "pids.max");
}
