//! A mount made ready, and made.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use std::ffi::CStr;

use rustix::fs::StatVfsMountFlags;
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags};

use super::owners::{Owners, Part};
use super::{Mount, options, overlay};
use crate::sys;

/// The largest option string that mount(2) takes: a page with its final NUL.
const DATA_MAX: usize = 4095;

/// A [`Mount`] as C strings and flags, so that [`Prepared::perform`] is system calls only.
#[derive(Debug)]
pub struct Prepared {
    base: Option<CString>,
    source: CString,
    fstype: CString,
    flags: MountFlags,
    data: CString,
    kind: Kind,
    recursive_read_only: bool,
    propagation: Vec<MountPropagationFlags>,
    owners: Option<(Owners, Part)>,
}

#[derive(Debug)]
enum Kind {
    New,
    /// By fsopen, for more options than fit a page.
    Long(overlay::Long),
    Bind {
        recursive: bool,
    },
    Remount,
    Move,
    /// Nothing but propagation.
    Change,
}

impl Prepared {
    /// Fails with InvalidInput for names with NUL bytes and for words that a bind mount cannot have, and with
    /// E2BIG for options over a page where the new mount calls cannot help.
    pub fn new(mount: &Mount) -> io::Result<Self> {
        let parsed = options::parse(mount);
        let data = parsed.data.join(",");
        let kind = if parsed.moves {
            Kind::Move
        } else if parsed.remount {
            Kind::Remount
        } else if parsed.bind {
            Kind::Bind { recursive: parsed.recursive }
        } else if !parsed.propagation.is_empty() && matches!(mount.fstype.as_str(), "" | "none") {
            Kind::Change
        } else if data.len() > DATA_MAX {
            if mount.fstype != "overlay" || !crate::kernel::overlay::takes_layers_singly() {
                return Err(Errno::TOOBIG.into());
            }
            Kind::Long(overlay::Long::new(&parsed.data, parsed.flags.0)?)
        } else {
            Kind::New
        };
        if let (Kind::Bind { .. } | Kind::Move | Kind::Change, Some(word)) = (&kind, parsed.data.first()) {
            let message = format!("mount option {word:?} means nothing for a bind mount");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let owners = match parsed.owners {
            Some(map) => Some((Owners::new(&map)?, mapped_part(mount, &kind)?)),
            None => None,
        };
        // REMOUNT together with BIND changes the mount point only, not the file system.
        let flags = match kind {
            Kind::Remount if parsed.bind => parsed.flags.0 | MountFlags::BIND,
            _ => parsed.flags.0,
        };
        let data = if matches!(kind, Kind::Long(_)) { CString::default() } else { CString::new(data)? };
        Ok(Self {
            base: mount.base.as_deref().map(c_string).transpose()?,
            source: c_string(&mount.source)?,
            fstype: CString::new(mount.fstype.as_str())?,
            flags,
            data,
            kind,
            recursive_read_only: parsed.recursive_read_only,
            propagation: parsed.propagation,
            owners,
        })
    }

    /// Makes the mount at `target`. System calls only: safe between clone and exec. If the mount has a `base`,
    /// that is the working directory afterwards, and `target` has to be absolute or hold below it (absolute, for an overlay
    /// whose owners are mapped). Not atomic: a mount whose flags the kernel refuses stays for the caller to take off.
    pub fn perform(&self, target: &CStr) -> Result<(), Errno> {
        if let Some(base) = &self.base {
            rustix::process::chdir(base.as_c_str())?;
        }
        match &self.owners {
            Some((owners, part)) => owners.perform(*part, &self.source, target, || self.make(target))?,
            None => self.make(target)?,
        }
        if matches!(self.kind, Kind::Bind { .. }) && !self.flags.is_empty() {
            remount(target, self.flags | MountFlags::BIND, c"")?;
        }
        if self.recursive_read_only {
            sys::mount_set_read_only_below(target)?;
        }
        for change in &self.propagation {
            rustix::mount::mount_change(target, *change)?;
        }
        Ok(())
    }

    /// The mount itself, without what is changed of it afterwards.
    fn make(&self, target: &CStr) -> Result<(), Errno> {
        match &self.kind {
            Kind::New => {
                let data = (!self.data.is_empty()).then_some(self.data.as_c_str());
                rustix::mount::mount(self.source.as_c_str(), target, self.fstype.as_c_str(), self.flags, data)
            }
            Kind::Long(long) => long.perform(&self.source, target),
            Kind::Bind { recursive: true } => rustix::mount::mount_bind_recursive(self.source.as_c_str(), target),
            Kind::Bind { recursive: false } => rustix::mount::mount_bind(self.source.as_c_str(), target),
            Kind::Remount => remount(target, self.flags, &self.data),
            Kind::Move => rustix::mount::mount_move(self.source.as_c_str(), target),
            Kind::Change => Ok(()),
        }
    }

    /// Whether [`Prepared::perform`] changes the working directory.
    pub fn enters_base(&self) -> bool {
        self.base.is_some()
    }

    pub fn source(&self) -> &CStr {
        &self.source
    }
}

/// What of `mount` the mapping of owners is for.
fn mapped_part(mount: &Mount, kind: &Kind) -> io::Result<Part> {
    match kind {
        Kind::Bind { recursive: false } => Ok(Part::Source),
        Kind::New | Kind::Long(_) if mount.fstype != "overlay" => Ok(Part::Whole),
        Kind::New | Kind::Long(_) if mount.base.is_some() => Ok(Part::Layers),
        _ => {
            let message =
                "owners are mapped of a plain bind mount, of a new file system, and of an overlay with a base";
            Err(io::Error::new(io::ErrorKind::InvalidInput, message))
        }
    }
}

/// In a user namespace the flags that a mount came with are locked, and a remount that drops one is refused:
/// then they are kept (mount_namespaces(7), "Restrictions on mount namespaces").
fn remount(target: &CStr, flags: MountFlags, data: &CStr) -> Result<(), Errno> {
    match rustix::mount::mount_remount(target, flags, data) {
        Err(Errno::PERM) if flags.contains(MountFlags::BIND) => {
            let present = rustix::fs::statvfs(target)?.f_flag;
            let mut kept = flags;
            for (locked, flag) in LOCKED {
                kept.set(*flag, flags.contains(*flag) || present.contains(*locked));
            }
            if kept == flags {
                return Err(Errno::PERM);
            }
            rustix::mount::mount_remount(target, kept, data)
        }
        answer => answer,
    }
}

const LOCKED: &[(StatVfsMountFlags, MountFlags)] = &[
    (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
    (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
    (StatVfsMountFlags::NODEV, MountFlags::NODEV),
    (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
    (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
    (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
    (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
];

fn c_string(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}
