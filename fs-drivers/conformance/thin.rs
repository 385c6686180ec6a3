//! What is particular to lvm: pools that are named, that are full and that are copied, sizes, devices that come and go.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

use super::bed::{Bed, id, ids, scratch, shell, snapshot};
use super::each;
use crate::lvm::testing;
use crate::{Access, Error, LayerOptions, registry};

/// Runs `behaviour` where the driver is lvm.
fn on_lvm(behaviour: impl Fn(&Bed) + Sync) {
    each(|bed| {
        if bed.driver.name() == "lvm" {
            behaviour(bed);
        }
    });
}

/// The driver over another state folder.
fn other(folder: tempfile::TempDir) -> Bed {
    Bed::new(entry(), folder)
}

fn entry() -> &'static crate::Entry {
    registry::DRIVERS.iter().find(|entry| entry.name == "lvm").unwrap()
}

/// Writes so many bytes that are nobody's, and brings them to the disk.
fn fill(path: &Path, bytes: usize) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    let block = vec![0xa5; 1 << 20];
    for _ in 0..bytes >> 20 {
        file.write_all(&block)?;
    }
    file.sync_all()
}

#[test]
fn a_full_pool_loses_no_layer_and_goes_on_after_a_removal() {
    on_lvm(|_| {
        let folder = scratch();
        testing::make_small(folder.path(), 160 << 20);
        let bed = other(folder);
        bed.layer("a", &[], |root| fill(&root.join("f"), 20 << 20).unwrap());
        bed.driver.commit(&id("a")).unwrap();
        let sealed = bed.read("a", &[], snapshot);
        bed.prepare("b", &["a"]).unwrap();
        let error = bed.write("b", &["a"], |root| fill(&root.join("much"), 300 << 20)).unwrap_err();
        // The file's own blocks, or ext4's books, whichever did not fit first.
        let errors = [libc::ENOSPC, libc::EIO, libc::EROFS];
        assert!(error.raw_os_error().is_some_and(|code| errors.contains(&code)), "{error}");
        let refused = bed.prepare("c", &["a"]).unwrap_err();
        assert_eq!(refused.io_kind(), Some(io::ErrorKind::StorageFull));
        let words = ["of 167.8MB for data are free", "less than 10 % (lvm.min_free_space)", "make room", "prune"];
        assert!(words.iter().all(|word| refused.to_string().contains(word)), "{refused}");
        assert_eq!(bed.driver.list().unwrap(), ids(&["a", "b"]));
        assert_eq!(bed.read("a", &[], snapshot), sealed);
        bed.driver.remove(&id("b")).unwrap();
        bed.layer("c", &["a"], |root| fill(&root.join("some"), 20 << 20).unwrap());
        bed.driver.commit(&id("c")).unwrap();
        assert_eq!(bed.read("a", &[], snapshot), sealed);
        assert_eq!(bed.changes("c", &["a"]), ["A /some"]);
    });
}

#[test]
fn a_pool_that_is_named_is_shared_and_others_devices_in_it_stay() {
    on_lvm(|bed| {
        // The pool of one state is somebody else's for the next.
        bed.layer("a", &[], |root| fs::write(root.join("f"), "first").unwrap());
        let pool = testing::pool_name(bed.root());
        let (before, unasked) = (testing::transaction(bed.root()), (entry().unasked)(bed.root()));
        assert_eq!(unasked.reason(), Some("no thin pool is named"));
        testing::make_foreign(bed.root(), 5);
        let folder = scratch();
        testing::configure(folder.path(), &[("lvm.pool", &pool)]).unwrap();
        assert_eq!((entry().unasked)(folder.path()).reason(), None);
        let named = other(folder);
        named.layer("a", &[], |root| fs::write(root.join("f"), "second").unwrap());
        named.driver.commit(&id("a")).unwrap();
        named.layer("b", &["a"], |root| fs::write(root.join("g"), "x").unwrap());
        assert_ne!(testing::number(bed.root(), "a"), testing::number(named.root(), "a"));
        assert_eq!(named.changes("b", &["a"]), ["A /g"]);
        assert_eq!(bed.read("a", &[], |root| fs::read(root.join("f")).unwrap()), b"first");
        assert!(named.driver.status().contains(&("Pool Name", pool.clone())));
        let numbers = ["a", "b"].map(|name| testing::number(named.root(), name));
        for name in ["b", "a"] {
            named.driver.remove(&id(name)).unwrap();
        }
        assert_eq!(numbers.map(|number| testing::has(bed.root(), number)), [false, false]);
        assert!(testing::has(bed.root(), 5) && testing::has(bed.root(), testing::number(bed.root(), "a")));
        assert_eq!(testing::transaction(bed.root()), before);
        // Layers stay in their pool.
        named.prepare("c", &[]).unwrap();
        assert!(testing::configure(named.root(), &[("lvm.pool", "vg/other")]).is_err());
        named.driver.remove(&id("c")).unwrap();
    });
}

#[test]
fn a_pool_that_is_not_there_is_said_with_the_remedy() {
    on_lvm(|_| {
        let folder = scratch();
        testing::configure(folder.path(), &[("lvm.pool", "vg/pool")]).unwrap();
        let probe = (entry().probe)(folder.path());
        assert!(probe.reason().unwrap().contains("no active thin pool vg-pool: activate it"), "{probe:?}");
        let bed = other(folder);
        assert!(matches!(bed.prepare("a", &[]), Err(Error::Unavailable(_))));
        assert_eq!(bed.driver.list().unwrap(), []);
        bed.driver.sweep().unwrap();
    });
}

#[test]
fn a_layer_is_as_large_as_is_asked_for_and_never_smaller_than_its_image() {
    on_lvm(|bed| {
        bed.layer("a", &[], |root| fs::write(root.join("f"), "x").unwrap());
        bed.driver.commit(&id("a")).unwrap();
        let sized = |size: u64| LayerOptions { size: Some(size) };
        let small = bed.driver.prepare(&id("b"), &ids(&["a"]), &sized(1 << 30)).unwrap_err().to_string();
        assert!(small.contains("10.7GB here, or larger") && small.contains("lvm.size"), "{small}");
        assert_eq!(bed.driver.list().unwrap(), ids(&["a"]));
        bed.driver.prepare(&id("b"), &ids(&["a"]), &sized(20 << 30)).unwrap();
        let bytes = |root: &Path| {
            let found = rustix::fs::statvfs(root).unwrap();
            (found.f_blocks * found.f_frsize) >> 30
        };
        assert_eq!(bed.read("a", &[], bytes), 9);
        assert_eq!(bed.read("b", &["a"], bytes), 19);
        assert_eq!(bed.changes("b", &["a"]), [""; 0]);
    });
}

#[test]
fn layers_can_be_xfs() {
    on_lvm(|_| {
        let folder = scratch();
        testing::configure(folder.path(), &[("lvm.fs", "xfs"), ("lvm.size", "1073741824")]).unwrap();
        if let Some(reason) = (entry().probe)(folder.path()).reason() {
            return eprintln!("skipped xfs: {reason}");
        }
        let bed = other(folder);
        bed.layer("a", &[], super::layers::everything);
        bed.driver.commit(&id("a")).unwrap();
        bed.driver.prepare(&id("b"), &ids(&["a"]), &LayerOptions { size: Some(2 << 30) }).unwrap();
        bed.write("b", &["a"], |root| {
            assert!(rustix::fs::statvfs(root).unwrap().f_blocks * 4096 > 3 << 29);
            fs::write(root.join("new"), "x").unwrap();
        });
        assert_eq!(bed.changes("b", &["a"]), ["A /new"]);
        bed.unpack("c", &["a"], &bed.pack("b", &["a"])).unwrap();
        assert_eq!(bed.read("b", &["a"], snapshot), bed.read("c", &["a"], snapshot));
    });
}

#[test]
fn a_device_goes_with_its_last_user_and_is_shared_until_then() {
    on_lvm(|bed| {
        bed.layer("a", &[], |root| fs::write(root.join("f"), "x").unwrap());
        bed.write("a", &[], |outer| {
            assert!(testing::is_active(bed.root(), "a"));
            // As `cp` and `diff` look into a container that runs.
            bed.read("a", &[], |inner| {
                assert!(fs::write(inner.join("g"), "x").is_err());
                fs::write(outer.join("g"), "x").unwrap();
                assert_eq!(fs::read(inner.join("g")).unwrap(), b"x");
            });
            let busy = bed.driver.remove(&id("a")).unwrap_err().to_string();
            assert!(busy.contains("device or resource busy") && busy.contains("has it mounted"), "{busy}");
            fs::write(outer.join("h"), "still there").unwrap();
        });
        // The removal is finished by whoever comes next.
        assert_eq!(bed.driver.list().unwrap(), []);
        bed.driver.sweep().unwrap();
        assert!(!bed.root().join("lvm/.removed-a").exists());
        assert!(!testing::is_active(bed.root(), "a"));
    });
}

#[test]
fn a_device_that_a_killed_process_left_suspended_is_resumed() {
    on_lvm(|bed| {
        bed.layer("a", &[], |root| fs::write(root.join("f"), "x").unwrap());
        bed.write("a", &[], |root| {
            testing::suspend(bed.root(), "a");
            bed.driver.sweep().unwrap();
            fill(&root.join("g"), 1 << 20).unwrap();
            testing::suspend(bed.root(), "a");
            bed.layer("b", &["a"], |root| assert!(root.join("g").exists()));
            fill(&root.join("h"), 1 << 20).unwrap();
        });
    });
}

#[test]
fn a_state_can_be_moved_and_a_copy_of_one_in_use_is_refused() {
    on_lvm(|_| {
        let above = scratch();
        let (first, second, copy) = (above.path().join("1"), above.path().join("2"), above.path().join("3"));
        testing::make_small(&first, 160 << 20);
        let driver = (entry().open)(&first).unwrap();
        driver.prepare(&id("a"), &[], &LayerOptions::default()).unwrap();
        let write = |root: &Path| fs::write(root.join("f"), "x").unwrap();
        crate::mount::with_mounted(&driver.mounts(&id("a"), &[], Access::ReadWrite).unwrap(), write).unwrap();
        fs::rename(&first, &second).unwrap();
        let moved = (entry().open)(&second).unwrap();
        let read = |driver: &dyn crate::Driver| {
            let mounts = driver.mounts(&id("a"), &[], Access::ReadOnly)?;
            crate::mount::with_mounted(&mounts, |root| fs::read(root.join("f")).unwrap())
        };
        assert_eq!(read(&*moved).unwrap(), b"x");
        // The pool is still the one that the first driver has.
        assert!(Command::new("cp").arg("-a").args([&second, &copy]).status().unwrap().success());
        let copied = (entry().open)(&copy).unwrap();
        assert!(read(&*copied).unwrap_err().to_string().contains("copy of another state"));
        drop((driver, moved));
        assert_eq!(read(&*(entry().open)(&second).unwrap()).unwrap(), b"x");
    });
}

#[test]
fn without_deferred_removal_and_without_nodes_from_the_kernel_all_is_the_same() {
    on_lvm(|_| {
        let parts = ["layers::what_is", "layers::a_sealed", "removal", "thin::a_pool_that", "thin::a_device_that"];
        for part in parts {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.env("BERTH_PRETEND_WITHOUT", "deferred-remove,devtmpfs");
            super::elsewhere::again(command, &format!("conformance::{part}")).unwrap();
        }
    });
}

#[test]
fn what_is_deleted_goes_back_to_the_pool() {
    on_lvm(|bed| {
        bed.layer("a", &[], |root| fs::write(root.join("f"), "x").unwrap());
        bed.driver.commit(&id("a")).unwrap();
        bed.layer("b", &["a"], |root| fill(&root.join("much"), 32 << 20).unwrap());
        let full = bed.driver.usage(&id("b")).unwrap();
        assert!((32 << 20..64 << 20).contains(&full.bytes) && full.inodes == 1, "{full:?}");
        bed.write("b", &["a"], |root| {
            fs::remove_file(root.join("much")).unwrap();
            assert!(shell(root, "sync"));
        });
        let emptied = bed.driver.usage(&id("b")).unwrap();
        assert!(emptied.bytes < 24 << 20 && emptied.inodes == 0, "{emptied:?}");
    });
}
