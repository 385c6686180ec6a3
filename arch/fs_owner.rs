//! Making files as somebody else (setfsuid(2)), with the rights that this thread has.

use rustix::io::Errno;

use crate::sys;

/// As long as this is there, what the thread makes in file systems belongs to another user and group, as files must where the
/// owners of a mount are mapped and this process's user is not among them. Of this thread alone.
#[derive(Debug)]
pub struct FsOwner {
    user: u32,
    group: u32,
    /// A value of the thread that made it.
    _here: std::marker::PhantomData<*const ()>,
}

impl FsOwner {
    /// System calls only. Root that makes files as somebody else would lose its rights over files; they are kept.
    pub fn new(user: u32, group: u32) -> Result<Self, Errno> {
        let rights = rustix::thread::capabilities(None)?;
        let before =
            Self { user: sys::set_fs_user(user), group: sys::set_fs_group(group), _here: std::marker::PhantomData };
        if (sys::set_fs_user(user), sys::set_fs_group(group)) != (user, group) {
            return Err(Errno::PERM);
        }
        rustix::thread::set_capabilities(None, rights)?;
        Ok(before)
    }
}

impl Drop for FsOwner {
    fn drop(&mut self) {
        sys::set_fs_group(self.group);
        sys::set_fs_user(self.user);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn files_are_made_as_another_and_then_as_oneself() {
        if !rustix::process::geteuid().is_root() || !crate::Ids::here().has_user(1234) {
            return eprintln!("skipped: not root");
        }
        let folder = std::env::temp_dir().join(format!("berth-fs-owner-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let made = |name: &str| {
            std::fs::write(folder.join(name), "").unwrap();
            std::fs::metadata(folder.join(name)).unwrap().uid()
        };
        let guard = FsOwner::new(1234, 1234).unwrap();
        // Only with rights over files: the folder is not theirs.
        let (during, chowned) = (made("a"), std::os::unix::fs::chown(folder.join("a"), Some(1), None));
        drop(guard);
        let after = made("b");
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!((during, after), (1234, 0));
        chowned.unwrap();
    }
}
