//! Making files as somebody else (setfsuid(2)), with the rights that this thread has.

use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Signal, dumpable_behavior, parent_process_death_signal, set_dumpable_behavior,
    set_parent_process_death_signal,
};

use crate::sys;

/// As long as this is there, what the thread makes in file systems belongs to another user and group, as files must where the
/// owners of a mount are mapped and this process's user is not among them. Of this thread alone.
///
/// For a moment at its start and its end, this thread has no parent-death signal: who counts on one asks afterwards whether
/// the parent is still there.
#[derive(Debug)]
pub struct FsOwner {
    user: u32,
    group: u32,
    lost: Lost,
    /// A value of the thread that made it.
    _here: std::marker::PhantomData<*const ()>,
}

impl FsOwner {
    /// System calls only. Root that makes files as somebody else would lose its rights over files; they are kept.
    pub fn new(user: u32, group: u32) -> Result<Self, Errno> {
        let rights = rustix::thread::capabilities(None)?;
        let lost = Lost::read()?;
        let before = Self {
            user: sys::set_fs_user(user),
            group: sys::set_fs_group(group),
            lost,
            _here: std::marker::PhantomData,
        };
        if (sys::set_fs_user(user), sys::set_fs_group(group)) != (user, group) {
            return Err(Errno::PERM);
        }
        rustix::thread::set_capabilities(None, rights)?;
        before.lost.put_back()?;
        Ok(before)
    }
}

impl Drop for FsOwner {
    fn drop(&mut self) {
        sys::set_fs_group(self.group);
        sys::set_fs_user(self.user);
        let _ = self.lost.put_back();
    }
}

/// What the kernel takes from a thread with every change of its user or group (commit_creds).
#[derive(Debug)]
struct Lost {
    parent_death_signal: Option<Signal>,
    /// Of the whole process.
    dumpable: DumpableBehavior,
}

impl Lost {
    fn read() -> Result<Self, Errno> {
        Ok(Self { parent_death_signal: parent_process_death_signal()?, dumpable: dumpable_behavior()? })
    }

    fn put_back(&self) -> Result<(), Errno> {
        // The kernel takes 0 and 1 only; what else it was is fs.suid_dumpable, which it is again.
        if self.dumpable != DumpableBehavior::DumpableReadableOnlyByRoot {
            set_dumpable_behavior(self.dumpable)?;
        }
        set_parent_process_death_signal(self.parent_death_signal)
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
        set_parent_process_death_signal(Some(Signal::USR2)).unwrap();
        let kept = || (parent_process_death_signal().unwrap(), dumpable_behavior().unwrap());
        let guard = FsOwner::new(1234, 1234).unwrap();
        let kept_during = kept();
        // Only with rights over files: the folder is not theirs.
        let (during, chowned) = (made("a"), std::os::unix::fs::chown(folder.join("a"), Some(1), None));
        drop(guard);
        let (after, kept_after) = (made("b"), kept());
        set_parent_process_death_signal(None).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!((during, after), (1234, 0));
        chowned.unwrap();
        let as_before = (Some(Signal::USR2), DumpableBehavior::Dumpable);
        assert_eq!((kept_during, kept_after), (as_before, as_before));
    }
}
