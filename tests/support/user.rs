//! An ordinary user of the tests' own: a number that nobody has, with tables of users in a mount namespace of its own.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};

use super::covers::Covers;
use super::{find_program, kernel, program};

pub(crate) const NAME: &str = "sailor";
pub(crate) const NUMBER: u32 = 4242;
/// The first of the numbers that the user was given.
pub(crate) const FIRST: u32 = 200_000;
const COUNT: u32 = 65_536;

/// What the host's administrator has done for the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Given {
    Ranges,
    NoRanges,
    /// Nor newuidmap and newgidmap.
    NoPrograms,
}

/// How a command is run by the user.
pub(crate) struct User {
    covers: Covers,
    /// By which the user's processes enter control groups.
    groups: RefCell<Vec<Arc<File>>>,
    program: PathBuf,
    launcher: Option<PathBuf>,
}

impl User {
    /// None, with the reason, where it cannot be tried. `folder` becomes the user's.
    pub(crate) fn new(folder: &Path, given: Given) -> Option<Self> {
        if kernel::lacks("namespace for an ordinary user", (3, 8)) {
            return None;
        }
        if given == Given::Ranges && find_program("newuidmap").is_none() {
            super::skip("newuidmap is not installed (Debian's uidmap; `ci/setup test`)");
            return None;
        }
        let tables = folder.join("etc");
        fs::create_dir(&tables).unwrap();
        fs::create_dir_all(folder.join("home")).unwrap();
        let own = folder.join("berth");
        fs::write(&own, "").unwrap();
        let line = format!("{NAME}:{FIRST}:{COUNT}\n");
        let ranges = if given == Given::NoRanges { "" } else { line.as_str() };
        let users = format!("root:x:0:0::/root:/bin/sh\n{NAME}:x:{NUMBER}:{NUMBER}::/home/{NAME}:/bin/sh\n");
        let groups = format!("root:x:0:\n{NAME}:x:{NUMBER}:\n");
        let all = [("passwd", users.as_str()), ("group", groups.as_str()), ("subuid", ranges), ("subgid", ranges)];
        for (name, text) in all {
            fs::write(tables.join(name), text).unwrap();
        }
        for path in [folder.to_owned(), folder.join("home")] {
            chown(path, Some(NUMBER), Some(NUMBER)).unwrap();
        }
        let mut binds: Vec<(PathBuf, PathBuf)> = vec![(program().clone(), own.clone())];
        // As distributions have it, for everybody.
        if Path::new("/dev/fuse").exists() {
            let fuse = folder.join("fuse");
            mknod(&fuse, SFlag::S_IFCHR, Mode::empty(), makedev(10, 229)).expect("make a node");
            fs::set_permissions(&fuse, fs::Permissions::from_mode(0o666)).unwrap();
            binds.push((fuse, "/dev/fuse".into()));
        }
        binds.extend(all.iter().map(|(name, _)| (tables.join(name), Path::new("/etc").join(name))));
        if given == Given::NoPrograms {
            let found = ["newuidmap", "newgidmap"].into_iter().filter_map(find_program);
            binds.extend(found.map(|path| (PathBuf::from("/dev/null"), path)));
        }
        let covers = Covers::new(binds);
        let launcher = super::kernel::launcher_for_users(folder);
        Some(Self { covers, groups: RefCell::default(), program: own, launcher })
    }

    /// What the user runs from now on is in these control groups.
    pub(crate) fn put_into(&self, groups: &[PathBuf]) {
        let open = |group: &PathBuf| Arc::new(File::options().write(true).open(group.join("cgroup.procs")).unwrap());
        *self.groups.borrow_mut() = groups.iter().map(open).collect();
    }

    /// The program under test, where the user can reach it.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// What puts it on an older kernel.
    pub(crate) fn launcher(&self) -> Option<&Path> {
        self.launcher.as_deref()
    }

    /// What `command` starts is run by the user. After everything that takes root.
    pub(crate) fn enter(&self, command: &mut Command) {
        self.covers.enter(command);
        let groups = self.groups.borrow().clone();
        // SAFETY: between fork and exec the closure makes system calls; it allocates nothing and takes no lock.
        unsafe {
            command.pre_exec(move || {
                for group in &groups {
                    nix::unistd::write(group, b"0")?;
                }
                setgroups(&[])?;
                setgid(Gid::from_raw(NUMBER))?;
                Ok(setuid(Uid::from_raw(NUMBER))?)
            });
        }
    }
}
