//! Layers over layers: what is seen, written, hidden and told apart.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::bed::{assert_same, id, ids, shell, snapshot};
use super::{Bed, each};
use crate::{Access, Error};

#[test]
fn what_is_written_is_read_and_the_layer_below_stays() {
    each(|bed| {
        bed.layer("a", &[], |root| fs::write(root.join("file"), "old").unwrap());
        bed.layer("b", &["a"], |root| {
            assert_eq!(fs::read(root.join("file")).unwrap(), b"old");
            fs::write(root.join("file"), "new").unwrap();
        });
        assert_eq!(bed.read("b", &["a"], |root| fs::read(root.join("file")).unwrap()), b"new");
        assert_eq!(bed.read("a", &[], |root| fs::read(root.join("file")).unwrap()), b"old");
        assert_eq!(bed.changes("b", &["a"]), ["C /file"]);
        assert_eq!(bed.changes("a", &[]), ["A /file"]);
    });
}

#[test]
fn a_layer_is_prepared_once() {
    each(|bed| {
        bed.prepare("a", &[]).unwrap();
        assert!(matches!(bed.prepare("a", &[]), Err(Error::Conflict(_))));
        assert!(bed.prepare("b", &["nothing"]).is_err());
        assert_eq!(bed.driver.list().unwrap(), ids(&["a"]));
        assert!(matches!(bed.driver.commit(&id("c")), Err(Error::NotFound(_))));
        assert!(matches!(bed.driver.usage(&id("c")), Err(Error::NotFound(_))));
    });
}

#[test]
fn a_sealed_layer_can_be_sealed_again_and_built_on() {
    each(|bed| {
        bed.layer("a", &[], |root| fs::write(root.join("file"), "x").unwrap());
        bed.driver.commit(&id("a")).unwrap();
        bed.driver.commit(&id("a")).unwrap();
        bed.layer("b", &["a"], |root| fs::remove_file(root.join("file")).unwrap());
        bed.driver.commit(&id("b")).unwrap();
        assert_eq!(bed.changes("b", &["a"]), ["D /file"]);
    });
}

#[test]
fn the_root_has_the_attributes_of_the_layer_below() {
    each(|bed| {
        bed.layer("a", &[], |root| {
            fs::set_permissions(root, fs::Permissions::from_mode(0o1770)).unwrap();
            std::os::unix::fs::chown(root, Some(12), Some(34)).unwrap();
        });
        bed.layer("b", &["a"], |_| {});
        bed.read("b", &["a"], |root| {
            let meta = fs::metadata(root).unwrap();
            assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0o1770, 12, 34));
        });
        assert_eq!(bed.changes("b", &["a"]), [""; 0]);
    });
}

#[test]
fn removed_and_replaced_names_are_changes_and_come_through_an_archive() {
    each(|bed| {
        bed.layer("a", &[], |root| {
            shell(root, "mkdir -p gone/inner kept/inner replaced/x same; echo 1 >gone/inner/f; echo 1 >kept/inner/f");
            shell(
                root,
                "echo 1 >replaced/x/f; echo 1 >replaced/y; echo 1 >file; echo 1 >turned; mkdir around; touch around/f",
            );
        });
        let work = |root: &std::path::Path| {
            shell(
                root,
                "rm -r gone; rm file; rm kept/inner/f; rm -r replaced; mkdir replaced replaced/x; echo 2 >replaced/z",
            );
            shell(root, "rm turned; mkdir turned; echo 2 >turned/f; rm -r around; echo 2 >around; echo 2 >kept/new");
        };
        bed.layer("b", &["a"], work);
        let expected = [
            "C /around",
            "D /file",
            "D /gone",
            "C /kept",
            "C /kept/inner",
            "D /kept/inner/f",
            "A /kept/new",
            "C /replaced",
            "C /replaced/x",
            "D /replaced/x/f",
            "D /replaced/y",
            "A /replaced/z",
            "C /turned",
            "A /turned/f",
        ];
        assert_eq!(bed.changes("b", &["a"]), expected);
        let whole = bed.read("b", &["a"], snapshot);
        bed.unpack("c", &["a"], &bed.pack("b", &["a"])).unwrap();
        assert_same(&whole, &bed.read("c", &["a"], snapshot));
        assert_eq!(bed.changes("c", &["a"]), expected);
        assert_eq!(bed.pack("b", &["a"]), bed.pack("c", &["a"]));
    });
}

#[test]
fn touched_and_changed_attributes_are_changes() {
    each(|bed| {
        bed.layer("a", &[], |root| {
            shell(root, "mkdir d e d/i; for f in mode owner time xattr data same; do echo 1 >d/$f; done");
        });
        bed.layer("b", &["a"], |root| {
            shell(root, "chmod 4755 d/mode; chown 5:6 d/owner; touch -d @1.5 d/time; setfattr -n user.k -v v d/xattr");
            shell(root, "echo 2 >d/data; cat d/same >/dev/null; chmod 700 e");
        });
        let expected = ["C /d", "C /d/data", "C /d/mode", "C /d/owner", "C /d/time", "C /d/xattr", "C /e"];
        assert_eq!(bed.changes("b", &["a"]), expected);
    });
}

#[test]
fn a_directory_can_be_renamed_and_comes_out_whole() {
    each(|bed| {
        bed.layer("a", &[], |root| {
            shell(root, "mkdir -p old/inner; echo 1 >old/inner/f");
        });
        bed.layer("b", &["a"], |root| {
            shell(root, "mv old new; mv new/inner/f new/g");
        });
        let whole = bed.read("b", &["a"], snapshot);
        bed.unpack("c", &["a"], &bed.pack("b", &["a"])).unwrap();
        assert_same(&whole, &bed.read("c", &["a"], snapshot));
    });
}

#[test]
fn everything_a_file_can_be_comes_through_an_archive() {
    each(|bed| {
        bed.layer("a", &[], everything);
        let whole = bed.read("a", &[], snapshot);
        let archive = bed.pack("a", &[]);
        bed.unpack("b", &[], &archive).unwrap();
        assert_same(&whole, &bed.read("b", &[], snapshot));
        assert_eq!(archive, bed.pack("b", &[]));
        bed.read("b", &[], |root| assert!(fs::metadata(root.join("sparse")).unwrap().blocks() * 512 < 1 << 20));
        bed.prepare("c", &["a"]).unwrap();
        assert_same(&whole, &bed.write("c", &["a"], snapshot));
    });
}

/// Attributes, capabilities, hard links, holes, nanoseconds, setuid, devices, odd names.
pub(super) fn everything(root: &std::path::Path) {
    use std::os::unix::ffi::OsStrExt;
    shell(
        root,
        "echo 1 >plain; ln plain hard; mkdir dir; ln plain dir/hard; ln -s ../x dir/link; ln dir/link dir/link2",
    );
    shell(
        root,
        "mkfifo fifo; mknod null c 1 3; mknod block b 7 300; chmod 4711 plain; mkdir -m 1777 tmp; mkdir -m 000 none",
    );
    shell(root, "truncate -s 50M sparse; printf x | dd of=sparse bs=1 seek=20M conv=notrunc status=none");
    shell(
        root,
        "setfattr -n user.k -v 0x000a3d20ff plain; setfattr -n trusted.t -v t dir; setfattr -h -n trusted.l -v l dir/link",
    );
    shell(
        root,
        "echo prog >prog; chown 3000000:4000000000 prog; chmod 6755 prog; setcap cap_net_raw,cap_chown+ep prog",
    );
    shell(
        root,
        "touch -d @1.000000001 prog; touch -d @-5.5 fifo; touch -h -d @99999999999 dir/link; touch -d @7.25 tmp",
    );
    for name in [&b"\xff\xfe bytes"[..], b"new\nline", b" ", b"a\\b", "ümläut".as_bytes(), &[b'x'; 255]] {
        fs::write(root.join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    let deep = root.join("y".repeat(120)).join("z".repeat(120)).join("w".repeat(120));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("f"), "deep").unwrap();
    fs::hard_link(deep.join("f"), root.join("to-deep")).unwrap();
    symlink("v".repeat(300), root.join("long-link")).unwrap();
    symlink("/etc/passwd", root.join("absolute")).unwrap();
}

#[test]
fn chains_of_130_layers_and_of_more_than_the_kernel_stacks_are_mounted() {
    each(|bed| {
        let plain = bed.driver.name() == "overlay" && !berth_arch::pretend::without("overlay-multi-lower");
        let count = if plain { 600 } else { 130 };
        let names: Vec<String> = (0..count).map(|n| format!("l{n}")).collect();
        let mut parents: Vec<&str> = Vec::new();
        for (n, name) in names.iter().enumerate() {
            bed.prepare(name, &parents).unwrap();
            let fill = |root: &Path| fs::write(root.join(name), name).unwrap();
            if parents.is_empty() || bed.driver.name() == "overlay" && n != count - 1 {
                bed.contents(name, &parents, fill);
            } else {
                bed.write(name, &parents, fill);
            }
            parents.insert(0, name);
        }
        let (top, below) = parents.split_first().unwrap();
        assert_eq!(bed.read(top, below, |root| fs::read_dir(root).unwrap().count()), count);
        assert_eq!(bed.changes(top, below), [format!("A /{top}")]);
    });
}

#[test]
fn a_thrown_away_layer_can_be_mounted_again() {
    each(|bed| {
        bed.layer("a", &[], |root| fs::write(root.join("file"), "1").unwrap());
        bed.prepare("b", &["a"]).unwrap();
        for _ in 0..2 {
            let mounts = bed.driver.mounts(&id("b"), &ids(&["a"]), Access::Throwaway).unwrap();
            crate::mount::with_mounted(&mounts, |root| fs::write(root.join("x"), "2").unwrap()).unwrap();
        }
        assert_eq!(bed.changes("b", &["a"]), ["A /x"]);
    });
}

#[test]
fn a_layer_without_changes_has_none_and_takes_nothing_from_its_parents() {
    each(|bed| {
        bed.layer("a", &[], |root| fs::write(root.join("file"), vec![1; 1 << 20]).unwrap());
        bed.layer("b", &["a"], |_| {});
        assert_eq!(bed.changes("b", &["a"]), [""; 0]);
        assert_eq!(bed.pack("b", &["a"]), vec![0; 1024]);
        let usage = bed.driver.usage(&id("a")).unwrap();
        assert!(usage.bytes >= 1 << 20 && usage.inodes == 2, "{usage:?}");
    });
}

#[test]
fn nothing_of_a_mount_is_seen_outside() {
    each(|bed| {
        bed.layer("a", &[], |_| {});
        bed.layer("b", &["a"], |_| {});
        let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
        bed.write("b", &["a"], |root: &std::path::Path| {
            assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
            assert!(
                bed.driver.name() == "vfs"
                    || fs::metadata(root).unwrap().dev() != fs::metadata(bed.root()).unwrap().dev()
            );
        });
        let panicked =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| bed.write("b", &["a"], |_| panic!("on purpose"))));
        assert!(panicked.is_err());
        assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    });
}

#[test]
fn mounts_can_be_looked_into_two_at_a_time() {
    each(|bed: &Bed| {
        bed.layer("a", &[], |root| fs::write(root.join("a"), "a").unwrap());
        bed.layer("b", &["a"], |root| fs::write(root.join("b"), "b").unwrap());
        bed.layer("c", &["b", "a"], |root| fs::write(root.join("c"), "c").unwrap());
        bed.read("b", &["a"], |lower| {
            bed.read("c", &["b", "a"], |upper| {
                assert!(lower.join("b").exists() && !lower.join("c").exists() && upper.join("c").exists());
            });
        });
    });
}

/// Guards against a walk that calls itself for each level: a container's deep tree ended the engine.
#[test]
fn changes_are_found_however_deep_they_are() {
    const DEPTH: usize = 2200;
    each(|bed| {
        bed.prepare("a", &[]).unwrap();
        bed.write("a", &[], |root| {
            use rustix::fs::{Mode, OFlags};
            let mut directory = rustix::fs::open(root, OFlags::DIRECTORY, Mode::empty()).unwrap();
            for _ in 0..DEPTH {
                rustix::fs::mkdirat(&directory, "d", Mode::RWXU).unwrap();
                directory = rustix::fs::openat(&directory, "d", OFlags::DIRECTORY, Mode::empty()).unwrap();
            }
        });
        let mut found = 0;
        let mut count = |_: crate::Change<'_>| {
            found += 1;
            Ok(())
        };
        crate::diff::changes(&*bed.driver, &id("a"), &[], &mut count).unwrap();
        assert_eq!(found, DEPTH);
        bed.driver.remove(&id("a")).unwrap();
    });
}

#[test]
fn holes_of_equal_files_are_not_read() {
    each(|bed| {
        let make = |root: &std::path::Path| {
            let file = fs::File::create(root.join("file")).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, b"x", 1 << 40).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(5)).unwrap();
        };
        bed.layer("a", &[], make);
        bed.layer("b", &["a"], |root| {
            fs::remove_file(root.join("file")).unwrap();
            make(root);
        });
        assert_eq!(bed.changes("b", &["a"]), [""; 0]);
    });
}

/// What that costs is told (`--nocapture`), and not judged: machines differ.
#[test]
fn a_layer_on_fifty_others_shows_them_all_and_comes_and_goes() {
    each(|bed| {
        let names: Vec<String> = (0..50).map(|number| format!("n{number}")).collect();
        let above = |count: usize| names[..count].iter().rev().map(String::as_str).collect::<Vec<_>>();
        for (number, name) in names.iter().enumerate() {
            bed.prepare(name, &above(number)).unwrap();
            bed.contents(name, &above(number), |root| fs::write(root.join(name), name).unwrap());
        }
        let parents = above(names.len());
        let mut took = Vec::new();
        for round in 0..7 {
            let top = id(&format!("top{round}"));
            let start = std::time::Instant::now();
            bed.prepare(top.as_str(), &parents).unwrap();
            let mounts = bed.driver.mounts(&top, &ids(&parents), Access::ReadWrite).unwrap();
            let made = start.elapsed();
            assert!(!mounts.is_empty());
            if round == 0 {
                let shown = bed.read(top.as_str(), &parents, |root| fs::read_dir(root).unwrap().count());
                assert_eq!(shown, 50);
            }
            let start = std::time::Instant::now();
            bed.driver.remove(&top).unwrap();
            took.push(made + start.elapsed());
            assert!(!bed.driver.list().unwrap().contains(&top));
        }
        took.sort_unstable();
        let milliseconds = |index: usize| took[index].as_secs_f64() * 1e3;
        eprintln!("cost of {}: {:.2} ms, at least {:.2}", bed.driver.name(), milliseconds(3), milliseconds(0));
    });
}
