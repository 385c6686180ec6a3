//! Files put into a tree that somebody uses: an archive without a layer's conventions (no whiteouts), below a
//! directory of the tree. Links are followed inside the tree's root, never out of it.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use berth_arch::IdMap;
use berth_arch::root_dir::RootDir;

use super::super::renumber;
use super::{Kind, Member, Meta, Places, Reader, Unpacked, Unpacker, split};
use crate::{Error, Result};

/// How files are put into a tree.
#[derive(Debug, Clone, Default)]
pub struct FilesOptions {
    /// A directory does not replace something else, nor the other way round.
    pub keep_kinds: bool,
    /// Instead of the archive's: user and group.
    pub owner: Option<(u32, u32)>,
    /// Of the container that the tree is: owners are by its numbers.
    pub map: Option<IdMap>,
    /// See [`super::UnpackOptions::in_user_namespace`].
    pub in_user_namespace: bool,
}

pub(super) struct Rules {
    /// Where names begin, without slashes at its ends.
    prefix: Vec<u8>,
    keep_kinds: bool,
    owner: Option<(u32, u32)>,
    map: Option<IdMap>,
}

impl Rules {
    /// User and group outside.
    pub(super) fn owner(&self, member: &Member) -> io::Result<(u32, u32)> {
        let (user, group) = self.owner.unwrap_or((member.uid, member.gid));
        let Some(map) = &self.map else { return Ok((user, group)) };
        let outside = map.user_outside(user).zip(map.group_outside(group));
        outside.ok_or_else(|| {
            io::Error::other(format!(
                "the owner {user}:{group} is not among the users and groups of the container ({map}); give it a larger range"
            ))
        })
    }

    pub(super) fn value<'v>(&self, attribute: &[u8], value: &'v [u8]) -> Cow<'v, [u8]> {
        let Some(map) = &self.map else { return Cow::Borrowed(value) };
        let mut value = value.to_vec();
        renumber(attribute, &mut value, |id| map.user_outside(id), |id| map.group_outside(id));
        Cow::Owned(value)
    }

    pub(super) fn below(&self, name: Vec<u8>) -> Vec<u8> {
        match (self.prefix.is_empty(), name.is_empty()) {
            (true, _) => name,
            (false, true) => self.prefix.clone(),
            (false, false) => [self.prefix.as_slice(), b"/", &name].concat(),
        }
    }
}

/// Unpacks `archive` (tar, not compressed) below the directory `into` of the tree at `root`, and reads it to its end.
/// Not atomic: what was unpacked before an error stays. What `keep_kinds` refuses is an I/O error of the kind
/// AlreadyExists.
pub fn unpack_files(archive: impl Read, root: RootDir, into: &Path, options: FilesOptions) -> Result<Unpacked> {
    let rules = Rules {
        prefix: trim(into.as_os_str().as_bytes()).to_vec(),
        keep_kinds: options.keep_kinds,
        owner: options.owner,
        map: options.map,
    };
    let unpacker = Unpacker {
        reader: Reader::new(archive, None),
        places: Places::in_tree(root),
        directories: Vec::new(),
        lenient: options.in_user_namespace,
        expected: None,
        files: Some(rules),
        done: Unpacked::default(),
    };
    unpacker.run().map_err(|source| match source.kind() {
        io::ErrorKind::InvalidData if source.get_ref().is_some() => Error::InvalidArgument(source.to_string()),
        _ => Error::Io { action: "unpack into", path: into.to_path_buf(), source },
    })
}

fn trim(path: &[u8]) -> &[u8] {
    let start = path.iter().position(|&byte| byte != b'/').unwrap_or(path.len());
    let end = path.iter().rposition(|&byte| byte != b'/').map_or(start, |last| last + 1);
    &path[start..end]
}

impl<R: Read> Unpacker<'_, R> {
    /// Whether `member` may go to `path`, which is given back.
    pub(super) fn judge(&mut self, member: &Member, path: Vec<u8>) -> io::Result<Vec<u8>> {
        if !self.files.as_ref().is_some_and(|rules| rules.keep_kinds) {
            return Ok(path);
        }
        let (parent, name) = split(&path);
        if name.is_empty() {
            return Ok(path);
        }
        let directory = self.places.directory(parent)?;
        let Some(found) = Meta::find(directory, OsStr::from_bytes(name))? else { return Ok(path) };
        let (old, new) = match (found.is_dir(), member.kind == Kind::Directory) {
            (true, false) => ("directory", "non-directory"),
            (false, true) => ("non-directory", "directory"),
            _ => return Ok(path),
        };
        let (shown, own) = (String::from_utf8_lossy(&path), String::from_utf8_lossy(&member.name));
        let message = format!("cannot overwrite {old} {shown:?} with {new} {own:?}");
        Err(io::Error::new(io::ErrorKind::AlreadyExists, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::{Owners, pack_path, pack_tree};
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    struct Scratch(std::path::PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("berth-files-{}-{name}", std::process::id()));
            for part in ["source", "root/into", "outside"] {
                fs::create_dir_all(folder.join(part)).unwrap();
            }
            Self(folder)
        }

        fn unpack(&self, archive: &[u8], into: &str, options: FilesOptions) -> Result<Unpacked> {
            unpack_files(archive, RootDir::open(&self.0.join("root")).unwrap(), Path::new(into), options)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn files_are_merged_below_the_directory_and_whiteouts_are_names_like_others() {
        let scratch = Scratch::new("merge");
        let source = scratch.0.join("source");
        fs::write(source.join(".wh.kept"), "plain").unwrap();
        fs::create_dir(source.join("sub")).unwrap();
        fs::write(source.join("sub/new"), "new").unwrap();
        let mut archive = Vec::new();
        pack_tree(&source, Owners::AsTheyAre, &mut archive).unwrap();
        let into = scratch.0.join("root/into");
        fs::write(into.join("kept"), "old").unwrap();
        fs::create_dir(into.join("sub")).unwrap();
        fs::write(into.join("sub/old"), "old").unwrap();
        fs::set_permissions(&into, fs::Permissions::from_mode(0o711)).unwrap();
        scratch.unpack(&archive, "/into/", FilesOptions::default()).unwrap();
        for (name, text) in [("kept", "old"), (".wh.kept", "plain"), ("sub/old", "old"), ("sub/new", "new")] {
            assert_eq!(fs::read_to_string(into.join(name)).unwrap(), text, "{name}");
        }
        assert_eq!(fs::metadata(&into).unwrap().mode() & 0o7777, 0o711);
    }

    #[test]
    fn links_do_not_lead_out_of_the_root() {
        let scratch = Scratch::new("escape");
        let source = scratch.0.join("source");
        fs::create_dir(source.join("link")).unwrap();
        fs::write(source.join("link/file"), "x").unwrap();
        let mut archive = Vec::new();
        pack_tree(&source, Owners::AsTheyAre, &mut archive).unwrap();
        let root = scratch.0.join("root");
        symlink(scratch.0.join("outside"), root.join("into/link")).unwrap();
        scratch.unpack(&archive, "into", FilesOptions::default()).unwrap();
        assert_eq!(fs::read_dir(scratch.0.join("outside")).unwrap().count(), 0);
        // The link in the destination itself is resolved inside the root.
        symlink("../../../outside", root.join("way")).unwrap();
        fs::create_dir(root.join("outside")).unwrap();
        scratch.unpack(&archive, "way", FilesOptions::default()).unwrap();
        assert_eq!(fs::read_dir(scratch.0.join("outside")).unwrap().count(), 0);
        assert!(root.join("outside/link/file").exists());
    }

    #[test]
    fn a_directory_and_something_else_do_not_replace_each_other_if_told_so() {
        let scratch = Scratch::new("kinds");
        let source = scratch.0.join("source");
        fs::write(source.join("name"), "x").unwrap();
        let mut archive = Vec::new();
        pack_tree(&source, Owners::AsTheyAre, &mut archive).unwrap();
        fs::create_dir(scratch.0.join("root/into/name")).unwrap();
        let options = FilesOptions { keep_kinds: true, ..FilesOptions::default() };
        let refused = scratch.unpack(&archive, "into", options).unwrap_err();
        assert!(refused.to_string().contains("cannot overwrite directory"), "{refused}");
        scratch.unpack(&archive, "into", FilesOptions::default()).unwrap();
        assert_eq!(fs::read_to_string(scratch.0.join("root/into/name")).unwrap(), "x");
    }

    #[test]
    fn a_packed_path_carries_the_name_it_is_given() {
        let scratch = Scratch::new("pack");
        fs::write(scratch.0.join("root/into/file"), "x").unwrap();
        let root = RootDir::open(&scratch.0.join("root")).unwrap();
        let mut archive = Vec::new();
        pack_path(&root, Path::new("/into"), Path::new("other"), Owners::AsTheyAre, &mut archive).unwrap();
        scratch.unpack(&archive, "", FilesOptions { owner: Some((7, 8)), ..FilesOptions::default() }).unwrap();
        let copy = fs::metadata(scratch.0.join("root/other/file")).unwrap();
        assert_eq!((copy.uid(), copy.gid(), copy.len()), (7, 8, 1));
    }
}
