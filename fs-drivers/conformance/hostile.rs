//! Archives that lie: an error that names the entry, nothing outside of the layer, no memory wasted.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;

use super::bed::{id, scratch};
use super::{Bed, each};
use crate::Access;
use crate::diff::{UnpackOptions, unpack};
use crate::mount::open_contents;

/// A header and its data, with a right checksum.
fn entry(name: &str, flag: u8, link: &str, data: &[u8]) -> Vec<u8> {
    let mut block = header(name, flag, link, data.len() as u64);
    block.extend_from_slice(data);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

fn header(name: &str, flag: u8, link: &str, size: u64) -> Vec<u8> {
    let mut block = vec![0_u8; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0000755");
    block[108..115].copy_from_slice(b"0000000");
    block[116..123].copy_from_slice(b"0000000");
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[136..147].copy_from_slice(b"00000000005");
    block[156] = flag;
    block[157..157 + link.len()].copy_from_slice(link.as_bytes());
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[329..336].copy_from_slice(b"0000001");
    block[337..344].copy_from_slice(b"0000003");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

/// One record of an extended header.
fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (rest..).find(|length| rest + length.to_string().len() == *length).unwrap();
    format!("{length} {key}={value}\n").into_bytes()
}

fn refused(bed: &Bed, archive: &[u8], part: &str) {
    let message = bed.unpack("h", &[], archive).unwrap_err().to_string();
    assert!(message.contains(part), "{message:?} lacks {part:?}");
    bed.driver.remove(&id("h")).unwrap();
}

/// The folder beside the state that a way out would reach.
fn outside(bed: &Bed) -> Vec<String> {
    let list = |path: &std::path::Path| {
        let names = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path().display().to_string());
        names.collect::<Vec<_>>()
    };
    [list(bed.root()), list(&bed.root().join(bed.driver.name()))].concat()
}

#[test]
fn names_that_lead_out_are_refused() {
    each(|bed| {
        // Mounted once, so that the place for that is there.
        bed.layer("h", &[], |_| {});
        let before = outside(bed);
        bed.driver.remove(&id("h")).unwrap();
        for name in ["../x", "a/../../x", "a/..", "..", "/../x"] {
            refused(bed, &entry(name, b'0', "", b"evil"), name);
            refused(bed, &entry("link", b'1', name, b""), "leads out");
        }
        refused(bed, &entry(".wh...", b'0', "", b""), "whiteout");
        refused(bed, &entry("a/.wh..", b'0', "", b""), "whiteout");
        refused(bed, &entry(".wh.", b'0', "", b""), "whiteout");
        bed.prepare("h", &[]).unwrap();
        assert_eq!(before.len(), outside(bed).len());
    });
}

#[test]
fn links_do_not_lead_out() {
    each(|bed| {
        let secret = scratch();
        fs::write(secret.path().join("file"), "secret").unwrap();
        let out = secret.path().to_str().unwrap();
        let archive = [
            entry("/etc/absolute", b'0', "", b"inside"),
            entry("abs", b'2', out, b""),
            entry("rel", b'2', "../../../../../../../../../..", b""),
            entry("abs/file", b'0', "", b"inside"),
            entry(&format!("rel{out}/new"), b'0', "", b"inside"),
            entry("abs/dir", b'5', "", b""),
        ];
        bed.unpack("a", &[], &archive.concat()).unwrap();
        let names: Vec<_> = fs::read_dir(secret.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!((names.len(), fs::read(secret.path().join("file")).unwrap()), (1, b"secret".to_vec()));
        bed.read("a", &[], |layer| {
            assert_eq!(fs::read(layer.join("etc/absolute")).unwrap(), b"inside");
            assert_eq!(fs::read(layer.join(&out[1..]).join("file")).unwrap(), b"inside");
            assert_eq!(fs::read(layer.join(&out[1..]).join("new")).unwrap(), b"inside");
        });

        let through = [entry("abs", b'2', out, b""), entry("hard", b'1', "abs/file", b"")].concat();
        refused(bed, &through, "hard: its hard link's target abs/file does not exist");
        let missing = entry("hard", b'1', &format!("{out}/file"), b"");
        refused(bed, &missing, "does not exist");
        // A hard link to a symbolic link is one to the link itself, and writing through it replaces it.
        let chain = [entry("s", b'2', out, b""), entry("h", b'1', "s", b""), entry("h", b'0', "", b"x")].concat();
        bed.unpack("b", &[], &chain).unwrap();
        bed.read("b", &[], |layer| assert!(fs::symlink_metadata(layer.join("h")).unwrap().is_file()));
        assert_eq!(fs::metadata(secret.path()).unwrap().nlink(), 2);
    });
}

#[test]
fn what_is_cut_off_or_damaged_is_refused() {
    each(|bed| {
        let file = entry("file", b'0', "", &[7; 2000]);
        refused(bed, &file[..1000], "file: the archive ends within it");
        refused(bed, &file[..300], "the archive ends within a header");
        let mut damaged = file.clone();
        damaged[3] ^= 1;
        refused(bed, &damaged, "wrong checksum");
        refused(bed, b"<html>this is no archive at all</html>".repeat(30).as_slice(), "no tar archive");
        refused(bed, &entry("odd", b'Z', "", b""), "odd: its type 'Z' is not known");
        refused(bed, &entry("dir/", b'1', "dir2", b""), "does not exist");
        refused(bed, &entry("link", b'2', "", b""), "empty");
        refused(bed, &entry(".", b'0', "", b"x"), "root of a layer");
        let long = "x/".repeat(3000);
        refused(bed, &[entry("l", b'L', "", long.as_bytes()), entry("f", b'0', "", b"")].concat(), "4095");
        let wide = "y".repeat(256);
        refused(bed, &[entry("l", b'L', "", wide.as_bytes()), entry("f", b'0', "", b"")].concat(), "too long");
        let nul = entry("p", b'x', "", &record("path", "a\0"));
        refused(bed, &[nul, entry("f", b'0', "", b"")].concat(), "path");
        let owner = entry("p", b'x', "", &record("uid", "4294967295"));
        refused(bed, &[owner, entry("f", b'0', "", b"")].concat(), "f: its owner 4294967295");
        let under = [entry("f", b'0', "", b"x"), entry("f/g", b'0', "", b"x")].concat();
        refused(bed, &under, "f/g");
        let loops = [entry("a", b'2', "b", b""), entry("b", b'2', "a", b""), entry("a/x", b'0', "", b"")].concat();
        refused(bed, &loops, "a/x");
    });
}

#[test]
fn declared_sizes_are_not_believed() {
    each(|bed| {
        let mut huge = header("huge", b'0', "", 0);
        huge[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]);
        refused(bed, &seal(huge.clone()), "huge: the archive ends within it");
        huge[124..136].copy_from_slice(&[0xff; 12]);
        refused(bed, &seal(huge), "huge: its size is malformed");
        let mut extension = header("long", b'x', "", 0o77_777_777_777);
        extension.extend_from_slice(&[b'1'; 512]);
        refused(bed, &extension, "longer than");
        let pax = entry("p", b'x', "", &record("size", "9223372036854775807"));
        refused(bed, &[pax, entry("f", b'0', "", b"x")].concat(), "f: its size");
        let map = |records: &[u8], data: &[u8]| [entry("p", b'x', "", records), entry("f", b'0', "", data)].concat();
        let v1 = &[record("GNU.sparse.major", "1"), record("GNU.sparse.realsize", "1000000")].concat();
        refused(bed, &map(v1, &[b'9'; 512]), "sparse map is malformed");
        refused(bed, &map(v1, b"99999999\n"), "sparse map is cut off");
        let mut block = b"99999999\n".to_vec();
        block.resize(512, 0);
        refused(bed, &map(v1, &block), "sparse map");
        refused(
            bed,
            &map(&[record("GNU.sparse.size", "100"), record("GNU.sparse.map", "90,20")].concat(), &[1; 20]),
            "out of order",
        );
    });
}

fn seal(mut block: Vec<u8>) -> Vec<u8> {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

#[test]
fn overlays_own_attributes_do_not_come_from_an_archive() {
    each(|bed| {
        let mut records = Vec::new();
        for (name, value) in [("trusted.overlay.redirect", "/etc"), ("user.overlay.opaque", "y"), ("user.fine", "1")] {
            records.extend(record(&format!("SCHILY.xattr.{name}"), value));
        }
        bed.unpack("a", &[], &[entry("p", b'x', "", &records), entry("d", b'5', "", b"")].concat()).unwrap();
        bed.contents("a", &[], |layer| {
            let root = rustix::fs::open(layer, crate::tree::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
            let get = |name| crate::tree::get_xattr(&root, std::ffi::OsStr::new("d"), name).unwrap();
            assert_eq!(get("trusted.overlay.redirect"), None);
            assert_eq!(get("user.overlay.opaque"), None);
            assert_eq!(get("user.fine").as_deref(), Some(&b"1"[..]));
        });
    });
}

#[test]
fn devices_are_made_as_root() {
    each(|bed| {
        bed.unpack("a", &[], &entry("null", b'3', "", b"")).unwrap();
        let meta = bed.read("a", &[], |layer| fs::metadata(layer.join("null")).unwrap());
        assert_eq!((meta.rdev(), meta.mode() & 0o7777), (rustix::fs::makedev(1, 3), 0o755));
    });
}

/// Entries made while they are read.
struct Many {
    left: u32,
    block: io::Cursor<Vec<u8>>,
}

impl Read for Many {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.block.read(buffer)? {
            0 if self.left > 0 => {
                self.left -= 1;
                let n = self.left;
                self.block = io::Cursor::new(entry(&format!("d{}/f{}", n % 50, n % 1000), b'0', "", b""));
                self.read(buffer)
            }
            read => Ok(read),
        }
    }
}

#[test]
fn a_great_many_entries_need_no_memory() {
    each(|bed| {
        bed.prepare("a", &[]).unwrap();
        let before = resident();
        let many = Many { left: 40_000, block: io::Cursor::default() };
        let root = open_contents(&*bed.driver, &id("a"), &[], Access::ReadWrite).unwrap();
        let unpacked = unpack(many, root, bed.driver.whiteouts(), UnpackOptions::default()).unwrap();
        assert_eq!(unpacked.entries, 40_000);
        let grown = resident().saturating_sub(before);
        assert!(grown < 64 << 10, "{grown} KiB more");
    });
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn what_is_below_a_whiteout_needs_no_entry_for_its_directory() {
    each(|bed| {
        bed.layer("a", &[], |root| {
            fs::create_dir_all(root.join("d/sub")).unwrap();
            fs::write(root.join("d/old"), "old").unwrap();
        });
        let whiteout = [entry(".wh.d", b'0', "", b""), entry("d/sub/new", b'0', "", b"new")].concat();
        bed.unpack("b", &["a"], &whiteout).unwrap();
        bed.read("b", &["a"], |root| {
            assert_eq!(fs::read(root.join("d/sub/new")).unwrap(), b"new");
            assert_eq!(fs::metadata(root.join("d")).unwrap().mode() & 0o7777, 0o755);
            assert!(!root.join("d/old").exists());
        });
    });
}

#[test]
fn a_whiteout_is_nothing_that_a_hard_link_could_name() {
    each(|bed| {
        let archive = [entry(".wh.gone", b'0', "", b""), entry("link", b'1', "gone", b"")].concat();
        refused(bed, &archive, "its hard link's target gone does not exist");
        let archive = [entry("d/", b'5', "", b""), entry("link", b'1', "d", b"")].concat();
        refused(bed, &archive, "its hard link's target d is a directory");
    });
}

/// Guards against an archive that makes and removes snapshots.
#[test]
fn where_a_file_system_shows_snapshots_nothing_is_unpacked() {
    each(|bed| {
        if bed.driver.name() != "zfs" {
            return;
        }
        for name in [".zfs", ".zfs/snapshot/x", ".wh..zfs", ".wh..zfs/x"] {
            refused(bed, &entry(name, b'5', "", b""), "where ZFS shows snapshots");
        }
        bed.unpack("a", &[], &entry("below/.zfs/snapshot/x", b'5', "", b"")).unwrap();
        // By way of a link it is made, and is the layer's own.
        bed.driver.commit(&id("a")).unwrap();
        let link =
            [entry("l", b'2', ".zfs/snapshot", b""), entry("l/sealed", b'5', "", b""), entry("f", b'0', "", b"x")];
        bed.prepare("b", &["a"]).unwrap();
        let root = open_contents(&*bed.driver, &id("b"), &[id("a")], Access::ReadWrite).unwrap();
        let _ = unpack(link.concat().as_slice(), root, bed.driver.whiteouts(), UnpackOptions::default());
        bed.write("b", &["a"], |root| fs::write(root.join("g"), "x").unwrap());
        bed.driver.commit(&id("b")).unwrap();
        bed.layer("c", &["b", "a"], |root| assert!(root.join("g").exists() && root.join("below").exists()));
        for name in ["c", "b", "a"] {
            bed.driver.remove(&id(name)).unwrap();
        }
        assert_eq!(bed.driver.list().unwrap(), []);
    });
}
