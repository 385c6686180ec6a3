//! What is particular to btrfs: subvolumes of a container's own, quotas, what is counted, and changes by generation.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use super::bed::{assert_same, directory, fill, id, ids, is_meant, shell, snapshot};
use super::{Bed, each};
use crate::LayerOptions;
use crate::btrfs::testing;

/// Runs `behaviour` where the driver is btrfs.
fn on_btrfs(behaviour: impl Fn(&Bed) + Sync) {
    each(|bed| {
        if bed.driver.name() == "btrfs" {
            behaviour(bed);
        }
    });
}

/// Subvolumes in subvolumes, a read-only one and a snapshot of the whole among them, and links that lead out.
fn subvolumes(root: &Path) {
    testing::create(root, "sub");
    testing::create(&root.join("sub"), "inner");
    fs::create_dir_all(root.join("sub/inner/a/b")).unwrap();
    testing::create(&root.join("sub/inner/a/b"), "deepest");
    fs::write(root.join("sub/inner/a/b/deepest/file"), "x").unwrap();
    testing::snapshot(root, &root.join("sub"), "copy");
    symlink("/", root.join("sub/out")).unwrap();
    fs::set_permissions(root.join("sub/inner"), std::os::unix::fs::PermissionsExt::from_mode(0o0)).unwrap();
}

#[test]
fn subvolumes_that_a_container_made_go_with_its_layer() {
    on_btrfs(|bed| {
        bed.layer("a", &[], |root| fs::write(root.join("file"), "x").unwrap());
        bed.layer("b", &["a"], subvolumes);
        bed.layer("other", &["a"], |root| testing::create(root, "kept"));
        bed.driver.remove(&id("b")).unwrap();
        assert_eq!(bed.driver.list().unwrap(), ids(&["a", "other"]));
        assert!(directory(bed, "other").unwrap().join("kept").exists());
        assert_eq!(fs::read(directory(bed, "a").unwrap().join("file")).unwrap(), b"x");
        assert_eq!(testing::count(bed.root()), 3, "a, other, kept");
    });
}

/// By the way of those who may not remove subvolumes: file by file.
#[test]
fn without_the_right_to_search_subvolumes_are_emptied_and_removed() {
    if !is_meant("btrfs") {
        return;
    }
    let own =
        ["subvolumes::subvolumes_that_a", "subvolumes::what_a_layer_takes", "subvolumes::a_subvolume_of_a_container"];
    for part in own.iter().chain(&["layers::removed_and", "layers::touched", "layers::a_sealed"]) {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.env("BERTH_PRETEND_WITHOUT", "btrfs-search");
        super::elsewhere::again(command, &format!("conformance::{part}")).unwrap();
    }
}

#[test]
fn a_subvolume_of_a_container_is_a_directory_in_archives() {
    each(|bed| {
        if bed.driver.name() == "overlay" || !testing::is_on_btrfs(bed.root()) {
            return;
        }
        bed.layer("a", &[], |_| {});
        bed.layer("b", &["a"], |root| {
            testing::create(root, "sub");
            fs::write(root.join("sub/file"), "x").unwrap();
        });
        assert_eq!(bed.changes("b", &["a"]), ["A /sub", "A /sub/file"]);
        bed.unpack("c", &["a"], &bed.pack("b", &["a"])).unwrap();
        assert_same(&bed.read("b", &["a"], snapshot), &bed.read("c", &["a"], snapshot));
        let mut whole = Vec::new();
        bed.read("b", &["a"], |root| crate::diff::pack_tree(root, crate::diff::Owners::AsTheyAre, &mut whole)).unwrap();
        assert!(whole.windows(9).any(|name| name == b"sub/file\0"));
    });
}

#[test]
fn what_a_layer_takes_is_what_was_written_to_it() {
    const MIB: u64 = 1 << 20;
    on_btrfs(|bed| {
        bed.layer("a", &[], |root| fill(&root.join("base"), 8 << 20).unwrap());
        bed.layer("b", &["a"], |root| {
            fill(&root.join("own"), 2 << 20).unwrap();
            fs::hard_link(root.join("own"), root.join("again")).unwrap();
            fs::remove_file(root.join("base")).unwrap();
            fs::write(root.join("unsynced"), vec![7; 1 << 20]).unwrap();
        });
        let usage = bed.driver.usage(&id("b")).unwrap();
        assert!((3 * MIB..3 * MIB + 64 * 1024).contains(&usage.bytes), "{usage:?}");
        // Those below do not take more or less for what stands on them.
        let below = bed.driver.usage(&id("a")).unwrap();
        assert!((8 * MIB..8 * MIB + 64 * 1024).contains(&below.bytes), "{below:?}");
        bed.layer("c", &["b", "a"], |_| {});
        assert!(bed.driver.usage(&id("c")).unwrap().bytes < 64 * 1024);
        bed.write("c", &["b", "a"], |root| {
            testing::create(root, "sub");
            fill(&root.join("sub/file"), 1 << 20).unwrap();
        });
        let nested = bed.driver.usage(&id("c")).unwrap();
        assert!((MIB..MIB + 64 * 1024).contains(&nested.bytes), "{nested:?}");
    });
}

#[test]
fn a_limited_layer_takes_no_more_and_its_neighbour_does() {
    on_btrfs(|bed| {
        bed.layer("a", &[], |root| fill(&root.join("base"), 8 << 20).unwrap());
        bed.driver.commit(&id("a")).unwrap();
        let options = LayerOptions { size: Some(4 << 20) };
        bed.driver.prepare(&id("b"), &ids(&["a"]), &options).unwrap();
        bed.layer("c", &["a"], |_| {});
        bed.write("b", &["a"], |root| {
            testing::create(root, "sub");
            fill(&root.join("fits"), 2 << 20).unwrap();
            let error = fill(&root.join("not"), 6 << 20).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EDQUOT), "{error}");
            // Nor by way of a subvolume of its own.
            let error = fill(&root.join("sub/not"), 6 << 20).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EDQUOT), "{error}");
            // Who deletes has room again.
            let _ = fs::remove_file(root.join("sub/not"));
            fs::remove_file(root.join("not")).unwrap();
            fs::remove_file(root.join("fits")).unwrap();
            assert!(shell(root, "btrfs filesystem sync ."));
            fill(&root.join("again"), 2 << 20).unwrap();
        });
        bed.write("c", &["a"], |root| fill(&root.join("much"), 6 << 20).unwrap());
        assert_eq!(bed.driver.status(), [("Quotas", "simple".to_owned())]);
        bed.driver.remove(&id("b")).unwrap();
        assert_eq!(bed.driver.list().unwrap(), ids(&["a", "c"]));
        assert_eq!(testing::groups(bed.root()), 1);
        // Its space is given back behind the scenes; after that the group goes with the next layer.
        let gone = (0..100).any(|_| {
            assert!(shell(bed.root(), "btrfs filesystem sync . && btrfs subvolume sync -s 1 ."));
            bed.driver.remove(&id("c")).unwrap();
            testing::groups(bed.root()) == 0
        });
        assert!(gone);
    });
}

#[test]
fn full_quotas_that_are_on_are_used() {
    on_btrfs(|bed| {
        bed.layer("a", &[], |root| fill(&root.join("base"), 8 << 20).unwrap());
        testing::full_quotas(bed.root());
        bed.driver.prepare(&id("b"), &ids(&["a"]), &LayerOptions { size: Some(4 << 20) }).unwrap();
        bed.write("b", &["a"], |root| {
            fill(&root.join("fits"), 2 << 20).unwrap();
            assert_eq!(fill(&root.join("not"), 6 << 20).unwrap_err().raw_os_error(), Some(libc::EDQUOT));
        });
        assert_eq!(bed.driver.status(), [("Quotas", "full".to_owned())]);
        assert!(bed.driver.usage(&id("b")).unwrap().bytes >= 2 << 20);
        assert_eq!(bed.changes("b", &["a"])[0], "A /fits");
        bed.driver.commit(&id("b")).unwrap();
        bed.driver.remove(&id("b")).unwrap();
    });
}

#[test]
fn what_a_crash_in_the_middle_of_a_sync_left_is_in_nobody_s_way() {
    on_btrfs(|bed| {
        bed.layer("a", &[], |root| fs::write(root.join("file"), "x").unwrap());
        let layer = bed.root().join("btrfs/a");
        testing::snapshot(&layer.join("d"), &layer, "f");
        bed.driver.commit(&id("a")).unwrap();
        assert!(!layer.join("f").exists());
        testing::snapshot(&layer.join("d"), &layer, "f");
        bed.driver.remove(&id("a")).unwrap();
        assert_eq!((bed.driver.list().unwrap(), testing::count(bed.root())), (Vec::new(), 0));
    });
}

#[test]
fn an_inode_with_many_names_is_found_under_all_of_them() {
    on_btrfs(|bed| {
        bed.layer("a", &[], |root| {
            fs::write(root.join("file"), "old").unwrap();
            for n in 0..1500 {
                let directory = root.join(format!("d{}", n % 3)).join("deep");
                fs::create_dir_all(&directory).unwrap();
                fs::hard_link(root.join("file"), directory.join(format!("{n:0>200}"))).unwrap();
            }
        });
        bed.layer("b", &["a"], |root| fs::write(root.join("file"), "newer").unwrap());
        let changes = bed.changes("b", &["a"]);
        assert_eq!(changes.iter().filter(|line| line.starts_with("C ")).count(), 1501 + 6, "{:?}", &changes[..4]);
    });
}

#[test]
fn a_layer_is_made_and_removed_without_its_parents_being_read() {
    on_btrfs(|bed| {
        bed.layer("a", &[], |root| {
            for n in 0..500 {
                fs::write(root.join(format!("f{n}")), "x").unwrap();
            }
        });
        bed.prepare("b", &["a"]).unwrap();
        let of = |name: &str| fs::metadata(directory(bed, name).unwrap().join("f7")).unwrap();
        assert_eq!((of("a").ino(), of("a").mtime_nsec()), (of("b").ino(), of("b").mtime_nsec()));
        assert_ne!(of("a").dev(), of("b").dev());
        let taken = bed.driver.usage(&id("b")).unwrap();
        assert_eq!((taken.bytes, taken.inodes), (0, 0));
    });
}

#[test]
fn names_of_subvolumes_are_one_component() {
    on_btrfs(|bed| {
        let folder = berth_arch::root_dir::RootDir::open(bed.root()).unwrap();
        for name in ["", "a/b", "../x"] {
            let refused = crate::btrfs::subvolume::destroy(std::os::fd::AsFd::as_fd(&folder), OsStr::new(name));
            assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EINVAL), "{name}");
        }
    });
}
