//! Which hierarchies this host has mounted, and where: none, v1, hybrid (both) or v2.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use berth_arch::pretend;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    pub(crate) version: Version,
    pub(crate) mount: PathBuf,
    /// The cgroup that `mount` shows (field 4 of mountinfo); `/` unless this is a container without a cgroup
    /// namespace.
    root: PathBuf,
    /// v1: `memory`, or `cpu` and `cpuacct`, or `name=systemd`. v2: empty; the directories say.
    pub(crate) controllers: Vec<String>,
    /// The process's cgroup (field 3 of /proc/PID/cgroup): this one's unless another was asked for.
    own: PathBuf,
}

/// All hierarchies; the v2 one, if any, is last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) hierarchies: Vec<Hierarchy>,
}

impl Layout {
    /// Leaves out what is pretended away.
    pub(crate) fn detect() -> Self {
        Self::detect_for("self")
    }

    /// As [`Layout::detect`], with the cgroups of the process `pid`.
    pub(crate) fn detect_for(pid: &str) -> Self {
        if pretend::without("cgroup") {
            return Self::default();
        }
        let own = std::fs::read(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let mut layout = Self::parse(&std::fs::read("/proc/self/mountinfo").unwrap_or_default(), &own);
        layout.hierarchies.retain(|hierarchy| match hierarchy.version {
            Version::V1 => !pretend::without("cgroup-v1"),
            Version::V2 => !pretend::without("cgroup-v2"),
        });
        layout
    }

    /// From the bytes of /proc/self/mountinfo and /proc/self/cgroup (proc(5), cgroups(7)).
    pub(crate) fn parse(mountinfo: &[u8], own: &[u8]) -> Self {
        let own = String::from_utf8_lossy(own);
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        for line in mountinfo.split(|&b| b == b'\n') {
            let fields: Vec<&[u8]> = line.split(|&b| b == b' ').collect();
            let Some(dash) = fields.iter().position(|field| *field == b"-") else { continue };
            let version = match fields.get(dash + 1) {
                Some(&b"cgroup") => Version::V1,
                Some(&b"cgroup2") => Version::V2,
                _ => continue,
            };
            let controllers = match version {
                Version::V1 => v1_controllers(fields.get(dash + 3).copied().unwrap_or_default()),
                Version::V2 => Vec::new(),
            };
            if (version == Version::V1 && controllers.is_empty())
                || hierarchies.iter().any(|h| h.version == version && h.controllers == controllers)
            {
                continue;
            }
            let own = own_path(&own, &controllers);
            hierarchies.push(Hierarchy {
                version,
                mount: unescape(fields.get(4).copied().unwrap_or_default()),
                root: unescape(fields.get(3).copied().unwrap_or_default()),
                controllers,
                own,
            });
        }
        hierarchies.sort_by_key(|hierarchy| hierarchy.version == Version::V2);
        Self { hierarchies }
    }

    pub(crate) fn unified(&self) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|hierarchy| hierarchy.version == Version::V2)
    }

    /// The v1 hierarchy with this controller.
    pub(crate) fn with(&self, controller: &str) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|hierarchy| hierarchy.controllers.iter().any(|name| name == controller))
    }

    /// v2 alone. Named v1 hierarchies without controllers do not count.
    pub(crate) fn is_unified(&self) -> bool {
        self.unified().is_some()
            && self.hierarchies.iter().all(|h| h.controllers.iter().all(|name| name.starts_with("name=")))
    }
}

impl Hierarchy {
    /// The process's cgroup as a directory; the mount itself if it cannot be seen through this mount.
    pub(crate) fn own_directory(&self) -> PathBuf {
        match self.own.strip_prefix(&self.root) {
            Ok(rest) if !rest.components().any(|c| c.as_os_str() == "..") => self.mount.join(rest),
            _ => self.mount.clone(),
        }
    }
}

/// The super options of a v1 mount also hold flags (`rw`, `xattr`, `release_agent=...`).
fn v1_controllers(options: &[u8]) -> Vec<String> {
    const FLAGS: &[&str] =
        &["rw", "ro", "xattr", "noprefix", "clone_children", "none", "cpuset_v2_mode", "favordynmods"];
    String::from_utf8_lossy(options)
        .split(',')
        .filter(|option| !FLAGS.contains(option) && !option.starts_with("release_agent=") && *option != "seclabel")
        .map(str::to_owned)
        .collect()
}

fn own_path(text: &str, controllers: &[String]) -> PathBuf {
    for line in text.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(names), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let fits = match controllers.first() {
            None => names.is_empty(),
            Some(first) => names.split(',').any(|name| name == first),
        };
        if fits {
            return Path::new(path).to_path_buf();
        }
    }
    PathBuf::from("/")
}

/// Undoes mountinfo's octal escapes (`\040`).
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..3).and_then(|d| u8::from_str_radix(std::str::from_utf8(d).ok()?, 8).ok());
        match (first, code) {
            (b'\\', Some(code)) => {
                bytes.push(code);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &[u8] = b"31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        32 31 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
        33 31 0:30 /docker/abc /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
        40 31 0:37 / /sys/fs/cgroup/a\\040b rw shared:1 - cgroup cgroup rw,xattr,release_agent=/x,name=systemd\n";

    #[test]
    fn a_hybrid_layout_is_read_with_the_unified_hierarchy_last() {
        let layout = Layout::parse(HYBRID, b"4:cpu,cpuacct:/docker/abc/x\n3:name=systemd:/s\n0::/u\n");
        assert_eq!(layout.hierarchies.len(), 3);
        assert!(!layout.is_unified());
        assert_eq!(layout.with("cpuacct").unwrap().own_directory(), Path::new("/sys/fs/cgroup/cpu,cpuacct/x"));
        assert_eq!(layout.with("name=systemd").unwrap().own_directory(), Path::new("/sys/fs/cgroup/a b/s"));
        assert_eq!(layout.hierarchies[2].own_directory(), Path::new("/sys/fs/cgroup/unified/u"));
    }

    #[test]
    fn v2_alone_is_unified_even_beside_a_named_v1_hierarchy() {
        let v2 = b"25 20 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        assert!(Layout::parse(v2, b"0::/\n").is_unified());
        let named = [v2.as_slice(), b"26 20 0:23 / /c rw - cgroup none rw,name=elogind\n"].concat();
        assert!(Layout::parse(&named, b"0::/\n").is_unified());
        assert!(!Layout::parse(HYBRID, b"").is_unified());
    }

    #[test]
    fn an_own_cgroup_outside_of_the_mount_falls_back_to_the_mount() {
        let v2 = b"25 20 0:22 /../.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let layout = Layout::parse(v2, b"0::/../../elsewhere\n");
        assert_eq!(layout.unified().unwrap().own_directory(), Path::new("/sys/fs/cgroup/elsewhere"));
        let v2 = b"25 20 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let layout = Layout::parse(v2, b"0::/../x\n");
        assert_eq!(layout.unified().unwrap().own_directory(), Path::new("/sys/fs/cgroup"));
    }

    #[test]
    fn a_host_without_cgroups_has_no_hierarchies() {
        assert_eq!(Layout::parse(b"1 1 0:1 / / rw - ext4 /dev/sda rw\n", b""), Layout::default());
    }
}
