//! What AUFS is mounted with: branches, and the options around them.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use berth_arch::mount::Mount;

use crate::stacked::DIFF;
use crate::{Access, Error, LayerId, Result};

/// The largest option string that mount(2) takes: a page of 4 KiB with its final NUL.
const PAGE: usize = 4095;

/// Where AUFS puts the table of its inode numbers while it is mounted; the name is gone as soon as the file is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Xino {
    /// A file beside the branch.
    Layer,
    /// A file in /dev/shm, where the state folder's file system cannot hold it (NFS).
    Memory,
    /// No table: inode numbers do not stay the same, and a file with several names may come out as several.
    None,
}

/// What a trial found of this kernel's AUFS and of the state folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// At most in one mount, the writable one included: 127, 511, 1023 or 32767 as the kernel was configured.
    pub(super) branches: usize,
    /// Asks only the topmost directory for permission (aufs 3.13).
    pub(super) dirperm1: bool,
    /// Passes O_DIRECT on.
    pub(super) dio: bool,
    pub(super) xino: Xino,
}

/// Words, as they are kept in a file and shown.
impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} branches", self.branches)?;
        let words = [(self.dirperm1, "dirperm1"), (self.dio, "dio")];
        words.iter().filter(|(set, _)| *set).try_for_each(|(_, word)| write!(f, ", {word}"))?;
        f.write_str(match self.xino {
            Xino::Layer => ", xino",
            Xino::Memory => ", xino in /dev/shm",
            Xino::None => ", noxino",
        })
    }
}

impl FromStr for Found {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let has = |word: &str| text.split(", ").any(|part| part == word);
        let branches = text.split(' ').next().and_then(|number| number.parse().ok()).filter(|&count| count > 1);
        let xino = match () {
            () if has("xino") => Xino::Layer,
            () if has("xino in /dev/shm") => Xino::Memory,
            () => Xino::None,
        };
        let invalid = || Error::InvalidArgument(format!("record of what AUFS can: {text:?}"));
        Ok(Self { branches: branches.ok_or_else(invalid)?, dirperm1: has("dirperm1"), dio: has("dio"), xino })
    }
}

/// The mount of `id` over the directories `below`, which are relative to `base`, and the remounts that add those whose
/// names do not fit.
pub(super) fn mounts(base: &Path, found: &Found, id: &LayerId, below: &[String], access: Access) -> Vec<Mount> {
    let read_only = access == Access::ReadOnly;
    let around = around(base, found, id);
    let branch = if read_only { "ro+wh" } else { "rw" };
    let mut first = format!("br:{id}/{DIFF}={branch}");
    // A remount says `ro` again, or it would take it away.
    let ro = if read_only { "ro," } else { "" };
    let mut rest = below.iter().map(|name| format!("{name}=ro+wh")).peekable();
    while let Some(next) = rest.next_if(|next| first.len() + 1 + next.len() + around.len() <= PAGE) {
        first = format!("{first}:{next}");
    }
    let mut pages = vec![format!("{ro}{first}{around}")];
    while let Some(next) = rest.next() {
        let mut page = format!("{ro}remount,append:{next}");
        while let Some(next) = rest.next_if(|next| page.len() + ",append:".len() + next.len() <= PAGE) {
            page = format!("{page},append:{next}");
        }
        pages.push(page);
    }
    let mount = |options: String| Mount {
        fstype: "aufs".to_owned(),
        source: "aufs".into(),
        target: "/".into(),
        options: vec![options],
        base: Some(base.to_path_buf()),
    };
    pages.into_iter().map(mount).collect()
}

/// The options after the branches. `udba` stays at its default (`reval`): a layer may be mounted twice, when files are
/// copied into a running container.
fn around(base: &Path, found: &Found, id: &LayerId) -> String {
    let mut words = String::new();
    if found.dio {
        words.push_str(",dio");
    }
    if found.dirperm1 {
        words.push_str(",dirperm1");
    }
    words
        + &match found.xino {
            Xino::Layer => format!(",xino={id}/x"),
            Xino::Memory => {
                // The folders of several states may have the same layers.
                let state = crc32fast::hash(base.as_os_str().as_encoded_bytes());
                format!(",xino=/dev/shm/.berth-{state:08x}-{id}.xino")
            }
            Xino::None => ",noxino".to_owned(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUND: Found = Found { branches: 127, dirperm1: true, dio: true, xino: Xino::Layer };

    fn texts(found: &Found, below: &[String], access: Access) -> Vec<String> {
        let id = "top".parse().unwrap();
        let mounts = mounts(Path::new("/with,comma:colon"), found, &id, below, access);
        assert!(mounts.iter().all(|mount| mount.target == Path::new("/") && mount.base.is_some()));
        mounts.into_iter().map(|mount| mount.options.join(",")).collect()
    }

    #[test]
    fn the_writable_branch_is_first_and_the_others_keep_their_whiteouts() {
        let below = ["b/d".to_owned(), "c/d".to_owned()];
        let writable = texts(&FOUND, &below, Access::ReadWrite);
        assert_eq!(writable, ["br:top/d=rw:b/d=ro+wh:c/d=ro+wh,dio,dirperm1,xino=top/x"]);
        let plain = Found { branches: 511, dirperm1: false, dio: false, xino: Xino::None };
        let read_only = texts(&plain, &below, Access::ReadOnly);
        assert_eq!(read_only, ["ro,br:top/d=ro+wh:b/d=ro+wh:c/d=ro+wh,noxino"]);
        let memory = Found { xino: Xino::Memory, ..plain };
        assert!(texts(&memory, &below, Access::ReadOnly)[0].contains(",xino=/dev/shm/.berth-"));
    }

    #[test]
    fn branches_past_a_page_are_appended_in_order_by_remounts() {
        let below: Vec<_> = (0..1000).map(|n| format!("{}{n:04}/d", "l".repeat(40))).collect();
        let pages = texts(&FOUND, &below, Access::ReadOnly);
        assert!(pages.len() > 10 && pages.iter().all(|page| page.len() <= PAGE + "ro,".len()), "{}", pages.len());
        assert!(pages[1..].iter().all(|page| page.starts_with("ro,remount,append:")));
        let named: Vec<_> = pages
            .iter()
            .flat_map(|page| page.split([',', ':']))
            .filter_map(|word| word.strip_suffix("=ro+wh"))
            .map(|word| word.trim_start_matches("append:").to_owned())
            .filter(|name| name != "top/d")
            .collect();
        assert_eq!(named, below);
    }

    #[test]
    fn what_was_found_is_kept_as_words() {
        for xino in [Xino::Layer, Xino::Memory, Xino::None] {
            for (dirperm1, dio) in [(true, false), (false, true)] {
                let found = Found { branches: 1023, dirperm1, dio, xino };
                assert_eq!(found.to_string().parse::<Found>().unwrap(), found);
            }
        }
        assert!("nothing".parse::<Found>().is_err() && "1 branches".parse::<Found>().is_err());
    }
}
