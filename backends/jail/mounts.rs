//! The mounts of a jail, in nmount(2)'s terms.
//!
//! A bind mount is a nullfs(5); Linux's /dev is a devfs(5) with a ruleset, its /proc and /sys are those of linux(4)'s file
//! systems. What stands in for nothing on FreeBSD (devpts, mqueue, cgroup: devfs(5) has terminals, and message queues need no
//! mount) is left out, as nothing would be seen there.

use std::path::{Component, Path, PathBuf};

use berth_arch::mount::Mount as Given;
use oci_spec::runtime::{Linux, Spec};

use super::network;
use super::refuse::cannot;
use crate::{Bundle, Error, Result};

/// MNT_* of sys/mount.h.
pub(super) const RDONLY: u32 = 0x1;
const SYNCHRONOUS: u32 = 0x2;
const NOEXEC: u32 = 0x4;
const NOSUID: u32 = 0x8;
const NOSYMFOLLOW: u32 = 0x0040_0000;
const NOATIME: u32 = 0x1000_0000;

/// Of the device rules that berth makes (devfs(8)): far from those that people number.
pub(super) const RULESET: u32 = 25189;

/// What is seen of /dev: as the system's own ruleset for jails.
pub(super) const DEVICES: &[&str] = &[
    "null", "zero", "full", "random", "urandom", "crypto", "ptmx", "pts", "pts/*", "fd", "fd/*", "stdin", "stdout",
    "stderr", "shm", "shm/*",
];

/// A mount to be made below the jail's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// FreeBSD's name.
    pub(super) kind: &'static str,
    /// Absolute on the host; of a file system that has none: its name.
    pub(super) source: PathBuf,
    /// Inside the root, without a slash at its start; empty is the root itself.
    pub(super) target: PathBuf,
    pub(super) flags: u32,
    pub(super) options: Vec<(&'static str, String)>,
    /// Names below /dev that are seen there beside the usual ones.
    pub(super) devices: Vec<String>,
    /// Only where something of that name is: what is hidden, or made read-only.
    pub(super) if_present: bool,
}

impl Mount {
    fn new(kind: &'static str, source: impl Into<PathBuf>, target: &Path) -> Self {
        let (source, target) = (source.into(), target.to_owned());
        Self { kind, source, target, flags: 0, options: Vec::new(), devices: Vec::new(), if_present: false }
    }

    fn is_over_root(&self) -> bool {
        self.target.as_os_str().is_empty()
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Mounts {
    /// What makes the root. Empty: the directory of the specification is used as it is.
    pub(super) root: Vec<Mount>,
    pub(super) read_only: bool,
    /// In order.
    pub(super) inside: Vec<Mount>,
}

impl Mounts {
    pub(super) fn new(bundle: &Bundle) -> Result<Self> {
        let spec = &bundle.spec;
        let mut mounts = Self {
            read_only: spec.root().as_ref().is_some_and(|root| root.readonly().unwrap_or(false)),
            ..Self::default()
        };
        for given in &bundle.rootfs {
            mounts.root(given)?;
        }
        if mounts.root.is_empty() {
            let path = spec.root().as_ref().map(|root| root.path().clone());
            let path = path.ok_or_else(|| Error::InvalidArgument("specification: it has no root".into()))?;
            mounts.root.push(Mount::new("nullfs", path, Path::new("")));
        }
        for given in spec.mounts().iter().flatten() {
            mounts.inside.extend(inside(given, spec)?);
        }
        if let Some(linux) = spec.linux() {
            devices(linux, &mut mounts.inside)?;
            for path in linux.masked_paths().iter().flatten() {
                let mut mask = Mount::new("tmpfs", "tmpfs", &relative(Path::new(path))?);
                mask.options.push(("size", "4096".to_owned()));
                mask.flags = RDONLY;
                mask.if_present = true;
                mounts.inside.push(mask);
            }
            for path in linux.readonly_paths().iter().flatten() {
                // Over itself: root.rs fills in the source.
                let mut cover = Mount::new("nullfs", "", &relative(Path::new(path))?);
                cover.flags = RDONLY;
                cover.if_present = true;
                mounts.inside.push(cover);
            }
        }
        Ok(mounts)
    }

    /// One of the storage driver's.
    fn root(&mut self, given: &Given) -> Result<()> {
        let target = relative(&given.target)?;
        let words = Words::new(given.options.iter().map(String::as_str));
        if words.has("remount") {
            let last = self.root.iter_mut().rfind(|mount| mount.target == target);
            let last = last.ok_or_else(|| Error::InvalidArgument("root: a remount of nothing".into()))?;
            last.flags |= words.flags;
            return Ok(());
        }
        let kind = match given.fstype.as_str() {
            "bind" | "nullfs" => "nullfs",
            "zfs" => "zfs",
            "tmpfs" => "tmpfs",
            "unionfs" => "unionfs",
            other => {
                let option = format!("layers of the kind {other}");
                return Err(cannot(&option, "that file system is not FreeBSD's", "use the storage driver zfs or vfs"));
            }
        };
        let mut mount = Mount::new(kind, &given.source, &target);
        mount.flags = words.flags;
        // A dataset's name is no path.
        if let (true, Some(base)) = (kind == "nullfs" && given.source.is_relative(), &given.base) {
            mount.source = base.join(&given.source);
        }
        self.root.push(mount);
        Ok(())
    }

    /// Whether the root is one that nothing is written to, so that places to mount on are made before.
    pub(super) fn root_is_read_only(&self) -> bool {
        self.read_only || self.root.iter().any(|mount| mount.is_over_root() && mount.flags & RDONLY != 0)
    }
}

/// One of the specification's; `None` for what has no counterpart.
fn inside(given: &oci_spec::runtime::Mount, spec: &Spec) -> Result<Option<Mount>> {
    let target = relative(given.destination())?;
    let said = || given.destination().display().to_string();
    if target.as_os_str().is_empty() {
        return Err(Error::InvalidArgument(format!("mount {}: the root is the image's", said())));
    }
    let words = Words::new(given.options().iter().flatten().map(String::as_str));
    let mapped = given.uid_mappings().is_some() || given.gid_mappings().is_some();
    if mapped || words.has("idmap") || words.has("ridmap") {
        let option = format!("the mapped users of the mount {}", said());
        return Err(cannot(&option, "FreeBSD's mounts show a file's own users", "leave the mapping out"));
    }
    let typ = given.typ().as_deref().unwrap_or("");
    let bound = words.has("bind") || words.has("rbind") || matches!(typ, "bind" | "nullfs");
    let linux = spec.linux().is_some();
    let kind = match typ {
        _ if bound => "nullfs",
        "devpts" | "mqueue" | "cgroup" | "cgroup2" => return Ok(None),
        // Memory is shared by names that no file system shows (shm_open(2)).
        "tmpfs" if linux && target == Path::new("dev/shm") => return Ok(None),
        "tmpfs" if linux && target == Path::new("dev") => "devfs",
        "tmpfs" => "tmpfs",
        "devfs" => "devfs",
        "proc" if linux => "linprocfs",
        "proc" | "procfs" => "procfs",
        "sysfs" => "linsysfs",
        "linprocfs" => "linprocfs",
        "linsysfs" => "linsysfs",
        "fdescfs" => "fdescfs",
        other => {
            let option = format!("mounts of the type {other:?} ({})", said());
            return Err(cannot(&option, "that file system is not for jails", "leave the mount out"));
        }
    };
    let mut mount = Mount::new(kind, kind, &target);
    mount.flags = words.flags;
    match kind {
        "nullfs" => {
            let source = given.source().clone().unwrap_or_default();
            if !source.is_absolute() {
                return Err(Error::InvalidArgument(format!("mount {}: its source is not absolute", said())));
            }
            mount.source = source;
            words.of_bind(&said())?;
        }
        "tmpfs" => mount.options = words.of_tmpfs(&said())?,
        "devfs" => {
            mount.flags &= !RDONLY;
            let number = match network::annotation(spec, "devfs_ruleset") {
                None => RULESET,
                Some(number) => number.parse().map_err(|_| network::invalid("devfs_ruleset", number, "a number"))?,
            };
            mount.options.push(("ruleset", number.to_string()));
        }
        "fdescfs" if words.has("linrdlnk") => mount.options.push(("linrdlnk", String::new())),
        _ => {}
    }
    if words.has("shared") || words.has("rshared") {
        let option = format!("the shared mount {}", said());
        return Err(cannot(&option, "FreeBSD's mounts are all in one place", "leave the propagation out"));
    }
    Ok(Some(mount))
}

/// Devices that are asked for by name, on the mount over /dev.
fn devices(linux: &Linux, mounts: &mut [Mount]) -> Result<()> {
    for device in linux.devices().iter().flatten() {
        let path = device.path().display().to_string();
        let name = device.path().strip_prefix("/dev").ok().and_then(|name| name.to_str()).filter(|name| plain(name));
        let Some(name) = name else {
            return Err(cannot(
                &format!("--device {path}"),
                "devices are seen below /dev alone",
                "name it as on the host",
            ));
        };
        if device.file_mode().is_some()
            || device.uid().is_some_and(|id| id != 0)
            || device.gid().is_some_and(|id| id != 0)
        {
            let reason = "a device has the mode and owner that the host gives it";
            return Err(cannot(
                &format!("an owner or mode of --device {path}"),
                reason,
                "set them on the host (devfs(8))",
            ));
        }
        let Some(mount) = mounts.iter_mut().find(|mount| mount.kind == "devfs") else {
            return Err(cannot(&format!("--device {path}"), "nothing is mounted on /dev", "mount devfs there"));
        };
        if !DEVICES.contains(&name) {
            mount.devices.push(name.to_owned());
        }
    }
    let rules = linux.resources().as_ref().and_then(|resources| resources.devices().as_ref());
    let partial = rules.into_iter().flatten().find(|rule| {
        let access = rule.access().as_deref().unwrap_or("rwm");
        let named = rule.major().is_some() && rule.minor().is_some();
        rule.allow() && named && !(access.contains('r') && access.contains('w'))
    });
    match partial {
        Some(rule) => {
            let option = format!("the access {:?} to a device", rule.access().as_deref().unwrap_or(""));
            Err(cannot(&option, "devfs shows a device or hides it", "ask for rw or leave it out"))
        }
        None => Ok(()),
    }
}

/// As a name in a rule of devfs(8), where `*` and `?` match others.
fn plain(name: &str) -> bool {
    let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'/' | b'.' | b'_' | b'-');
    !name.is_empty() && !name.starts_with('-') && name.bytes().all(fits) && !name.split('/').any(|part| part == "..")
}

/// Without the slash at its start, and without anything that leads up.
fn relative(path: &Path) -> Result<PathBuf> {
    let mut inside = PathBuf::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => inside.push(name),
            Component::ParentDir | Component::Prefix(_) => {
                return Err(Error::InvalidArgument(format!("mount {}: it leads up", path.display())));
            }
        }
    }
    Ok(inside)
}

/// mount(8)'s words, in Linux's or FreeBSD's terms.
struct Words {
    flags: u32,
    words: Vec<String>,
}

/// Word, whether it clears, flag.
const FLAGS: &[(&str, bool, u32)] = &[
    ("async", true, SYNCHRONOUS),
    ("atime", true, NOATIME),
    ("exec", true, NOEXEC),
    ("noatime", false, NOATIME),
    ("noexec", false, NOEXEC),
    ("nosuid", false, NOSUID),
    ("nosymfollow", false, NOSYMFOLLOW),
    ("rdonly", false, RDONLY),
    ("ro", false, RDONLY),
    ("rro", false, RDONLY),
    ("rw", true, RDONLY),
    ("suid", true, NOSUID),
    ("symfollow", true, NOSYMFOLLOW),
    ("sync", false, SYNCHRONOUS),
];

/// What is so on FreeBSD anyway: device nodes work below devfs alone, and mounts do not spread.
const NOTHING: &[&str] = &[
    "",
    "bind",
    "defaults",
    "nodev",
    "private",
    "rbind",
    "relatime",
    "norelatime",
    "rprivate",
    "rslave",
    "slave",
    "remount",
    "nodiratime",
    "strictatime",
    "shared",
    "rshared",
    "idmap",
    "ridmap",
];

impl Words {
    fn new<'a>(options: impl Iterator<Item = &'a str>) -> Self {
        let mut found = Self { flags: 0, words: Vec::new() };
        for word in options.flat_map(|option| option.split(',')) {
            match FLAGS.iter().find(|(name, ..)| *name == word) {
                Some((_, true, flag)) => found.flags &= !flag,
                Some((_, false, flag)) => found.flags |= flag,
                None => found.words.push(word.to_owned()),
            }
        }
        found
    }

    fn has(&self, word: &str) -> bool {
        self.words.iter().any(|known| known == word)
    }

    fn of_bind(&self, target: &str) -> Result<()> {
        match self.words.iter().find(|word| !NOTHING.contains(&word.as_str())) {
            Some(word) if word.starts_with(crate::SUBPATH) => {
                let option = format!("a part of a volume (volume-subpath) at {target}");
                Err(cannot(&option, "FreeBSD mounts by name and not by descriptor", "mount the whole volume"))
            }
            Some(word) => {
                let option = format!("the mount option {word:?} at {target}");
                Err(cannot(&option, "nullfs has none of that name", "leave it out"))
            }
            None => Ok(()),
        }
    }

    fn of_tmpfs(&self, target: &str) -> Result<Vec<(&'static str, String)>> {
        let mut options = Vec::new();
        for word in self.words.iter().filter(|word| !NOTHING.contains(&word.as_str())) {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let option = match name {
                "size" => bytes(value).map(|size| ("size", size.to_string())),
                "nr_inodes" | "inodes" => bytes(value).map(|count| ("inodes", count.to_string())),
                "mode" => u32::from_str_radix(value, 8).ok().map(|mode| ("mode", format!("{mode:o}"))),
                "uid" => value.parse::<u32>().ok().map(|id| ("uid", id.to_string())),
                "gid" => value.parse::<u32>().ok().map(|id| ("gid", id.to_string())),
                _ => {
                    let option = format!("the mount option {word:?} at {target}");
                    return Err(cannot(&option, "FreeBSD's tmpfs has none of that name", "leave it out"));
                }
            };
            let invalid = || Error::InvalidArgument(format!("mount {target}: option {word:?}"));
            options.push(option.ok_or_else(invalid)?);
        }
        Ok(options)
    }
}

/// `64m`, in units of 1024; a share of the memory (`50%`) is not known before.
fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = match text.to_ascii_lowercase().as_bytes().last()? {
        b'k' => (&text[..text.len() - 1], 1 << 10),
        b'm' => (&text[..text.len() - 1], 1 << 20),
        b'g' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}
