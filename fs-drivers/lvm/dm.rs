//! The control calls of device-mapper (linux/dm-ioctl.h) that this driver uses, and nothing above them.
//!
//! The head of each call is 312 bytes for programs of 32 and of 64 bits; its text follows in the same buffer.

#![allow(unsafe_code)]

use std::os::fd::OwnedFd;

use berth_arch::pretend;
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

const MAGIC: u8 = 0xfd;
const VERSION: Opcode = opcode::read_write::<Head>(MAGIC, 0);
const CREATE: Opcode = opcode::read_write::<Head>(MAGIC, 3);
const REMOVE: Opcode = opcode::read_write::<Head>(MAGIC, 4);
/// Also resumes.
const SUSPEND: Opcode = opcode::read_write::<Head>(MAGIC, 6);
const INFO: Opcode = opcode::read_write::<Head>(MAGIC, 7);
const LOAD: Opcode = opcode::read_write::<Head>(MAGIC, 9);
/// Of a table's targets: their status, or the table itself.
const STATUS: Opcode = opcode::read_write::<Head>(MAGIC, 12);
const MESSAGE: Opcode = opcode::read_write::<Head>(MAGIC, 14);

const SUSPENDED: u32 = 1 << 1;
const TABLE: u32 = 1 << 4;
const LIVE: u32 = 1 << 5;
const BUFFER_FULL: u32 = 1 << 8;
const DEFERRED: u32 = 1 << 17;

/// For udev, which gets it as DM_COOKIE (libdevmapper.h, `DM_UDEV_DISABLE_*`): no links, no look for a file system. A
/// program that opens the device to look at it would keep it from being removed.
const LEAVE_ALONE: u32 = 0x2f << 16;

/// struct dm_ioctl.
#[repr(C)]
struct Head {
    version: [u32; 3],
    size: u32,
    start: u32,
    targets: u32,
    open: i32,
    flags: u32,
    event: u32,
    padding: u32,
    device: u64,
    name: [u8; 128],
    uuid: [u8; 129],
    unused: [u8; 7],
}

const HEAD: usize = size_of::<Head>();
const DATA: usize = 4096 - HEAD;

#[repr(C, align(8))]
struct Call {
    head: Head,
    data: [u8; DATA],
}

const _: () = assert!(HEAD == 312 && size_of::<Call>() == 4096);

/// struct dm_target_spec: start and length in sectors, a number that is the kernel's, the next one's place, the kind.
const SPEC: usize = 40;

/// What a device maps to, as one target. Sectors are of 512 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) kind: String,
    pub(super) sectors: u64,
    /// In the target's own words.
    pub(super) words: String,
}

/// What there is of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Info {
    /// Its number, as in stat(2).
    pub(super) device: u64,
    pub(super) uuid: String,
    pub(super) is_open: bool,
    /// Whether it has a table and can be used.
    pub(super) is_live: bool,
    pub(super) is_suspended: bool,
}

/// What became of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removal {
    Gone,
    /// It goes when it is closed for the last time.
    Deferred,
    Busy,
}

/// /dev/mapper/control, open.
#[derive(Debug)]
pub(super) struct Control(OwnedFd);

impl Call {
    /// Any version 4 of the interface will do. `name` is one of ours or was looked at.
    fn new(name: &str, flags: u32) -> Result<Box<Self>, Errno> {
        let mut head = Head {
            version: [4, 0, 0],
            size: size_of::<Self>() as u32,
            start: HEAD as u32,
            targets: 0,
            open: 0,
            flags,
            event: 0,
            padding: 0,
            device: 0,
            name: [0; 128],
            uuid: [0; 129],
            unused: [0; 7],
        };
        if name.len() >= head.name.len() || name.contains(['/', '\0']) {
            return Err(Errno::INVAL);
        }
        head.name[..name.len()].copy_from_slice(name.as_bytes());
        Ok(Box::new(Self { head, data: [0; DATA] }))
    }

    fn put(&mut self, position: usize, bytes: &[u8]) -> Result<(), Errno> {
        // A zero stays behind it.
        if position + bytes.len() >= DATA {
            return Err(Errno::TOOBIG);
        }
        self.data[position..position + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn info(&self) -> Info {
        let flag = |bit: u32| self.head.flags & bit != 0;
        Info {
            device: self.head.device,
            uuid: text(&self.head.uuid),
            is_open: self.head.open > 0,
            is_live: flag(LIVE),
            is_suspended: flag(SUSPENDED),
        }
    }

    /// The only target, `None` if there is none or there are several.
    fn target(&self) -> Result<Option<Target>, Errno> {
        if self.head.flags & BUFFER_FULL != 0 {
            return Err(Errno::TOOBIG);
        }
        let start = (self.head.start as usize).checked_sub(HEAD);
        let spec = start.and_then(|start| self.data.get(start..)).filter(|data| data.len() > SPEC);
        let Some(spec) = spec.filter(|_| self.head.targets == 1) else { return Ok(None) };
        let sectors = u64::from_ne_bytes(spec[8..16].try_into().unwrap_or_default());
        Ok(Some(Target { kind: text(&spec[24..SPEC]), sectors, words: text(&spec[SPEC..]).trim().to_owned() }))
    }
}

fn text(field: &[u8]) -> String {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

impl Control {
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    fn call<const OPCODE: Opcode>(&self, call: &mut Call) -> Result<(), Errno> {
        // SAFETY: every call takes a `Head` and what follows it up to the size that it names, which is that of `Call`; any
        // bytes in it are a value.
        unsafe { ioctl(&self.0, Updater::<OPCODE, Call>::new(call)) }
    }

    /// Of the kernel's interface.
    pub(super) fn version(&self) -> Result<(u32, u32), Errno> {
        let mut call = Call::new("", 0)?;
        self.call::<VERSION>(&mut call)?;
        Ok((call.head.version[0], call.head.version[1]))
    }

    /// Whether devices can be told to go when they are closed (3.13).
    pub(super) fn defers(&self) -> bool {
        !pretend::without("deferred-remove") && self.version().is_ok_and(|version| version >= (4, 27))
    }

    /// Makes a device of `target` that can be used at once. EBUSY if the name is taken; on any error nothing of it is left.
    pub(super) fn create(&self, name: &str, target: &Target) -> Result<(), Errno> {
        self.call::<CREATE>(&mut *Call::new(name, 0)?)?;
        let started = self.load(name, target).and_then(|()| self.resume(name));
        if started.is_err() {
            let _ = self.remove(name, false);
        }
        started
    }

    fn load(&self, name: &str, target: &Target) -> Result<(), Errno> {
        let mut call = Call::new(name, 0)?;
        call.head.targets = 1;
        call.put(8, &target.sectors.to_ne_bytes())?;
        if target.kind.len() >= SPEC - 24 {
            return Err(Errno::INVAL);
        }
        call.put(24, target.kind.as_bytes())?;
        call.put(SPEC, target.words.as_bytes())?;
        self.call::<LOAD>(&mut call)
    }

    pub(super) fn resume(&self, name: &str) -> Result<(), Errno> {
        let mut call = Call::new(name, 0)?;
        call.head.event = LEAVE_ALONE;
        self.call::<SUSPEND>(&mut call)
    }

    /// Holds back what is written to the device, after the file system on it has been written out and frozen.
    pub(super) fn suspend(&self, name: &str) -> Result<(), Errno> {
        self.call::<SUSPEND>(&mut *Call::new(name, SUSPENDED)?)
    }

    /// Removes a device, at once or, with `deferred` where the kernel can, when nobody has it open any more.
    pub(super) fn remove(&self, name: &str, deferred: bool) -> Result<Removal, Errno> {
        let flags = if deferred && self.defers() { DEFERRED } else { 0 };
        let mut call = Call::new(name, flags)?;
        call.head.event = LEAVE_ALONE;
        match self.call::<REMOVE>(&mut call) {
            Ok(()) if call.head.flags & DEFERRED != 0 => Ok(Removal::Deferred),
            Ok(()) | Err(Errno::NXIO) => Ok(Removal::Gone),
            Err(Errno::BUSY) => Ok(Removal::Busy),
            Err(error) => Err(error),
        }
    }

    /// `None` if there is no such device.
    pub(super) fn info(&self, name: &str) -> Result<Option<Info>, Errno> {
        let mut call = Call::new(name, 0)?;
        found(self.call::<INFO>(&mut call)).map(|found| found.map(|()| call.info()))
    }

    /// What the device is made of; `None` if there is no such device, or it has no table of one target.
    pub(super) fn table(&self, name: &str) -> Result<Option<Target>, Errno> {
        let mut call = Call::new(name, TABLE)?;
        match found(self.call::<STATUS>(&mut call))? {
            Some(()) => call.target(),
            None => Ok(None),
        }
    }

    /// What the device's target says of itself, after it has written down what it knows.
    pub(super) fn status(&self, name: &str) -> Result<Option<Target>, Errno> {
        let mut call = Call::new(name, 0)?;
        match found(self.call::<STATUS>(&mut call))? {
            Some(()) => call.target(),
            None => Ok(None),
        }
    }

    pub(super) fn message(&self, name: &str, message: &str) -> Result<(), Errno> {
        let mut call = Call::new(name, 0)?;
        // After the sector that it is for, which only a device of several targets cares about.
        call.put(8, message.as_bytes())?;
        self.call::<MESSAGE>(&mut call)
    }
}

fn found(answer: Result<(), Errno>) -> Result<Option<()>, Errno> {
    match answer {
        Ok(()) => Ok(Some(())),
        Err(Errno::NXIO) => Ok(None),
        Err(error) => Err(error),
    }
}
