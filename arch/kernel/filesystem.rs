//! Which file systems the kernel knows, or could load.

use std::fs;

/// What stands behind a file system's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Listed in /proc/filesystems.
    Registered,
    /// The first mount loads its module.
    Loadable,
}

/// `None`: mounting it gives ENODEV. Modules are looked for by `module`, where it differs from `name`.
pub fn presence(name: &str, module: &str) -> Option<Presence> {
    if fs::read_to_string("/proc/filesystems").is_ok_and(|list| registered(&list, name)) {
        return Some(Presence::Registered);
    }
    module_is_installed(module).then_some(Presence::Loadable)
}

/// Whether the running kernel's modules have it, or it is built in.
pub(super) fn module_is_installed(module: &str) -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let listed = |file: &str| {
        ["/lib/modules", "/usr/lib/modules"]
            .iter()
            .any(|folder| fs::read_to_string(format!("{folder}/{release}/{file}")).is_ok_and(|list| has(&list, module)))
    };
    listed("modules.dep") || listed("modules.builtin")
}

/// Lines are `nodev\tNAME` or `\tNAME`.
fn registered(list: &str, name: &str) -> bool {
    list.lines().any(|line| line.rsplit('\t').next() == Some(name))
}

/// Lines start with a path such as `kernel/fs/overlayfs/overlay.ko.xz`.
fn has(list: &str, module: &str) -> bool {
    list.lines().any(|line| {
        let path = line.split(':').next().unwrap_or_default();
        path.rsplit('/').next().and_then(|file| file.split_once(".ko")).is_some_and(|(name, _)| same(name, module))
    })
}

/// Files may have dashes where the module's name has underscores.
fn same(file: &str, module: &str) -> bool {
    file.len() == module.len() && file.bytes().zip(module.bytes()).all(|(a, b)| a == b || (a == b'-' && b == b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_is_found_by_its_whole_name() {
        let list = "nodev\tproc\nnodev\toverlay\n\text4\n";
        assert!(registered(list, "overlay") && registered(list, "ext4"));
        assert!(!registered(list, "over") && !registered(list, "nodev"));
    }

    #[test]
    fn a_module_is_found_compressed_or_not() {
        let list =
            "kernel/fs/overlayfs/overlay.ko.xz: kernel/x.ko\nkernel/fs/fuse/fuse.ko:\nkernel/md/dm-thin-pool.ko\n";
        assert!(has(list, "dm_thin_pool") && has(list, "overlay") && has(list, "fuse") && !has(list, "x"));
    }

    #[test]
    fn proc_is_registered_everywhere() {
        assert_eq!(presence("proc", "proc"), Some(Presence::Registered));
        assert_eq!(presence("no-such-fs", "no-such-module"), None);
    }
}
