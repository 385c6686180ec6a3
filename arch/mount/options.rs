//! mount(8)'s words as flags of mount(2). Words that are not in the table belong to the file system.

use rustix::mount::{MountFlags, MountPropagationFlags as Propagation};

use super::{Mount, OWNERS};

/// What the words of one mount come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) flags: Flags,
    pub(super) bind: bool,
    pub(super) recursive: bool,
    pub(super) remount: bool,
    pub(super) moves: bool,
    /// `rro`: read-only with everything below.
    pub(super) recursive_read_only: bool,
    /// In the order given.
    pub(super) propagation: Vec<Propagation>,
    /// `X-mount.idmap=`: whom the owners of files are in the mount.
    pub(super) owners: Option<String>,
    /// Joined by commas.
    pub(super) data: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flags(pub(super) MountFlags);

impl Default for Flags {
    fn default() -> Self {
        Self(MountFlags::empty())
    }
}

/// Word, whether it clears, flag.
const FLAGS: &[(&str, bool, MountFlags)] = &[
    ("async", true, MountFlags::SYNCHRONOUS),
    ("atime", true, MountFlags::NOATIME),
    ("dev", true, MountFlags::NODEV),
    ("diratime", true, MountFlags::NODIRATIME),
    ("dirsync", false, MountFlags::DIRSYNC),
    ("exec", true, MountFlags::NOEXEC),
    ("iversion", false, I_VERSION),
    ("lazytime", false, MountFlags::LAZYTIME),
    ("loud", true, MountFlags::SILENT),
    ("mand", false, MountFlags::PERMIT_MANDATORY_FILE_LOCKING),
    ("noatime", false, MountFlags::NOATIME),
    ("nodev", false, MountFlags::NODEV),
    ("nodiratime", false, MountFlags::NODIRATIME),
    ("noexec", false, MountFlags::NOEXEC),
    ("noiversion", true, I_VERSION),
    ("nolazytime", true, MountFlags::LAZYTIME),
    ("nomand", true, MountFlags::PERMIT_MANDATORY_FILE_LOCKING),
    ("norelatime", true, MountFlags::RELATIME),
    ("nostrictatime", true, MountFlags::STRICTATIME),
    ("nosuid", false, MountFlags::NOSUID),
    ("nosymfollow", false, MountFlags::NOSYMFOLLOW),
    ("relatime", false, MountFlags::RELATIME),
    ("ro", false, MountFlags::RDONLY),
    ("rw", true, MountFlags::RDONLY),
    ("silent", false, MountFlags::SILENT),
    ("strictatime", false, MountFlags::STRICTATIME),
    ("suid", true, MountFlags::NOSUID),
    ("symfollow", true, MountFlags::NOSYMFOLLOW),
    ("sync", false, MountFlags::SYNCHRONOUS),
];

/// MS_I_VERSION of linux/mount.h.
const I_VERSION: MountFlags = MountFlags::from_bits_retain(1 << 23);

const PROPAGATION: &[(&str, Propagation)] = &[
    ("private", Propagation::PRIVATE),
    ("rprivate", Propagation::PRIVATE.union(Propagation::REC)),
    ("rshared", Propagation::SHARED.union(Propagation::REC)),
    ("rslave", Propagation::DOWNSTREAM.union(Propagation::REC)),
    ("runbindable", Propagation::UNBINDABLE.union(Propagation::REC)),
    ("shared", Propagation::SHARED),
    ("slave", Propagation::DOWNSTREAM),
    ("unbindable", Propagation::UNBINDABLE),
];

/// Every word that is not left to the file system.
pub fn words() -> impl Iterator<Item = &'static str> {
    let others = ["bind", "defaults", "rbind", "remount", "rro"];
    FLAGS.iter().map(|(word, ..)| *word).chain(PROPAGATION.iter().map(|(word, _)| *word)).chain(others)
}

pub(super) fn parse(mount: &Mount) -> Parsed {
    let mut parsed = Parsed { bind: mount.fstype == "bind", ..Parsed::default() };
    for word in mount.options.iter().flat_map(|option| split(option)) {
        if let Some((_, clears, flag)) = FLAGS.iter().find(|(name, ..)| *name == word) {
            parsed.flags.0.set(*flag, !clears);
        } else if let Some((_, propagation)) = PROPAGATION.iter().find(|(name, _)| *name == word) {
            parsed.propagation.push(*propagation);
        } else {
            match word {
                "" | "defaults" => {}
                "bind" => parsed.bind = true,
                "rbind" => (parsed.bind, parsed.recursive) = (true, true),
                "rec" if parsed.bind => parsed.recursive = true,
                "remount" => parsed.remount = true,
                "move" => parsed.moves = true,
                "rro" => parsed.recursive_read_only = true,
                _ if word.starts_with(OWNERS) => parsed.owners = Some(word[OWNERS.len()..].to_owned()),
                _ => parsed.data.push(word.to_owned()),
            }
        }
    }
    parsed
}

/// An option may itself be a list (`ro,nosuid`), except that `\,` is a comma of overlay's file names.
fn split(option: &str) -> impl Iterator<Item = &str> {
    let mut escaped = false;
    option.split(move |c| {
        let separates = c == ',' && !escaped;
        escaped = c == '\\' && !escaped;
        separates
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(fstype: &str, options: &[&str]) -> Parsed {
        parse(&Mount {
            fstype: fstype.into(),
            source: "none".into(),
            target: "/".into(),
            options: options.iter().map(|word| (*word).to_owned()).collect(),
            base: None,
        })
    }

    #[test]
    fn later_words_win_over_earlier_ones() {
        assert_eq!(words("tmpfs", &["ro", "nosuid", "rw"]).flags.0, MountFlags::NOSUID);
        assert_eq!(words("tmpfs", &["ro,nosuid,suid"]).flags.0, MountFlags::RDONLY);
    }

    #[test]
    fn words_of_the_file_system_become_data() {
        let parsed = words("tmpfs", &["size=64k", "mode=1777", "nodev"]);
        assert_eq!(parsed.data, ["size=64k", "mode=1777"]);
        assert_eq!(parsed.flags.0, MountFlags::NODEV);
    }

    #[test]
    fn an_escaped_comma_stays_in_its_word() {
        assert_eq!(words("overlay", &[r"lowerdir=a\,b,ro"]).data, [r"lowerdir=a\,b"]);
    }

    #[test]
    fn binding_and_propagation_are_told_from_flags() {
        let parsed = words("none", &["rbind", "rslave", "ro"]);
        assert!(parsed.bind && parsed.recursive && parsed.data.is_empty());
        assert_eq!(parsed.propagation, [Propagation::DOWNSTREAM | Propagation::REC]);
        assert!(words("bind", &["rec"]).recursive);
    }
}
