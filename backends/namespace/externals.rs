//! Mounts of a container whose content is not its own: volumes, files of the engine, control groups, what hides files of
//! /proc. A checkpoint names them, and a restore puts there what the container has at that place by then.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use berth_arch::mount::{MountInfo, find_mount, mounts, parse_mounts, umount_detach};
use berth_arch::root_dir::RootDir;
use rustix::fs::{FileType, Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::actions::{Action, c_string};
use super::process::setup;
use super::resolve::{FdPath, Missing, Root};
use super::{rootfs, sys};
use crate::{Error, Result};

/// One of them, as the checkpoint has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct External {
    /// The mount point inside, without links.
    pub(super) mount: PathBuf,
    /// As the specification names it.
    pub(super) target: PathBuf,
    /// What is mounted below the source of a recursive bind mount is one of its own.
    #[serde(default)]
    pub(super) below: PathBuf,
}

/// Those of the container whose first process is `pid`. What it has itself mounted, moved or taken off is criu's business.
pub(super) fn find(pid: i32, actions: &[Action]) -> Result<Vec<External>> {
    let failed = || setup(format!("read the mounts of process {pid}"));
    let table = std::fs::read(format!("/proc/{pid}/mountinfo")).map_err(failed())?;
    let table: Vec<MountInfo> = parse_mounts(&table).collect();
    let ours = mounts().map_err(failed())?;
    let root = RootDir::open(Path::new(&format!("/proc/{pid}/root"))).map_err(failed())?;
    let mut found: Vec<External> = Vec::new();
    let mut add = |mount: &Path, target: &Path, below: &Path| {
        if !found.iter().any(|known| known.mount == mount) {
            found.push(External { mount: mount.to_owned(), target: target.to_owned(), below: below.to_owned() });
        }
    };
    for (target, source) in actions.iter().filter_map(outside) {
        let target = path(target);
        let Ok(opened) = root.open_at(target, OFlags::PATH, Mode::empty()) else { continue };
        let Some(mount) = mounted_there(&opened, &table).map_err(failed())? else { continue };
        // Of a directory that is hidden, the container has a file system of its own; and it may have mounted something there.
        let holder = source.canonicalize().ok().and_then(|source| find_mount(&ours, &source));
        if holder.is_none_or(|holder| holder.device != mount.device) {
            continue;
        }
        add(&mount.mount_point, target, Path::new(""));
        for inner in &table {
            let Ok(below) = inner.mount_point.strip_prefix(&mount.mount_point) else { continue };
            let at = source.join(below);
            let same = |our: &MountInfo| our.mount_point == at && our.device == inner.device && our.root == inner.root;
            if !below.as_os_str().is_empty() && ours.iter().any(same) {
                add(&inner.mount_point, target, below);
            }
        }
    }
    Ok(found)
}

const NULL: &CStr = c"/dev/null";

/// Target and source.
fn outside(action: &Action) -> Option<(&CStr, PathBuf)> {
    match action {
        Action::Mount(mount) if mount.bind => {
            let source = path(mount.mount.source());
            let below = mount.below.as_deref().map(path).map(|below| below.strip_prefix("/").unwrap_or(below));
            Some((&mount.target, below.map_or_else(|| source.to_owned(), |below| source.join(below))))
        }
        Action::Mask(path) => Some((path, self::path(NULL).to_owned())),
        _ => None,
    }
}

fn path(text: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(text.to_bytes()))
}

/// The mount of which `opened` is the root, by the number that the kernel gives it (`mnt_id` of fdinfo, 3.15).
fn mounted_there<'t>(opened: &OwnedFd, table: &'t [MountInfo]) -> io::Result<Option<&'t MountInfo>> {
    let id = mount_id("self", opened.as_fd().as_raw_fd())?;
    let place = std::fs::read_link(format!("/proc/self/fd/{}", opened.as_fd().as_raw_fd()))?;
    Ok(table.iter().rfind(|mount| mount.id == id && mount.mount_point == place))
}

/// Of the descriptor `number` of process `pid`.
pub(super) fn mount_id(pid: &str, number: i32) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}"))?;
    let id = text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    id.ok_or_else(|| io::Error::other("this kernel does not number mounts (it comes with Linux 3.15)"))
}

/// criu's word for the `index`th: while it is written, and what stands for it when it is read.
pub(super) fn written(index: usize, external: &External) -> String {
    format!("mnt[{}]:{}", external.mount.display(), key(index))
}

fn key(index: usize) -> String {
    format!("berth-{index}")
}

/// What a restored container has at the places of a checkpoint's externals: mounts in this process's mount namespace, which
/// are taken off when it is dropped.
pub(super) struct Staged {
    folder: PathBuf,
    places: Vec<PathBuf>,
}

impl Staged {
    /// `folder` is made, and removed in the end. The caller has a mount namespace of its own.
    pub(super) fn new(folder: PathBuf, actions: &[Action], externals: &[External]) -> Result<Self> {
        let name = c_string(&folder)?;
        let made = std::fs::create_dir_all(&folder)
            .and_then(|()| Ok(sys::mount(Some(c"tmpfs"), &name, Some(c"tmpfs"), 0, Some(c"mode=700"))?));
        made.map_err(setup(format!("make {}", folder.display())))?;
        let mut staged = Self { folder, places: Vec::new() };
        externals.iter().try_for_each(|external| staged.add(actions, external))?;
        Ok(staged)
    }

    /// For criu.
    pub(super) fn externals(&self) -> Vec<String> {
        let named = self.places.iter().enumerate();
        named.map(|(index, place)| format!("mnt[{}]:{}", key(index), place.display())).collect()
    }

    fn add(&mut self, actions: &[Action], external: &External) -> Result<()> {
        let action =
            actions.iter().find(|action| outside(action).is_some_and(|(target, _)| path(target) == external.target));
        let action = action.ok_or_else(|| {
            Error::InvalidArgument(format!(
                "checkpoint: it has a mount at {} that this container has not",
                external.target.display()
            ))
        })?;
        let place = self.folder.join(self.places.len().to_string());
        self.make(action, external, &place)
            .map_err(setup(format!("make ready what is mounted at {}", external.mount.display())))?;
        self.places.push(place);
        Ok(())
    }

    fn make(&self, action: &Action, external: &External, place: &Path) -> io::Result<()> {
        if external.below.as_os_str().is_empty() {
            return mount_at(action, place);
        }
        let whole = place.with_extension("whole");
        mount_at(action, &whole)?;
        // What leads there may have become a link meanwhile.
        let parent = RootDir::open(&whole)?.parent_no_links(&external.below)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        bind(&rustix::fs::openat(&parent.directory, &parent.name, flags, Mode::empty())?, place)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let _ = umount_detach(&self.folder);
        let _ = std::fs::remove_dir(&self.folder);
    }
}

fn mount_at(action: &Action, place: &Path) -> io::Result<()> {
    match action {
        Action::Mount(mount) => {
            let target = make_place(place, mount.missing == Missing::MakeDirectory)?;
            let nowhere = File::open("/")?;
            let root = Root { directory: nowhere.as_fd(), openat2: !berth_arch::pretend::without("openat2") };
            rootfs::mount_at(&root, mount, &FdPath::new(target.as_fd()))?;
            // With its flags: criu may bind it more than once, and does not look at those of each.
            let name = c_string(place).map_err(io::Error::other)?;
            mount.then.as_ref().map_or(Ok(()), |then| Ok(then.perform(&name)?))
        }
        _ => {
            let null = rustix::fs::open(NULL, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            bind(&null, place)
        }
    }
}

fn bind(found: &OwnedFd, place: &Path) -> io::Result<()> {
    let directory = FileType::from_raw_mode(rustix::fs::fstat(found)?.st_mode) == FileType::Directory;
    let target = make_place(place, directory)?;
    let (source, target) = (FdPath::new(found.as_fd()), FdPath::new(target.as_fd()));
    Ok(sys::mount(Some(source.as_c_str()), target.as_c_str(), None, libc::MS_BIND | libc::MS_REC, None)?)
}

fn make_place(place: &Path, directory: bool) -> io::Result<OwnedFd> {
    if directory {
        std::fs::create_dir(place)?;
    } else {
        File::create_new(place)?;
    }
    Ok(rustix::fs::open(place, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}
