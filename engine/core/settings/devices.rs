//! Devices of the host that are shown inside, and rules about devices.

use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use berth_api::models::DeviceMapping;
use oci_spec::runtime::{
    LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType,
};

use crate::{Error, Result};

/// A folder of devices is walked so deep.
const DEPTH: usize = 8;

fn permissions(text: &str) -> Result<&str> {
    let distinct = text.bytes().all(|byte| b"rwm".contains(&byte) && text.bytes().filter(|&b| b == byte).count() == 1);
    if text.is_empty() || !distinct {
        return Err(Error::invalid(format!("invalid device mode: {text}")));
    }
    Ok(text)
}

/// What can be told without looking at the host.
pub(crate) fn check(mapping: &DeviceMapping) -> Result<()> {
    let host = mapping.path_on_host.as_deref().unwrap_or_default();
    if !host.starts_with('/') {
        let message = if host.contains('=') {
            format!("device {host}: CDI devices come with a later version of berth; name a path below /dev")
        } else {
            format!("invalid device path {host:?}: it must be absolute")
        };
        return Err(Error::invalid(message));
    }
    if let Some(inside) = mapping.path_in_container.as_deref().filter(|path| !path.is_empty())
        && (!inside.starts_with('/') || Path::new(inside).components().any(|c| c.as_os_str() == ".."))
    {
        return Err(Error::invalid(format!("invalid device path {inside:?} in the container: it must be absolute")));
    }
    permissions(mapping.cgroup_permissions.as_deref().filter(|text| !text.is_empty()).unwrap_or("rwm")).map(drop)
}

/// The nodes that a mapping makes (those below a folder, if it names one) and the rules that allow them.
pub(crate) fn resolve(mapping: &DeviceMapping) -> Result<Vec<(LinuxDevice, LinuxDeviceCgroup)>> {
    check(mapping)?;
    let host = Path::new(mapping.path_on_host.as_deref().unwrap_or_default());
    let inside = mapping.path_in_container.as_deref().filter(|path| !path.is_empty()).map_or(host, Path::new);
    let access = mapping.cgroup_permissions.as_deref().filter(|text| !text.is_empty()).unwrap_or("rwm");
    let missing = |error: std::io::Error| {
        Error::invalid(format!(
            "error gathering device information while adding custom device \"{}\": {error}",
            host.display()
        ))
    };
    let real = std::fs::canonicalize(host).map_err(missing)?;
    let mut found = Vec::new();
    if real.is_dir() {
        collect(&real, inside, access, DEPTH, &mut found);
    } else {
        found.extend(node(&real, inside, access));
    }
    if found.is_empty() {
        return Err(Error::invalid(format!("{} is not a device node", host.display())));
    }
    Ok(found)
}

/// All of the host's devices, for a privileged container.
pub(crate) fn all() -> Vec<LinuxDevice> {
    let mut found = Vec::new();
    collect(Path::new("/dev"), Path::new("/dev"), "rwm", DEPTH, &mut found);
    found.into_iter().map(|(device, _)| device).collect()
}

fn collect(host: &Path, inside: &Path, access: &str, depth: usize, found: &mut Vec<(LinuxDevice, LinuxDeviceCgroup)>) {
    let Ok(entries) = std::fs::read_dir(host) else { return };
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let Ok(kind) = entry.file_type() else { continue };
        let (host, inside) = (entry.path(), inside.join(entry.file_name()));
        // As Docker: what every container has of its own, or what is a window into other containers.
        let own = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console"];
        if kind.is_dir() && depth > 0 && !own.iter().any(|name| entry.file_name() == *name) {
            collect(&host, &inside, access, depth - 1, found);
        } else if (kind.is_block_device() || kind.is_char_device()) && entry.file_name() != "console" {
            found.extend(node(&host, &inside, access));
        }
    }
}

fn node(host: &Path, inside: &Path, access: &str) -> Option<(LinuxDevice, LinuxDeviceCgroup)> {
    let meta = std::fs::metadata(host).ok()?;
    let kind = if meta.file_type().is_block_device() {
        LinuxDeviceType::B
    } else if meta.file_type().is_char_device() {
        LinuxDeviceType::C
    } else {
        return None;
    };
    let (major, minor) = numbers(meta.rdev());
    let device = LinuxDeviceBuilder::default()
        .path(PathBuf::from(inside))
        .typ(kind)
        .major(major)
        .minor(minor)
        .file_mode(meta.mode() & 0o7777)
        .uid(meta.uid())
        .gid(meta.gid())
        .build()
        .ok()?;
    Some((device, allow(kind, Some(major), Some(minor), access)))
}

pub(crate) fn numbers(device: u64) -> (i64, i64) {
    (rustix::fs::major(device).into(), rustix::fs::minor(device).into())
}

/// `None`: any.
pub(crate) fn allow(kind: LinuxDeviceType, major: Option<i64>, minor: Option<i64>, access: &str) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroupBuilder::default().allow(true).typ(kind).access(access);
    if let Some(major) = major {
        rule = rule.major(major);
    }
    if let Some(minor) = minor {
        rule = rule.minor(minor);
    }
    rule.build().expect("all fields are given")
}

/// `c 13:* rwm`.
pub(crate) fn rule(text: &str) -> Result<LinuxDeviceCgroup> {
    let invalid = || Error::invalid(format!("invalid device cgroup rule format: '{text}'"));
    let mut words = text.split(' ');
    let (Some(kind), Some(numbers), Some(access), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(invalid());
    };
    let kind = match kind {
        "a" => LinuxDeviceType::A,
        "b" => LinuxDeviceType::B,
        "c" => LinuxDeviceType::C,
        _ => return Err(invalid()),
    };
    let number = |text: &str| match text {
        "*" => Ok(None),
        _ => text.parse::<u32>().map(|number| Some(i64::from(number))).map_err(|_| invalid()),
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(invalid)?;
    permissions(access).map_err(|_| invalid())?;
    Ok(allow(kind, number(major)?, number(minor)?, access))
}

/// The numbers of a block device that a limit names.
pub(crate) fn block_device(path: Option<&str>) -> Result<(i64, i64)> {
    let path = path.unwrap_or_default();
    let meta = std::fs::metadata(path).map_err(|error| Error::invalid(format!("block device {path:?}: {error}")))?;
    if !meta.file_type().is_block_device() {
        return Err(Error::invalid(format!("{path} is not a block device")));
    }
    Ok(numbers(meta.rdev()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(host: &str, access: &str) -> DeviceMapping {
        DeviceMapping {
            path_on_host: Some(host.to_owned()),
            path_in_container: None,
            cgroup_permissions: Some(access.to_owned()),
        }
    }

    #[test]
    fn a_device_becomes_a_node_and_a_rule() {
        let found = resolve(&mapping("/dev/zero", "rw")).unwrap();
        assert_eq!(found.len(), 1);
        let (device, rule) = &found[0];
        assert_eq!((device.major(), device.minor()), (1, 5));
        assert_eq!(rule.access().as_deref(), Some("rw"));
    }

    #[test]
    fn what_is_no_device_is_refused() {
        for (path, access) in
            [("/etc/passwd", "rwm"), ("/dev/none", "rwm"), ("zero", "r"), ("/dev/zero", "rx"), ("/dev/zero", "rr")]
        {
            assert!(resolve(&mapping(path, access)).is_err(), "{path} {access}");
        }
    }

    #[test]
    fn rules_follow_dockers_format() {
        assert_eq!(rule("c 13:* rwm").unwrap().minor(), None);
        for bad in ["c 13 rwm", "x 1:1 r", "c 1:1", "c 1:1 z", "c 1:1 r w", "c -1:1 r"] {
            assert!(rule(bad).is_err(), "{bad}");
        }
    }
}
