//! `--init`: the small first process, which is berth itself in a role of its own.

use std::path::PathBuf;

/// Where it is inside, and so the `argv[0]` by which the program knows its role.
pub const INSIDE: &str = "/sbin/docker-init";

/// The program on the host. What /proc says is taken if it still leads to the file; after an upgrade it does not, and
/// the link itself is good for a bind mount.
pub(super) fn source() -> PathBuf {
    let link = PathBuf::from("/proc/self/exe");
    match std::fs::read_link(&link) {
        Ok(path) if path.is_file() => path,
        _ => link,
    }
}
