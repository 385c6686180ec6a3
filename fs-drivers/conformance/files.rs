//! What happens to single files: copied up, renamed, linked, replaced, and seen again through an archive.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use super::bed::{assert_same, id, shell, snapshot};
use super::{Bed, each};

pub(super) fn run(root: &Path, script: &str) {
    shell(root, script);
}

/// The tree of `name` comes out of its archive as it went in, over the same parents.
pub(super) fn assert_comes_through(bed: &Bed, name: &str, parents: &[&str]) {
    let again = format!("{name}-again");
    bed.unpack(&again, parents, &bed.pack(name, parents)).unwrap();
    assert_same(&bed.read(name, parents, snapshot), &bed.read(&again, parents, snapshot));
}

/// `b` does `work` over `a`, which `base` fills; gives the changes. `a` is as it was.
fn over(bed: &Bed, base: impl FnOnce(&Path) + Send, work: impl FnOnce(&Path) + Send) -> Vec<String> {
    bed.layer("a", &[], base);
    let before = bed.read("a", &[], snapshot);
    bed.layer("b", &["a"], work);
    assert_same(&before, &bed.read("a", &[], snapshot));
    assert_comes_through(bed, "b", &["a"]);
    bed.changes("b", &["a"])
}

pub(super) fn scripts(bed: &Bed, base: &str, work: &str) -> Vec<String> {
    over(bed, |root| run(root, base), |root| run(root, work))
}

#[test]
fn a_file_that_is_open_while_it_is_copied_up_is_read_whole() {
    each(|bed| {
        bed.layer("a", &[], |root| fs::write(root.join("f"), "old old").unwrap());
        bed.prepare("b", &["a"]).unwrap();
        bed.write("b", &["a"], |root| {
            let mut reader = fs::File::open(root.join("f")).unwrap();
            let writer = fs::OpenOptions::new().write(true).open(root.join("f")).unwrap();
            writer.write_all_at(b"new", 0).unwrap();
            let mut seen = String::new();
            reader.seek(SeekFrom::Start(0)).unwrap();
            reader.read_to_string(&mut seen).unwrap();
            // An overlay's reader stays with the lower file.
            assert!(seen == "new old" || (bed.driver.name() == "overlay" && seen == "old old"), "{seen}");
            assert_eq!(fs::read_to_string(root.join("f")).unwrap(), "new old");
        });
        assert_eq!(bed.read("a", &[], |root| fs::read_to_string(root.join("f")).unwrap()), "old old");
    });
}

#[test]
fn an_open_file_outlives_its_name() {
    each(|bed| {
        bed.layer("a", &[], |root| fs::write(root.join("f"), "old").unwrap());
        bed.prepare("b", &["a"]).unwrap();
        bed.write("b", &["a"], |root| {
            let mut file = fs::OpenOptions::new().read(true).append(true).open(root.join("f")).unwrap();
            fs::remove_file(root.join("f")).unwrap();
            file.write_all(b" and more").unwrap();
            file.seek(SeekFrom::Start(0)).unwrap();
            let mut seen = String::new();
            file.read_to_string(&mut seen).unwrap();
            assert_eq!(seen, "old and more");
        });
        assert_eq!(bed.changes("b", &["a"]), ["D /f"]);
    });
}

#[test]
fn a_name_can_come_and_go_in_every_layer() {
    each(|bed| {
        bed.layer("l0", &[], |root| fs::write(root.join("f"), "0").unwrap());
        let mut below = vec!["l0".to_owned()];
        for n in 1..7 {
            let parents: Vec<String> = below.clone();
            let parents: Vec<&str> = parents.iter().map(String::as_str).collect();
            let name = format!("l{n}");
            let work = |root: &Path| match n % 2 {
                1 => fs::remove_file(root.join("f")).unwrap(),
                _ => fs::write(root.join("f"), n.to_string()).unwrap(),
            };
            bed.layer(&name, &parents, work);
            assert_eq!(bed.changes(&name, &parents), [if n % 2 == 1 { "D /f" } else { "A /f" }]);
            assert_comes_through(bed, &name, &parents);
            below.insert(0, name);
        }
    });
}

#[test]
fn a_directory_that_is_made_again_hides_what_was_in_it_from_all_above() {
    each(|bed| {
        bed.layer("a", &[], |root| run(root, "mkdir -p d/deep; touch d/old d/deep/old"));
        bed.layer("b", &["a"], |root| run(root, "rm -r d; mkdir -p d/deep; touch d/new"));
        bed.layer("c", &["b", "a"], |root| {
            assert!(root.join("d/new").exists() && !root.join("d/old").exists() && !root.join("d/deep/old").exists());
            fs::write(root.join("d/old"), "other").unwrap();
        });
        assert_eq!(bed.changes("c", &["b", "a"]), ["C /d", "A /d/old"]);
        assert_comes_through(bed, "b", &["a"]);
        assert_comes_through(bed, "c", &["b", "a"]);
    });
}

#[test]
fn a_link_takes_a_directory_s_place_and_a_directory_a_link_s() {
    each(|bed| {
        let base = "mkdir -p d/in other; touch d/in/f other/kept; ln -s other l";
        let changes = scripts(bed, base, "rm -r d l; ln -s other d; mkdir l; touch l/f");
        assert_eq!(changes, ["C /d", "C /l", "A /l/f"]);
        bed.read("b", &["a"], |root| assert!(root.join("d/kept").exists() && !root.join("l/kept").exists()));
    });
}

#[test]
fn a_file_is_renamed_over_another_and_back() {
    each(|bed| {
        assert_eq!(
            scripts(bed, "echo 1 >f; echo 22 >g; echo 3 >h", "mv f g; mv h i; mv i h2"),
            ["D /f", "C /g", "D /h", "A /h2"]
        );
        bed.layer("c", &["b", "a"], |root| run(root, "mv g f; mv h2 h"));
        assert_eq!(bed.changes("c", &["b", "a"]), ["A /f", "D /g", "A /h", "D /h2"]);
        assert_comes_through(bed, "c", &["b", "a"]);
    });
}

#[test]
fn a_directory_of_the_layer_below_is_moved_into_another() {
    each(|bed| {
        let changes = scripts(bed, "mkdir -p from/x to; seq 9 >from/x/f; ln from/x/f from/x/g", "mv from/x to/y");
        assert_eq!(changes, ["C /from", "D /from/x", "C /to", "A /to/y", "A /to/y/f", "A /to/y/g"]);
        bed.read("b", &["a"], |root| {
            assert_eq!(
                fs::metadata(root.join("to/y/f")).unwrap().ino(),
                fs::metadata(root.join("to/y/g")).unwrap().ino()
            );
        });
    });
}

#[test]
fn names_of_one_file_in_one_layer_stay_names_of_one_file() {
    each(|bed| {
        bed.layer("a", &[], |root| run(root, "mkdir d; echo 1 >f; ln f d/g"));
        bed.layer("b", &["a"], |root| run(root, "echo 2 >x; ln x d/y; ln d/y z"));
        let is_one = |root: &Path, names: &[&str]| {
            let of = |name: &&str| fs::metadata(root.join(name)).map(|meta| (meta.ino(), meta.nlink())).unwrap();
            names.iter().map(of).all(|found| found == (of(&names[0]).0, names.len() as u64))
        };
        bed.read("b", &["a"], |root| assert!(is_one(root, &["f", "d/g"]) && is_one(root, &["x", "d/y", "z"])));
        assert_comes_through(bed, "b", &["a"]);
        bed.read("b-again", &["a"], |root| assert!(is_one(root, &["x", "d/y", "z"])));
    });
}

#[test]
fn holes_stay_holes_when_a_file_is_changed_above() {
    each(|bed| {
        bed.layer("a", &[], |root| {
            run(root, "truncate -s 64M f; printf x | dd of=f bs=1 seek=33M conv=notrunc status=none")
        });
        bed.layer("b", &["a"], |root| {
            let file = fs::OpenOptions::new().write(true).open(root.join("f")).unwrap();
            file.write_all_at(b"yy", 60 << 20).unwrap();
        });
        let archive = bed.pack("b", &["a"]);
        // An overlay copies up a MiB at a time.
        assert!(archive.len() < 4 << 20, "{}", archive.len());
        assert_comes_through(bed, "b", &["a"]);
        bed.read("b-again", &["a"], |root| {
            let meta = fs::metadata(root.join("f")).unwrap();
            assert!(meta.len() == 64 << 20 && meta.blocks() * 512 < 4 << 20, "{}", meta.blocks());
        });
    });
}

#[test]
fn the_longest_names_and_paths_come_through() {
    each(|bed| {
        let part = "p".repeat(250);
        bed.layer("a", &[], |root| {
            let mut script = String::new();
            for _ in 0..15 {
                script += &format!("mkdir {part}; cd {part}; ");
            }
            shell(root, &format!("{script} echo deep >f; ln f {}", "n".repeat(255)));
        });
        assert_comes_through(bed, "a", &[]);
        assert_eq!(bed.changes("a", &[]).len(), 17);
    });
}

#[test]
fn a_large_directory_is_listed_whole_from_both_layers() {
    each(|bed| {
        let below = "mkdir d; cd d; for n in $(seq 2000); do : >below$n; done";
        let above = "cd d; rm below*7; for n in $(seq 1000); do : >above$n; done";
        bed.layer("a", &[], |root| run(root, below));
        bed.layer("b", &["a"], |root| run(root, above));
        let names = |root: &Path| fs::read_dir(root.join("d")).unwrap().count();
        assert_eq!(bed.read("b", &["a"], names), 2000 - 200 + 1000);
        assert_eq!(bed.changes("b", &["a"]).len(), 1 + 200 + 1000);
    });
}

#[test]
fn what_programs_do_with_files_works() {
    each(|bed| {
        bed.layer("a", &[], |root| fs::write(root.join("f"), vec![1; 1 << 20]).unwrap());
        bed.layer("b", &["a"], |root| {
            use rustix::fs::{FallocateFlags, Mode, OFlags};
            let file = fs::OpenOptions::new().read(true).write(true).open(root.join("f")).unwrap();
            rustix::fs::fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 4096, 65536).unwrap();
            file.sync_all().unwrap();
            file.lock().unwrap();
            rustix::fs::fsync(fs::File::open(root).unwrap()).unwrap();
            // O_TMPFILE came to overlay with 6.1.
            let flags = OFlags::TMPFILE | OFlags::RDWR;
            if let Ok(unnamed) = rustix::fs::openat(rustix::fs::CWD, root, flags, Mode::from_raw_mode(0o644)) {
                rustix::io::write(&unnamed, b"late").unwrap();
                let own = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&unnamed));
                let follow = rustix::fs::AtFlags::SYMLINK_FOLLOW;
                rustix::fs::linkat(rustix::fs::CWD, own, rustix::fs::CWD, root.join("named"), follow).unwrap();
                assert_eq!(fs::read(root.join("named")).unwrap(), b"late");
            }
            let mut name = fs::read(root.join("f")).unwrap();
            assert_eq!((name.len(), name.remove(5000), name[0]), (1 << 20, 0, 1));
        });
        assert_comes_through(bed, "b", &["a"]);
    });
}

#[test]
fn an_emptied_and_a_removed_tree_are_told_apart() {
    each(|bed| {
        let changes = scripts(bed, "mkdir -p d/in e/in; seq 5 >f; touch d/in/x e/in/x", "rm -r d/in e; : >f");
        assert_eq!(changes, ["C /d", "D /d/in", "D /e", "C /f"]);
    });
}

#[test]
fn layers_are_made_and_removed_by_many_at_once() {
    each(|bed| {
        bed.layer("a", &[], |root| run(root, "for n in $(seq 50); do echo $n >f$n; done"));
        std::thread::scope(|scope| {
            // Threads see what the one that made them sees.
            for worker in 0..4 {
                scope.spawn(move || {
                    for round in 0..5 {
                        let name = format!("w{worker}-{round}");
                        bed.prepare(&name, &["a"]).unwrap();
                        bed.driver.commit(&id(&name)).unwrap();
                        bed.driver.remove(&id(&name)).unwrap();
                    }
                });
            }
        });
        assert_eq!(bed.driver.list().unwrap(), [id("a")]);
    });
}
