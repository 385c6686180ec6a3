//! A union that serves every call by itself, against a plain directory: the same calls have the same answers and leave the same
//! tree, whatever layers the files come from.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};

use super::bed::{assert_same, scratch, snapshot};
use super::{Bed, each, one_file};

/// A sequence that is the same on every machine (xorshift).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    /// Few names, so that they meet.
    fn path(&mut self) -> PathBuf {
        let depth = 1 + self.next(3);
        (0..depth).map(|_| ["a", "b", "c", "d"][self.next(4) as usize]).collect()
    }
}

/// Files that stay open from step to step, by the same numbers on both sides.
#[derive(Default)]
struct Open(Vec<File>);

/// One call on the tree at `root`, and what it says.
fn step(root: &Path, open: &mut Open, dice: &mut Dice) -> io::Result<u64> {
    let (one, other) = (root.join(dice.path()), root.join(dice.path()));
    let (kind, number, offset) = (dice.next(21), dice.next(256), dice.next(20_000));
    let which = dice.next(8) as usize;
    // A link to a directory may lead out of where the step is meant to be, on both sides alike.
    match kind {
        0 | 1 => fs::create_dir(&one).map(|()| 0),
        2 | 3 => fs::write(&one, vec![number as u8; offset as usize]).map(|()| 0),
        4 => fs::remove_file(&one).map(|()| 0),
        5 => fs::remove_dir(&one).map(|()| 0),
        6 => fs::remove_dir_all(&one).map(|()| 0).map_err(|_| io::ErrorKind::Other.into()),
        7 => fs::hard_link(&one, &other).map(|()| 0),
        8 => symlink("nowhere", &one).map(|()| 0),
        9 | 10 => fs::rename(&one, &other).map(|()| 0),
        11 => Ok(rustix::fs::renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).map(|()| 0)?),
        12 => Ok(rustix::fs::renameat_with(CWD, &one, CWD, &other, RenameFlags::NOREPLACE).map(|()| 0)?),
        13 => fs::set_permissions(&one, fs::Permissions::from_mode(0o400 + number as u32)).map(|()| 0),
        14 => std::os::unix::fs::lchown(&one, Some(number as u32), None).map(|()| 0),
        15 => {
            let file = OpenOptions::new().write(true).open(&one)?;
            file.write_all_at(&[number as u8; 100], offset).map(|()| 0)
        }
        16 => OpenOptions::new().write(true).open(&one)?.set_len(offset).map(|()| 0),
        17 => fs::read(&one).map(|data| u64::from(crc32fast::hash(&data))),
        18 => {
            let names =
                fs::read_dir(&one)?.map(|entry| entry.unwrap().file_name()).collect::<std::collections::BTreeSet<_>>();
            Ok(u64::from(crc32fast::hash(format!("{names:?}").as_bytes())))
        }
        // Open descriptors see what becomes of their files.
        19 => {
            let file = OpenOptions::new().read(true).write(number % 2 == 0).open(&one)?;
            match open.0.get_mut(which) {
                Some(place) => *place = file,
                None => open.0.push(file),
            }
            Ok(0)
        }
        _ => {
            let Some(file) = open.0.get(which) else { return Ok(0) };
            let meta = file.metadata()?;
            let mut data = [0; 64];
            let read = if meta.is_file() { file.read_at(&mut data, offset)? } else { 0 };
            let _ = file.write_all_at(&[number as u8; 10], offset);
            Ok(meta.nlink() * meta.is_file() as u64 + u64::from(crc32fast::hash(&data[..read])))
        }
    }
}

pub(super) fn said(answer: &io::Result<u64>) -> String {
    match answer {
        Ok(value) => value.to_string(),
        Err(error) => error.raw_os_error().map_or_else(|| error.to_string(), |code| code.to_string()),
    }
}

/// Times differ by nature where the steps set them, and are compared by the suite's other parts.
fn without_times(lines: Vec<String>) -> Vec<String> {
    let time = |word: &&str| word.split_once('.').is_none_or(|(_, fraction)| fraction.len() != 9);
    lines.iter().map(|line| line.split(' ').filter(time).collect::<Vec<_>>().join(" ")).collect()
}

fn agree(bed: &Bed, seed: u64) {
    let plain = scratch();
    let names = ["x", "y", "z"].map(|letter| format!("{letter}{seed}"));
    for depth in 0..names.len() {
        let parents: Vec<&str> = names[..depth].iter().rev().map(String::as_str).collect();
        bed.layer(&names[depth], &parents, |root| {
            let dice = || Dice(seed * 1000 + depth as u64 + 1);
            let (mut left, mut right) = (dice(), dice());
            let (mut here, mut there) = (Open::default(), Open::default());
            for number in 0..150 {
                let ours = said(&step(root, &mut here, &mut left));
                let theirs = said(&step(plain.path(), &mut there, &mut right));
                assert_eq!(ours, theirs, "seed {seed}, layer {depth}, step {number}");
            }
            assert_same(&without_times(snapshot(plain.path())), &without_times(snapshot(root)));
        });
        // Mounted anew, with what was written down alone.
        assert_same(
            &without_times(snapshot(plain.path())),
            &without_times(bed.read(&names[depth], &parents, snapshot)),
        );
    }
}

#[test]
fn a_union_of_our_own_does_what_a_plain_directory_does() {
    each(|bed| {
        if bed.driver.name() == "fuse" {
            (1..=30).for_each(|seed| agree(bed, seed));
            (1..=30).for_each(|seed| one_file::agree(bed, seed));
        }
    });
}

/// The same for as long as one likes, from a seed of the clock: `BERTH_AGREE_SECONDS=600 cargo test -p berth-fs-drivers
/// random_work -- --ignored`.
#[test]
#[ignore = "takes as long as it is told to"]
fn random_work_leaves_what_it_leaves_in_a_plain_directory() {
    let seconds = std::env::var("BERTH_AGREE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let entry = crate::registry::DRIVERS.iter().find(|entry| entry.name == "fuse").unwrap();
    let start = std::time::Instant::now();
    let mut seed = clock % 1_000_000 * 10_000;
    while start.elapsed().as_secs() < seconds {
        let bed = Bed::new(entry, scratch());
        for _ in 0..10 {
            seed += 1;
            agree(&bed, seed);
            one_file::agree(&bed, seed);
        }
    }
    eprintln!("seeds up to {seed}");
}

#[test]
fn a_copy_keeps_its_number_by_every_name_and_after_a_remount() {
    each(|bed| {
        if bed.driver.name() != "fuse" {
            return;
        }
        bed.layer("a", &[], |root| {
            fs::create_dir(root.join("old")).unwrap();
            for name in ["moved", "linked", "old/inner"] {
                fs::write(root.join(name), name).unwrap();
            }
        });
        let numbers = |root: &Path, names: [&str; 3]| {
            let told = names.map(|name| fs::symlink_metadata(root.join(name)).unwrap().ino());
            // As listings have them.
            for (name, number) in names.iter().zip(told) {
                let path = root.join(name);
                let mut listed = fs::read_dir(path.parent().unwrap()).unwrap().map(Result::unwrap);
                let entry = listed.find(|entry| entry.path() == path).unwrap();
                assert_eq!(std::os::unix::fs::DirEntryExt::ino(&entry), number, "{name}");
            }
            told
        };
        let later = ["new/moved", "new/linked", "new/old/inner"];
        bed.prepare("b", &["a"]).unwrap();
        let before = bed.write("b", &["a"], |root| {
            let before = numbers(root, ["moved", "linked", "old/inner"]);
            fs::create_dir(root.join("new")).unwrap();
            fs::rename(root.join("moved"), root.join("new/moved")).unwrap();
            fs::hard_link(root.join("linked"), root.join("new/linked")).unwrap();
            fs::rename(root.join("old"), root.join("new/old")).unwrap();
            assert_eq!(numbers(root, later), before);
            before
        });
        assert_eq!(bed.read("b", &["a"], |root| numbers(root, later)), before);
    });
}

#[test]
fn many_writers_at_once_get_through_and_lose_nothing() {
    each(|bed| {
        bed.layer("low", &[], |root| {
            for n in 0..64 {
                fs::write(root.join(format!("f{n}")), vec![n as u8; 10_000]).unwrap();
            }
        });
        bed.layer("up", &["low"], |root| {
            std::thread::scope(|scope| {
                for n in 0..64u8 {
                    let root = root.to_owned();
                    scope.spawn(move || {
                        let file = OpenOptions::new().read(true).write(true).open(root.join(format!("f{n}"))).unwrap();
                        fs::create_dir(root.join(format!("d{n}"))).unwrap();
                        for turn in 0..50 {
                            file.write_all_at(&[n ^ 0xff; 100], turn * 200).unwrap();
                            let name = root.join(format!("d{n}/{turn}"));
                            fs::write(&name, [n; 500]).unwrap();
                            fs::rename(&name, root.join(format!("d{n}/r{turn}"))).unwrap();
                        }
                        file.sync_all().unwrap();
                        assert_eq!(fs::read_dir(root.join(format!("d{n}"))).unwrap().count(), 50);
                    });
                }
            });
        });
        bed.read("up", &["low"], |root| {
            for n in 0..64u8 {
                let data = fs::read(root.join(format!("f{n}"))).unwrap();
                let expected: Vec<u8> = (0..10_000).map(|at| if at % 200 < 100 { n ^ 0xff } else { n }).collect();
                assert!(data == expected, "f{n}");
            }
        });
    });
}
