//! Random trees and random work on them: what is packed and unpacked again over the same layers is the same tree.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::bed::{assert_same, snapshot};
use super::each;

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Write(PathBuf, u16),
    Directory(PathBuf),
    Symlink(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    Rename(PathBuf, PathBuf),
    Mode(PathBuf, u32),
    Remove(PathBuf),
    Fifo(PathBuf),
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let path = || {
        prop::collection::vec(0..4_u8, 1..4)
            .prop_map(|parts| parts.iter().map(|part| format!("n{part}")).collect::<PathBuf>())
    };
    prop_oneof![
        3 => (path(), any::<u16>()).prop_map(|(path, size)| Step::Write(path, size)),
        3 => path().prop_map(Step::Directory),
        1 => (path(), path()).prop_map(|(path, to)| Step::Symlink(path, to)),
        1 => (path(), path()).prop_map(|(path, to)| Step::Link(path, to)),
        2 => (path(), path()).prop_map(|(path, to)| Step::Rename(path, to)),
        1 => (path(), 0..0o7777_u32).prop_map(|(path, mode)| Step::Mode(path, mode)),
        3 => path().prop_map(Step::Remove),
        1 => path().prop_map(Step::Fifo),
    ]
}

/// Steps that the file system refuses are part of the game.
pub(crate) fn work(root: &Path, steps: &[Step]) {
    for step in steps {
        let _ = match step {
            // Through no link: those lead out of the tree.
            _ if leads_through_link(root, step) => Ok(()),
            Step::Write(path, size) => fs::write(root.join(path), vec![*size as u8; *size as usize]),
            Step::Directory(path) => fs::create_dir_all(root.join(path)),
            Step::Symlink(path, to) => symlink(to, root.join(path)),
            Step::Link(path, to) => fs::hard_link(root.join(to), root.join(path)),
            Step::Rename(path, to) => fs::rename(root.join(path), root.join(to)),
            Step::Mode(path, mode) => fs::set_permissions(root.join(path), fs::Permissions::from_mode(*mode)),
            Step::Remove(path) => match fs::symlink_metadata(root.join(path)) {
                Ok(meta) if meta.is_dir() => fs::remove_dir_all(root.join(path)),
                _ => fs::remove_file(root.join(path)),
            },
            Step::Fifo(path) => {
                let mode = rustix::fs::Mode::RUSR;
                rustix::fs::mkfifoat(rustix::fs::CWD, root.join(path), mode).map_err(std::io::Error::from)
            }
        };
    }
}

fn leads_through_link(root: &Path, step: &Step) -> bool {
    let (first, second) = match step {
        Step::Symlink(path, _) => (path, path),
        Step::Link(path, to) | Step::Rename(path, to) => (path, to),
        Step::Write(path, _) | Step::Directory(path) | Step::Mode(path, _) | Step::Remove(path) | Step::Fifo(path) => {
            (path, path)
        }
    };
    [first, second].iter().any(|path| {
        let is_special =
            |path: &Path| fs::symlink_metadata(root.join(path)).is_ok_and(|meta| !meta.is_dir() && !meta.is_file());
        path.ancestors().any(is_special)
    })
}

/// Which names are links of each other is not compared: a new name takes the place of an old one unseen, when the
/// count stays the same.
pub(crate) fn without_links(lines: Vec<String>) -> Vec<String> {
    lines
        .iter()
        .map(|line| line.rsplit_once(" [").and_then(|(rest, _)| rest.rsplit_once(" [")).unwrap().0.to_owned())
        .collect()
}

#[test]
fn packing_and_unpacking_random_work_gives_the_same_tree() {
    each(|bed| {
        let mut runner = TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
        let steps = || prop::collection::vec(step(), 0..30);
        let mut round = 0;
        let round = std::cell::RefCell::new(&mut round);
        runner
            .run(&(steps(), steps(), steps()), |(first, second, third)| {
                let n = {
                    let mut round = round.borrow_mut();
                    **round += 1;
                    **round
                };
                let name = |letter: char| format!("{letter}{n}");
                let (a, b, c, d) = (name('a'), name('b'), name('c'), name('d'));
                bed.layer(&a, &[], |root| work(root, &first));
                bed.layer(&b, &[&a], |root| work(root, &second));
                bed.layer(&c, &[&b, &a], |root| work(root, &third));
                let whole = bed.read(&c, &[&b, &a], snapshot);
                let archive = bed.pack(&c, &[&b, &a]);
                bed.unpack(&d, &[&b, &a], &archive).unwrap();
                assert_same(&without_links(whole), &without_links(bed.read(&d, &[&b, &a], snapshot)));
                assert_eq!(bed.changes(&c, &[&b, &a]), bed.changes(&d, &[&b, &a]));
                for layer in [d, c, b, a] {
                    bed.driver.remove(&super::bed::id(&layer)).unwrap();
                }
                Ok(())
            })
            .unwrap();
    });
}

/// So many names that no two of the directories which the work is about are near each other on the disk.
fn crowd(root: &Path) {
    for n in 0..12 {
        let directory = root.join(format!("n{}/n{}", n / 4, n % 4));
        fs::create_dir_all(&directory).unwrap();
        for m in 0..25 {
            fs::write(directory.join(format!("{m:0>150}")), "x").unwrap();
        }
    }
}

/// What the driver's own way of finding changes leaves out must be nothing: two trees are compared whole beside it.
#[test]
fn a_driver_s_own_way_finds_the_changes_of_random_work_that_a_comparison_finds() {
    each(|bed| {
        // Overlay has its own on purpose: a name that is added to a file makes it two.
        if !["btrfs", "zfs"].contains(&bed.driver.name()) {
            return;
        }
        let mut runner = TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() });
        let steps = || prop::collection::vec(step(), 0..40);
        let round = std::cell::Cell::new(0);
        runner
            .run(&(steps(), steps(), steps()), |(first, second, third)| {
                round.set(round.get() + 1);
                let name = |letter: char| format!("{letter}{}", round.get());
                let (a, b, c) = (name('a'), name('b'), name('c'));
                bed.layer(&a, &[], |root| {
                    crowd(root);
                    work(root, &first);
                });
                bed.driver.commit(&super::bed::id(&a)).unwrap();
                bed.layer(&b, &[&a], |root| work(root, &second));
                bed.layer(&c, &[&b, &a], |root| work(root, &third));
                for (upper, parents) in [(&b, vec![a.as_str()]), (&c, vec![b.as_str(), a.as_str()])] {
                    let compared = bed.compared(upper, &parents);
                    prop_assert_eq!(bed.changes(upper, &parents), compared);
                }
                // Written again after it was looked at, and after it was sealed.
                bed.driver.commit(&super::bed::id(&c)).unwrap();
                bed.write(&c, &[&b, &a], |root| work(root, &first));
                prop_assert_eq!(bed.changes(&c, &[&b, &a]), bed.compared(&c, &[&b, &a]));
                for layer in [c, b, a] {
                    bed.driver.remove(&super::bed::id(&layer)).unwrap();
                }
                Ok(())
            })
            .unwrap();
    });
}
