//! What keeps a container from changing what it sees: whether its mounts are as restricted after a restore as they were.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use berth_arch::mount::{MountInfo, parse_mounts};

/// Mount points that can be seen inside, and which of these words each has.
pub(super) type Restrictions = BTreeMap<PathBuf, Vec<String>>;

const WORDS: &[&str] = &["ro", "nosuid", "nodev", "noexec"];

/// Of the mounts of process `pid`.
pub(super) fn of(pid: i32) -> io::Result<Restrictions> {
    let table = std::fs::read(format!("/proc/{pid}/mountinfo"))?;
    Ok(of_table(&parse_mounts(&table).collect::<Vec<_>>()))
}

fn of_table(table: &[MountInfo]) -> Restrictions {
    let covered = |mount: &MountInfo| {
        table.iter().any(|other| {
            other.parent == mount.id && other.id != mount.id && mount.mount_point.starts_with(&other.mount_point)
        })
    };
    let words =
        |mount: &MountInfo| WORDS.iter().filter(|word| mount.has_option(word)).map(|word| (*word).to_owned()).collect();
    let seen = table.iter().filter(|mount| !covered(mount));
    seen.map(|mount| (mount.mount_point.clone(), words(mount))).collect()
}

/// A mount of `before` that is missing now, or has become less restricted: files that were hidden would be seen, and what was
/// read-only be written to.
pub(super) fn loosened(before: &Restrictions, now: &Restrictions) -> Option<String> {
    before.iter().find_map(|(place, words)| match now.get(place) {
        None => Some(format!("the mount at {} is missing", place.display())),
        Some(found) => {
            let lost: Vec<&str> = words.iter().filter(|word| !found.contains(word)).map(String::as_str).collect();
            let place = place.display();
            (!lost.is_empty()).then(|| format!("the mount at {place} is not {} any more", lost.join(",")))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Restrictions {
        of_table(&parse_mounts(text.as_bytes()).collect::<Vec<_>>())
    }

    const BEFORE: &str = "20 1 0:20 / / rw,relatime - overlay overlay rw\n\
        21 20 0:21 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
        22 21 0:22 / /sys/fs/cgroup/memory rw - cgroup cgroup rw\n\
        23 21 0:21 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs rw\n\
        24 23 0:22 / /sys/fs/cgroup/memory ro,nosuid - cgroup cgroup rw\n\
        25 20 0:5 /null /proc/keys rw - devtmpfs devtmpfs rw\n";

    #[test]
    fn what_is_covered_does_not_count() {
        let found = table(BEFORE);
        assert_eq!(found[&PathBuf::from("/sys/fs/cgroup")], ["ro", "nosuid"]);
        assert!(found[&PathBuf::from("/")].is_empty());
    }

    #[test]
    fn a_mount_that_is_missing_or_looser_is_found() {
        let before = table(BEFORE);
        assert_eq!(loosened(&before, &before), None);
        let looser =
            table(&BEFORE.replace(
                "24 23 0:22 / /sys/fs/cgroup/memory ro,nosuid",
                "24 23 0:22 / /sys/fs/cgroup/memory rw,nosuid",
            ));
        assert_eq!(loosened(&before, &looser).unwrap(), "the mount at /sys/fs/cgroup/memory is not ro any more");
        let missing: String =
            BEFORE.lines().filter(|line| !line.contains("keys")).map(|line| format!("{line}\n")).collect();
        assert_eq!(loosened(&before, &table(&missing)).unwrap(), "the mount at /proc/keys is missing");
    }
}
