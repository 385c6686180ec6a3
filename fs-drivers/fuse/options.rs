//! What makes up one union, in overlay's words.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use berth_arch::mount::Mount;

use crate::stacked::{DIFF, WORK};
use crate::{Access, LayerId};

/// The mount's type until it is activated, and what /proc/mounts shows afterwards.
pub const TYPE: &str = "fuse.berth";

/// Folders relative to the driver's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) upper: Option<String>,
    pub(super) work: Option<String>,
    /// Nearest first.
    pub(super) lower: Vec<String>,
    pub(super) user_xattr: bool,
    pub(super) volatile: bool,
}

impl Options {
    /// Words that belong to the kernel (`ro`) are passed over.
    pub(super) fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let mut options = Self::default();
        for word in words {
            match word.split_once('=') {
                Some(("lowerdir", value)) => options.lower = value.split(':').map(str::to_owned).collect(),
                Some(("upperdir", value)) => options.upper = Some(value.to_owned()),
                Some(("workdir", value)) => options.work = Some(value.to_owned()),
                None if word == "userxattr" => options.user_xattr = true,
                None if word == "volatile" => options.volatile = true,
                _ => {}
            }
        }
        options
    }

    pub(super) fn is_word_of_ours(word: &str) -> bool {
        matches!(word, "userxattr" | "volatile")
            || ["lowerdir=", "upperdir=", "workdir="].iter().any(|prefix| word.starts_with(prefix))
    }
}

/// The mount that shows `id` over `parents`.
pub(super) fn mount(base: &Path, user_xattr: bool, id: &LayerId, parents: &[LayerId], access: Access) -> Mount {
    let diff = |id: &LayerId| format!("{id}/{DIFF}");
    let read_only = access == Access::ReadOnly;
    // A layer with nothing below needs no union, and a folder is faster.
    let (fstype, source, words) = if parents.is_empty() {
        ("bind", diff(id), Vec::new())
    } else {
        let lower: Vec<_> = read_only.then_some(id).into_iter().chain(parents).map(diff).collect();
        let mut words = vec![format!("lowerdir={}", lower.join(":"))];
        // Read-only too, it tells that the topmost layer is the one that was written to.
        if !read_only {
            words.push(format!("upperdir={}", diff(id)));
        }
        words.push(format!("workdir={id}/{WORK}"));
        words.extend(user_xattr.then(|| "userxattr".to_owned()));
        words.extend((access == Access::Throwaway).then(|| "volatile".to_owned()));
        (TYPE, source(base, id), words)
    };
    Mount {
        fstype: fstype.to_owned(),
        source: source.into(),
        target: "/".into(),
        options: read_only.then(|| "ro".to_owned()).into_iter().chain(words).collect(),
        base: Some(base.to_path_buf()),
    }
}

/// What tells the mount from all others of the host in /proc/PID/mountinfo, where nothing else does: the driver's folder, by
/// number and not by name, and the layer in it.
fn source(base: &Path, id: &LayerId) -> String {
    let (device, inode) = std::fs::metadata(base).map_or((0, 0), |found| (found.dev(), found.ino()));
    format!("berth-{device:x}-{inode:x}-{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let ids = ["c", "b", "a"].map(|name| name.parse::<LayerId>().unwrap());
        let words = |access| mount(Path::new("/s"), false, &ids[0], &ids[1..], access).options;
        let read = |words: &[String]| Options::parse(words.iter().map(String::as_str));
        let writable = read(&words(Access::Throwaway));
        assert_eq!((writable.upper.as_deref(), writable.work.as_deref()), (Some("c/d"), Some("c/w")));
        assert_eq!((writable.lower.len(), writable.volatile), (2, true));
        let read_only = read(&words(Access::ReadOnly));
        assert_eq!((read_only.lower.join(","), read_only.upper), ("c/d,b/d,a/d".to_owned(), None));
        assert!(words(Access::ReadOnly).contains(&"ro".to_owned()));
    }
}
