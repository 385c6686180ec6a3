//! A mount namespace in which files of a test's cover the host's.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::chdir;

#[derive(Clone)]
pub(crate) struct Covers(Arc<File>);

impl Covers {
    /// What covers, and what it covers, which has to be there.
    pub(crate) fn new(binds: Vec<(PathBuf, PathBuf)>) -> Self {
        let made = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).expect("a mount namespace");
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private mounts");
            for (from, to) in binds {
                if !to.exists() {
                    panic!("{}: there is no such file to cover", to.display());
                }
                mount(Some(&from), &to, none, MsFlags::MS_BIND, none).unwrap_or_else(|error| {
                    panic!("bind {} on {}: {error}", from.display(), to.display());
                });
            }
            File::open("/proc/thread-self/ns/mnt").expect("the namespace's file")
        });
        Self(Arc::new(made.join().expect("make a mount namespace")))
    }

    /// What `command` starts sees them.
    pub(crate) fn enter(&self, command: &mut Command) {
        let mounts = self.0.clone();
        let folder = command.get_current_dir().unwrap_or(Path::new("/"));
        let folder = CString::new(folder.as_os_str().as_bytes()).expect("a path");
        // SAFETY: between fork and exec the closure makes system calls; it allocates nothing and takes no lock.
        unsafe {
            command.pre_exec(move || {
                setns(&*mounts, CloneFlags::CLONE_NEWNS)?;
                // Another mount namespace is entered at its root.
                Ok(chdir(folder.as_c_str())?)
            });
        }
    }
}
