//! `linux.resources.unified`: the user's own keys for files of cgroup v2.

use std::collections::HashMap;

use super::files::set;
use super::layout::Version;
use super::limits::Groups;
use crate::{Error, Result};

pub(super) fn apply(groups: &Groups, keys: &HashMap<String, String>) -> Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    let Some(group) = groups.iter().find(|group| group.version == Version::V2) else {
        return Err(Error::Unavailable(
            "unified cgroup keys need cgroup v2, which this host has not; use the limits' own options".to_owned(),
        ));
    };
    let mut keys: Vec<_> = keys.iter().collect();
    keys.sort();
    for (key, value) in keys {
        check(key)?;
        // The kernel parses one line a write in files like io.max.
        for line in value.lines() {
            if !set(&group.dir, key, line)? {
                return Err(Error::Unavailable(format!(
                    "unified cgroup key {key:?}: no such file in {}; its controller is absent or not enabled",
                    group.dir.display()
                )));
            }
        }
    }
    Ok(())
}

/// A key names a file of a controller (`memory.high`), never a path, and none of those by which groups are
/// managed.
fn check(key: &str) -> Result<()> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let named = key.split_once('.').is_some_and(|(controller, file)| !controller.is_empty() && !file.is_empty());
    let manages = matches!(key, "cgroup.procs" | "cgroup.threads" | "cgroup.kill" | "cgroup.freeze" | "cgroup.type");
    if !named || manages || !key.bytes().all(fits) {
        return Err(Error::InvalidArgument(format!(
            "unified cgroup key {key:?}: use a file's name like \"memory.high\""
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_a_path_is_refused() {
        for key in
            ["", "memory", ".memory", "../memory.max", "a/b.c", "cgroup.procs", "memory.max\n", "x.", "cgroup.kill"]
        {
            assert!(check(key).is_err(), "{key}");
        }
        assert!(check("hugetlb.2MB.max").is_ok());
    }
}
