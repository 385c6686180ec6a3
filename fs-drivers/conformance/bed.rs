//! What a behaviour works with: a driver over a folder of its own, and short ways to say things.

use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::ground::{self, GROUNDS};
use crate::diff::{UnpackOptions, Unpacked, pack, unpack};
use crate::mount::{open_contents, with_mounted};
use crate::{Access, Change, ChangeKind, Driver, Entry, LayerId, LayerOptions, Result, registry};
use berth_arch::root_dir::RootDir;

pub(super) struct Bed {
    pub(super) driver: Box<dyn Driver>,
    folder: tempfile::TempDir,
}

/// Names the one driver to try, which has to work.
pub(super) const ONLY: &str = "BERTH_TEST_DRIVER";

/// Whether the tests are about this driver: not if they are those of another one alone.
pub(super) fn is_meant(driver: &str) -> bool {
    std::env::var(ONLY).map_or(true, |only| only == driver)
}

/// Runs `behaviour` on every driver that works here, and on the file systems that are made for it.
pub(super) fn each(behaviour: impl Fn(&Bed) + Sync) {
    if let Ok(only) = std::env::var(ONLY) {
        let entry = registry::DRIVERS.iter().find(|entry| entry.name == only).expect("a driver's name");
        let folder = scratch();
        assert_eq!((entry.probe)(folder.path()).reason(), None);
        return behaviour(&Bed::new(entry, folder));
    }
    for entry in registry::DRIVERS {
        try_on(entry, scratch(), "the tests' file system", &behaviour);
        let grounds = GROUNDS.iter().filter(|(driver, _)| *driver == entry.name);
        for kind in grounds.flat_map(|(_, kinds)| *kinds) {
            let tried = ground::on(kind, |root| {
                let folder = tempfile::tempdir_in(root).unwrap();
                try_on(entry, folder, kind.name, &behaviour);
            });
            if let Err(reason) = tried {
                eprintln!("skipped {} on {}: {reason}", entry.name, kind.name);
            }
        }
    }
}

fn try_on(entry: &Entry, folder: tempfile::TempDir, ground: &str, behaviour: impl Fn(&Bed)) {
    let probe = (entry.probe)(folder.path());
    match probe.reason() {
        Some(reason) => eprintln!("skipped {}: {reason} (on {ground})", entry.name),
        None => {
            eprintln!("driver {} on {ground}", entry.name);
            behaviour(&Bed::new(entry, folder));
        }
    }
}

/// Not on a tmpfs, which lacks some of what is tried here: in `BERTH_TEST_DIR`, as the whole program's tests.
pub(crate) fn scratch() -> tempfile::TempDir {
    let folder = std::env::var_os("BERTH_TEST_DIR").unwrap_or_else(|| "/var/tmp".into());
    tempfile::Builder::new().prefix("berth-fs-").tempdir_in(folder).unwrap()
}

pub(super) fn id(name: &str) -> LayerId {
    name.parse().unwrap()
}

pub(super) fn ids(names: &[&str]) -> Vec<LayerId> {
    names.iter().map(|name| id(name)).collect()
}

impl Bed {
    pub(super) fn new(entry: &Entry, folder: tempfile::TempDir) -> Self {
        Self { driver: (entry.open)(folder.path()).unwrap(), folder }
    }

    pub(super) fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Makes an empty layer without a limit.
    pub(super) fn prepare(&self, name: &str, parents: &[&str]) -> Result<()> {
        self.driver.prepare(&id(name), &ids(parents), &LayerOptions::default())
    }

    /// Makes a layer and lets `fill` work in its merged tree. Not sealed, as syncs are slow and say nothing here.
    pub(super) fn layer(&self, name: &str, parents: &[&str], fill: impl FnOnce(&Path) + Send) {
        self.prepare(name, parents).unwrap();
        self.write(name, parents, fill);
    }

    pub(super) fn write<T: Send>(&self, name: &str, parents: &[&str], f: impl FnOnce(&Path) -> T + Send) -> T {
        self.mounted(name, parents, Access::ReadWrite, f)
    }

    pub(super) fn read<T: Send>(&self, name: &str, parents: &[&str], f: impl FnOnce(&Path) -> T + Send) -> T {
        self.mounted(name, parents, Access::ReadOnly, f)
    }

    /// Calls `f` with what the layer itself holds.
    pub(super) fn contents<T>(&self, name: &str, parents: &[&str], f: impl FnOnce(&Path) -> T) -> T {
        let root = open_contents(&*self.driver, &id(name), &ids(parents), Access::ReadWrite).unwrap();
        f(&path_of(&root))
    }

    fn mounted<T: Send>(&self, name: &str, parents: &[&str], access: Access, f: impl FnOnce(&Path) -> T + Send) -> T {
        let mounts = self.driver.mounts(&id(name), &ids(parents), access).unwrap();
        with_mounted(&mounts, f).unwrap()
    }

    pub(super) fn changes(&self, name: &str, parents: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        crate::diff::changes(&*self.driver, &id(name), &ids(parents), &mut |change| tell(change, &mut found)).unwrap();
        found
    }

    /// As [`Bed::changes`], by comparing the whole trees whatever the driver can.
    pub(super) fn compared(&self, name: &str, parents: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        crate::diff::compare_whole(&*self.driver, &id(name), &ids(parents), &mut |change| tell(change, &mut found))
            .unwrap();
        found
    }

    pub(super) fn pack(&self, name: &str, parents: &[&str]) -> Vec<u8> {
        let mut archive = Vec::new();
        pack(&*self.driver, &id(name), &ids(parents), &mut archive).unwrap();
        archive
    }

    /// Makes a layer of an archive.
    pub(super) fn unpack(&self, name: &str, parents: &[&str], archive: &[u8]) -> Result<Unpacked> {
        self.unpack_with(name, parents, archive, UnpackOptions::default())
    }

    pub(super) fn unpack_with(
        &self,
        name: &str,
        parents: &[&str],
        archive: &[u8],
        options: UnpackOptions<'_>,
    ) -> Result<Unpacked> {
        self.prepare(name, parents)?;
        let root = open_contents(&*self.driver, &id(name), &ids(parents), Access::ReadWrite)?;
        unpack(archive, root, self.driver.whiteouts(), options)
    }
}

fn tell(change: Change<'_>, lines: &mut Vec<String>) -> std::io::Result<()> {
    let letter = match change.kind {
        ChangeKind::Added => 'A',
        ChangeKind::Modified => 'C',
        ChangeKind::Deleted => 'D',
    };
    lines.push(format!("{letter} /{}", change.path.display()));
    Ok(())
}

/// A tree as GNU tar sees it: every attribute of every name, and the contents.
pub(crate) fn snapshot(root: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let root_dir = berth_arch::root_dir::RootDir::open(root).unwrap();
    let mut walk = crate::tree::Walk::new(&root_dir).unwrap();
    let mut first = std::collections::HashMap::new();
    let mut lines = Vec::new();
    while let Some(found) = walk.next().unwrap() {
        let path = root.join(&found.path);
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_file() {
            crc32fast::hash(&std::fs::read(&path).unwrap()).to_string()
        } else if meta.is_symlink() {
            std::fs::read_link(&path).unwrap().display().to_string()
        } else {
            String::new()
        };
        let link = match meta.nlink() {
            2.. if !meta.is_dir() => {
                first.entry(meta.ino()).or_insert_with(|| found.path.clone()).display().to_string()
            }
            _ => String::new(),
        };
        let xattrs = crate::tree::list_xattrs(&*found.directory, &found.name).unwrap();
        lines.push(format!(
            "{:?} {:o} {}:{} {} {}.{:09} {} {content} [{link}] {xattrs:?}",
            found.path,
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.rdev(),
            meta.mtime(),
            meta.mtime_nsec(),
            if meta.is_dir() { 0 } else { meta.size() },
        ));
    }
    lines
}

pub(crate) fn assert_same(left: &[String], right: &[String]) {
    let missing: Vec<_> = left.iter().filter(|line| !right.contains(line)).collect();
    let extra: Vec<_> = right.iter().filter(|line| !left.contains(line)).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing: {missing:#?}\nextra: {extra:#?}");
}

/// Runs a shell script in `directory`; false if a program that it needs is missing.
pub(super) fn shell(directory: &Path, script: &str) -> bool {
    let output = Command::new("sh").arg("-ec").arg(script).current_dir(directory).output().unwrap();
    if output.status.code() == Some(127) {
        eprintln!("skipped: {}", String::from_utf8_lossy(&output.stderr));
        return false;
    }
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    true
}

pub(super) fn path_of(root: &RootDir) -> PathBuf {
    format!("/proc/self/fd/{}/.", root.as_fd().as_raw_fd()).into()
}

/// The directory of a layer, where it shows without being mounted.
pub(super) fn directory(bed: &Bed, name: &str) -> Option<PathBuf> {
    bed.driver.directory(&id(name)).unwrap()
}

/// Makes a file of so many bytes that do not compress, on the disk.
pub(super) fn fill(path: &Path, bytes: usize) -> std::io::Result<()> {
    use std::io::Write;
    let mut file = std::fs::File::create(path)?;
    let mut state = 88_172_645_463_325_252_u64;
    let block: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(bytes)
    .collect();
    file.write_all(&block)?;
    file.sync_all()
}
