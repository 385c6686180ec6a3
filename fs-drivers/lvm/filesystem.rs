//! The file systems that layers are: how one is made, mounted and enlarged.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use berth_arch::program;
use rustix::io::Errno;

use super::control;
use crate::error::At;
use crate::{Error, Result, tree};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileSystem {
    Ext4,
    Xfs,
}

/// What the kernel makes of a new xfs is at least this large.
pub(super) const SMALLEST_XFS: u64 = 300 << 20;
/// With a journal of [`JOURNAL`].
pub(super) const SMALLEST_EXT4: u64 = 64 << 20;

/// MiB: every layer that is written to gets all of it in the end.
const JOURNAL: &str = "size=16";

/// Blocks of 4 KiB that an ext4 can be enlarged to while it is mounted, a TiB: what is reserved for more (1024 times as much)
/// does not go through a small journal at once.
const GROWS_TO: u64 = 1 << 28;

impl FileSystem {
    pub(super) fn parse(name: &str) -> Option<Self> {
        [Self::Ext4, Self::Xfs].into_iter().find(|one| one.name() == name)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    /// Bytes.
    pub(super) fn smallest(self) -> u64 {
        match self {
            Self::Ext4 => SMALLEST_EXT4,
            Self::Xfs => SMALLEST_XFS,
        }
    }

    /// The program that makes one and the package that has it.
    fn maker(self) -> (&'static str, &'static str) {
        match self {
            Self::Ext4 => ("mke2fs", "e2fsprogs"),
            Self::Xfs => ("mkfs.xfs", "xfsprogs"),
        }
    }

    /// The program's path. Unavailable with the package's name.
    pub(super) fn find_maker(self) -> Result<PathBuf> {
        let (name, package) = self.maker();
        program::find(name).ok_or_else(|| {
            Error::Unavailable(format!(
                "{name}, which makes {} file systems, is not installed: install {package}",
                self.name()
            ))
        })
    }

    /// Makes one on an empty device that reads as zeros, so that only what is not zero is written.
    pub(super) fn make(self, device: &Path) -> Result<()> {
        let mut command = Command::new(self.find_maker()?);
        match self {
            Self::Ext4 => command
                .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-J", JOURNAL, "-E"])
                .arg(format!("nodiscard,lazy_itable_init=1,lazy_journal_init=1,resize={GROWS_TO}")),
            Self::Xfs => command.args(["-q", "-f", "-K"]),
        };
        run(command.arg(device)).at("make a file system on", device)
    }

    /// Mount options for writing. Layers have one UUID, which xfs minds; what is deleted goes back to the pool; and no thread
    /// writes zeros to inode tables that read as zeros.
    pub(super) fn options(self) -> &'static [&'static str] {
        match self {
            Self::Ext4 => &["discard", "noinit_itable"],
            Self::Xfs => &["discard", "nouuid"],
        }
    }

    /// As [`FileSystem::options`], of a file system that was closed whole and is not to be written to.
    pub(super) fn sealed_options(self) -> &'static [&'static str] {
        match self {
            Self::Ext4 => &["ro"],
            Self::Xfs => &["ro", "nouuid"],
        }
    }

    /// Where nothing has to survive a crash: does not wait for the disk.
    pub(super) fn careless_options(self) -> &'static [&'static str] {
        match self {
            Self::Ext4 => &["barrier=0"],
            // Gone since 4.19.
            Self::Xfs => &[],
        }
    }

    /// Lets the file system that is mounted at `root` have `bytes`, after its device has them.
    pub(super) fn grow(self, root: &Path, bytes: u64) -> io::Result<()> {
        let top = rustix::fs::open(root, tree::DIRECTORY, rustix::fs::Mode::empty())?;
        match self {
            Self::Ext4 => control::grow_ext4(&top, bytes, rustix::fs::fstatvfs(&top)?.f_bsize)?,
            Self::Xfs => control::grow_xfs(&top, bytes)?,
        }
        Ok(())
    }

    /// As [`FileSystem::grow`], of one that is not mounted, where the kernel does not let us.
    pub(super) fn grow_offline(self, device: &Path) -> io::Result<()> {
        match (self, program::find("resize2fs")) {
            // Asks for a check of the whole otherwise.
            (Self::Ext4, Some(program)) => run(Command::new(program).arg("-f").arg(device)),
            _ => Err(Errno::PERM.into()),
        }
    }
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).env("LC_ALL", "C").output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy();
    Err(io::Error::other(format!("{program}: {} ({})", last.trim(), output.status)))
}
