//! One file by every way in, against the same in a plain directory: descriptors that were opened in different ways and at
//! different times, memory maps, direct reads and writes, holes, and names that change meanwhile.

#![allow(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use berth_arch::fd::{receive_with, send_with};
use rustix::fs::{FallocateFlags, fallocate};

use super::Bed;
use super::agreement::{Dice, said};
use super::bed::scratch;

/// Past what one request reads, and what is small to the union.
const LARGEST: u64 = 300_000;
const BLOCK: usize = 4096;

#[repr(align(4096))]
struct Block([u8; BLOCK]);

/// A process that maps files into its memory. Here a thread that waited for a page would hold the lock of this process's map, which
/// those threads take that serve it.
struct Mapper {
    process: Child,
    line: UnixStream,
}

/// Makes the test below that process.
const MAPPER: &str = "BERTH_TEST_MAPPER";

/// Maps what comes over its input, until that ends.
#[test]
fn mapper() {
    if std::env::var_os(MAPPER).is_none() {
        return;
    }
    let line = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let mut fill = [0; 2];
    while let (1.., Some(file)) = receive_with(&line, &mut fill).unwrap() {
        let answer = mapped(&file.into(), (fill[0] == 1).then_some(fill[1]));
        let answer = answer.map_err(|error| -i64::from(error.raw_os_error().unwrap_or(libc::EIO)));
        (&line).write_all(&answer.map_or_else(|code| code, i64::from).to_ne_bytes()).unwrap();
    }
}

impl Mapper {
    fn start() -> Self {
        let (line, theirs) = UnixStream::pair().unwrap();
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "conformance::one_file::mapper", "--nocapture"])
            .env(MAPPER, "1")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, line }
    }

    /// See [`mapped`].
    fn map(&self, file: &File, fill: Option<u8>) -> io::Result<u64> {
        send_with(&self.line, &[u8::from(fill.is_some()), fill.unwrap_or(0)], file)?;
        let mut answer = [0; 8];
        (&self.line).read_exact(&mut answer)?;
        let answer = i64::from_ne_bytes(answer);
        u64::try_from(answer).map_err(|_| io::Error::from_raw_os_error(-answer as i32))
    }
}

impl Drop for Mapper {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The sum of the file's first bytes as they are in memory, from a place on that the value gives filled with it if there is one; 0 of an empty file.
fn mapped(file: &File, fill: Option<u8>) -> io::Result<u32> {
    let length = file.metadata()?.len().min(3 * BLOCK as u64) as usize;
    if length == 0 {
        return Ok(0);
    }
    let access = if fill.is_some() { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
    // SAFETY: a new mapping where the kernel likes; the descriptor is open.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), length, access, libc::MAP_SHARED, file.as_raw_fd(), 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as long as was mapped, by nobody else, and the file, which is as long, is cut by no one meanwhile; written to only if
    // it was mapped so.
    let bytes = unsafe { std::slice::from_raw_parts_mut(start.cast::<u8>(), length) };
    if let Some(value) = fill {
        bytes[usize::from(value) * length / 256..].fill(value);
    }
    let sum = crc32fast::hash(bytes);
    // SAFETY: what was mapped above; `bytes` is not used any more.
    unsafe { libc::munmap(start, length) };
    Ok(sum)
}

/// One call, and what it says.
fn step(root: &Path, open: &mut Vec<File>, dice: &mut Dice, mapper: &Mapper) -> io::Result<u64> {
    let (name, other) = (root.join("f"), root.join("g"));
    let (kind, number, offset, length) = (dice.next(24), dice.next(256) as u8, dice.next(LARGEST), dice.next(40_000));
    let which = dice.next(6) as usize;
    if let (0..=4, mut options) = (kind, OpenOptions::new()) {
        match kind {
            0 => options.read(true),
            1 | 2 => options.read(true).write(true).create(number % 2 == 0),
            3 => options.read(true).append(true),
            _ => options.read(true).write(true).custom_flags(libc::O_DIRECT),
        };
        let file = options.open(&name)?;
        match open.get_mut(which) {
            Some(place) => *place = file,
            None => open.push(file),
        }
        return Ok(0);
    }
    match kind {
        5 => {
            fs::write(&other, vec![number; length as usize])?;
            fs::rename(&other, &name).map(|()| 0)
        }
        6 if number % 4 == 0 => fs::remove_file(&name).map(|()| 0),
        6 => {
            let _ = fs::remove_file(&other);
            fs::hard_link(&name, &other).map(|()| 0)
        }
        7 => fs::read(&name).map(|data| crc32fast::hash(&data).into()),
        8 => fs::set_permissions(&name, fs::Permissions::from_mode(0o600 + u32::from(number % 64))).map(|()| 0),
        9 => OpenOptions::new().write(true).truncate(true).open(&name).map(|_| 0),
        10 => fs::metadata(&name).map(|meta| meta.len() * 8 + meta.nlink()),
        _ => with_descriptor(open, mapper, kind, which, number, offset, length),
    }
}

fn with_descriptor(
    open: &[File],
    mapper: &Mapper,
    kind: u64,
    which: usize,
    number: u8,
    offset: u64,
    length: u64,
) -> io::Result<u64> {
    let Some(mut file) = open.get(which) else { return Ok(0) };
    let mut data = vec![number; length as usize];
    let block = offset / BLOCK as u64 * BLOCK as u64;
    let is_direct = |file: &File| rustix::fs::fcntl_getfl(file).unwrap().contains(rustix::fs::OFlags::DIRECT);
    let direct = is_direct(file);
    match kind {
        // Direct reads and writes have to be of whole blocks, where the file system below says so.
        11..=14 if direct => {
            let mut data = Box::new(Block([number; BLOCK]));
            if kind < 13 {
                return Ok(file.write_at(&data.0, block)? as u64);
            }
            let read = file.read_at(&mut data.0, block)?;
            Ok(crc32fast::hash(&data.0[..read]).into())
        }
        11 | 12 => file.write_at(&data, offset).map(|written| written as u64),
        13 | 14 => {
            let read = file.read_at(&mut data, offset)?;
            Ok(crc32fast::hash(&data[..read]).into())
        }
        15 if !direct => file.write(&data[..data.len().min(100)]).map(|written| written as u64),
        16 => file.set_len(offset).map(|()| 0),
        17 | 18 => {
            let modes = [
                FallocateFlags::empty(),
                FallocateFlags::KEEP_SIZE,
                FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
                FallocateFlags::ZERO_RANGE,
            ];
            Ok(fallocate(file, modes[usize::from(number % 4)], offset, length + 1).map(|()| 0)?)
        }
        19 => mapper.map(file, None),
        20 => mapper.map(file, Some(number)),
        21 => file.sync_all().map(|()| 0),
        22 => {
            let (mut from, mut to) = (offset, length);
            let target = &open[usize::from(number) % open.len()];
            if direct || is_direct(target) {
                return Ok(0);
            }
            Ok(rustix::fs::copy_file_range(file, Some(&mut from), target, Some(&mut to), length as usize)? as u64)
        }
        _ => {
            let meta = file.metadata()?;
            Ok(meta.len() * 8 + meta.nlink())
        }
    }
}

pub(super) fn agree(bed: &Bed, seed: u64) {
    let (plain, mapper) = (scratch(), Mapper::start());
    let names = ["p", "q"].map(|letter| format!("{letter}{seed}"));
    for depth in 0..names.len() {
        let parents: Vec<&str> = names[..depth].iter().rev().map(String::as_str).collect();
        bed.layer(&names[depth], &parents, |root| {
            let dice = || Dice(seed * 1000 + depth as u64 + 7);
            let (mut left, mut right) = (dice(), dice());
            let (mut here, mut there) = (Vec::new(), Vec::new());
            for number in 0..200 {
                let ours = said(&step(root, &mut here, &mut left, &mapper));
                let theirs = said(&step(plain.path(), &mut there, &mut right, &mapper));
                assert_eq!(ours, theirs, "seed {seed}, layer {depth}, step {number}");
            }
        });
        for name in ["f", "g"] {
            let theirs = fs::read(plain.path().join(name)).ok();
            let ours = bed.read(&names[depth], &parents, |root| fs::read(root.join(name)).ok());
            assert!(ours == theirs, "seed {seed}, layer {depth}, {name} afterwards");
        }
    }
}
