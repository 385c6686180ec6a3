//! Options of this driver, as the configuration has them.

use std::collections::BTreeMap;
use std::path::Path;

use super::settings::{Options, PREFIX};
use crate::Result;

/// Reads a size as people write it.
type Bytes = fn(&str) -> Option<u64>;

/// Whether a key of `[storage-options]` is meant for this driver.
pub fn is_option(key: &str) -> bool {
    key.starts_with(PREFIX)
}

/// Refuses what means nothing.
pub fn check(pairs: &BTreeMap<String, String>, bytes: Bytes) -> Result<()> {
    Options::parse(pairs, bytes).map(drop)
}

/// Writes down in the state folder `root` what is asked of this driver, before it is tried or opened there. Nothing is written if
/// nothing is asked; another pool than the one that the state's layers are in is refused.
pub fn configure(root: &Path, pairs: &BTreeMap<String, String>, bytes: Bytes) -> Result<()> {
    Options::parse(pairs, bytes)?.apply(root)
}
