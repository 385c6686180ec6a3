//! /proc/PID/mountinfo (proc_pid_mountinfo(5)).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// One line. The names of file systems and options are text; paths are bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountInfo {
    pub id: u64,
    pub parent: u64,
    /// Major and minor.
    pub device: (u32, u32),
    /// The part of the file system that is mounted.
    pub root: PathBuf,
    pub mount_point: PathBuf,
    /// Of the mount point: `rw,nosuid,...`.
    pub options: String,
    /// `shared:1`, `master:2`, `propagate_from:3`, `unbindable`.
    pub propagation: Vec<String>,
    pub fstype: String,
    pub source: OsString,
    /// Of the file system.
    pub super_options: String,
}

impl MountInfo {
    pub fn is_read_only(&self) -> bool {
        self.has_option("ro")
    }

    /// Among the mount point's options.
    pub fn has_option(&self, word: &str) -> bool {
        self.options.split(',').any(|option| option == word)
    }

    pub fn has_super_option(&self, word: &str) -> bool {
        self.super_options.split(',').any(|option| option == word)
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|&byte| byte == b' ');
        let id = number(fields.next()?)?;
        let parent = number(fields.next()?)?;
        let (major, minor) = std::str::from_utf8(fields.next()?).ok()?.split_once(':')?;
        let device = (major.parse().ok()?, minor.parse().ok()?);
        let root = unescape(fields.next()?).into();
        let mount_point = unescape(fields.next()?).into();
        let options = text(fields.next()?);
        let propagation = fields.by_ref().take_while(|&field| field != b"-").map(text).collect();
        let fstype = text(fields.next()?);
        let source = unescape(fields.next()?);
        let super_options = text(fields.next().unwrap_or_default());
        Some(Self { id, parent, device, root, mount_point, options, propagation, fstype, source, super_options })
    }
}

/// The mounts that this thread sees (before Linux 3.17: its process), in the order they were made.
pub fn mounts() -> io::Result<Vec<MountInfo>> {
    let table = match crate::kernel_file::read("/proc/thread-self/mountinfo") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => crate::kernel_file::read("/proc/self/mountinfo"),
        other => other,
    };
    Ok(parse_mounts(&table?).collect())
}

/// A process that sees a mount which `is_it` says yes to, in whatever mount namespace: `process 12 (name)`.
pub fn holder(is_it: impl Fn(&MountInfo) -> bool) -> Option<String> {
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let table = std::fs::read(entry.path().join("mountinfo")).ok()?;
        let name = || std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        parse_mounts(&table).any(|mount| is_it(&mount)).then(|| format!("process {pid} ({})", name().trim_end()))
    })
}

/// Lines that are not understood are left out.
pub fn parse_mounts(table: &[u8]) -> impl Iterator<Item = MountInfo> {
    table.split(|&byte| byte == b'\n').filter_map(MountInfo::parse)
}

/// The mount that `path` (absolute, without links) is on: the longest mount point, and of several the last.
pub fn find_mount<'a>(table: &'a [MountInfo], path: &Path) -> Option<&'a MountInfo> {
    let holds = table.iter().filter(|mount| path.starts_with(&mount.mount_point));
    holds.max_by_key(|mount| mount.mount_point.as_os_str().len())
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn text(field: &[u8]) -> String {
    unescape(field).to_string_lossy().into_owned()
}

/// Space, tab, newline, `\` and `#` stand as `\040` and so on.
fn unescape(field: &[u8]) -> OsString {
    if !field.contains(&b'\\') {
        return OsStr::from_bytes(field).to_owned();
    }
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] if byte == b'\\' => {
                bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = after;
            }
            _ => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"22 28 0:21 / /sys rw,nosuid shared:7 master:2 - sysfs sysfs rw\n\
        30 28 8:1 /a\\040b /mnt/x\\134y\\011z ro - ext4 /dev/disk\\040one rw,errors=remount-ro\n\
        31 30 0:40 / /mnt rw - tmpfs  rw\n\
        broken line\n";

    #[test]
    fn a_line_is_read_with_and_without_optional_fields() {
        let table: Vec<_> = parse_mounts(TABLE).collect();
        assert_eq!(table.len(), 3);
        assert_eq!(table[0].propagation, ["shared:7", "master:2"]);
        assert_eq!((table[0].id, table[0].parent, table[0].device), (22, 28, (0, 21)));
        assert_eq!(table[1].root, Path::new("/a b"));
        assert_eq!(table[1].mount_point, Path::new("/mnt/x\\y\tz"));
        assert_eq!(table[1].source, OsStr::new("/dev/disk one"));
        assert!(table[1].is_read_only() && table[1].has_super_option("errors=remount-ro"));
        assert_eq!((table[2].source.as_bytes(), table[2].super_options.as_str()), (&b""[..], "rw"));
    }

    #[test]
    fn the_deepest_mount_that_holds_a_path_is_found() {
        let table: Vec<_> = parse_mounts(TABLE).collect();
        assert_eq!(find_mount(&table, Path::new("/mnt/file")).map(|mount| mount.id), Some(31));
        assert_eq!(find_mount(&table, Path::new("/mntfile")), None);
    }

    #[test]
    fn this_machines_own_table_is_understood() {
        let raw = std::fs::read("/proc/self/mountinfo").unwrap();
        let lines = raw.iter().filter(|&&byte| byte == b'\n').count();
        assert_eq!(parse_mounts(&raw).count(), lines);
    }
}
