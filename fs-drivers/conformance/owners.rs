//! Layers as a container with users of its own sees them: by mounts that map owners, and by a layer that gives all to them.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use berth_arch::{FsOwner, IdMap};

use super::bed::{Bed, id, ids, shell};
use super::each;
use super::files::run;
use crate::diff::{Owners, pack_tree};
use crate::mount::with_mounted;
use crate::{Access, owners};

const BASE: &str =
    "chown 0:0 .; mkdir d; echo 1 >d/f; chown 5:6 d/f; chmod 6711 d/f; ln d/f d/g; ln -s f d/l; chown -h 7:7 d/l;
    echo 2 >c; setcap cap_net_raw+ep c; setfacl -m u:12:rw,g:34:r c; chmod 1777 d";

fn map() -> IdMap {
    "u:0:100000:1000 g:0:200000:1000".parse().unwrap()
}

fn owner(path: &Path) -> (u32, u32) {
    let found = fs::symlink_metadata(path).unwrap();
    (found.uid(), found.gid())
}

/// What `BASE` has made, as the host sees it.
fn assert_given(root: &Path) {
    for (name, expected) in [
        (".", (100_000, 200_000)),
        ("d", (100_000, 200_000)),
        ("d/f", (100_005, 200_006)),
        ("d/g", (100_005, 200_006)),
        ("d/l", (100_007, 200_007)),
    ] {
        assert_eq!(owner(&root.join(name)), expected, "{name}");
    }
    assert_eq!(fs::metadata(root.join("d/f")).unwrap().mode() & 0o7777, 0o6711);
    assert_eq!(fs::metadata(root.join("d")).unwrap().mode() & 0o7777, 0o1777);
    shell(root, "getfacl -cn c | grep -q ^user:100012:rw- && getfacl -cn c | grep -q ^group:200034:r--");
    shell(root, "getcap c | grep -q cap_net_raw");
}

fn archive(root: &Path, owners: Owners<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    pack_tree(root, owners, &mut bytes).unwrap();
    bytes
}

/// Who is mapped writes, and nobody else.
fn write(root: &Path) {
    let user = FsOwner::new(100_001, 200_001).unwrap();
    fs::write(root.join("d/new"), "x").unwrap();
    drop(user);
    assert_eq!(owner(&root.join("d/new")), (100_001, 200_001));
}

#[test]
fn a_mount_that_maps_owners_shows_them_and_the_disk_keeps_its_own() {
    each(|bed| {
        if let Err(error) = owners::try_map(&*bed.driver, &map()) {
            eprintln!("skipped: {error}");
            return;
        }
        assert!(bed.driver.list().unwrap().is_empty());
        bed.layer("a", &[], |root| run(root, BASE));
        bed.prepare("b", &["a"]).unwrap();
        let mut mounts = bed.driver.mounts(&id("b"), &ids(&["a"]), Access::ReadWrite).unwrap();
        owners::map(&mut mounts, &map());
        let seen = with_mounted(&mounts, |root| {
            assert_given(root);
            write(root);
            fs::set_permissions(root.join("d/f"), fs::Permissions::from_mode(0o600)).unwrap();
            fs::remove_file(root.join("c")).unwrap();
            // Not root of the host, which is nobody there.
            assert!(fs::write(root.join("d/root"), "x").is_err());
            archive(root, Owners::Inside(&map()))
        });
        let seen = seen.unwrap();
        bed.read("b", &["a"], |root| {
            assert_eq!((owner(&root.join("d/new")), owner(&root.join("d/f"))), ((1, 1), (5, 6)));
            assert!(archive(root, Owners::AsTheyAre) == seen);
        });
        let mut changes = bed.changes("b", &["a"]);
        changes.sort();
        assert_eq!(&changes[..2], ["A /d/new", "C /d"]);
    });
}

#[test]
fn a_layer_that_gives_all_to_a_containers_users_is_the_same_by_their_numbers() {
    each(|bed| {
        bed.layer("a", &[], |root| run(root, BASE));
        bed.prepare("b", &["a"]).unwrap();
        owners::give(&*bed.driver, &id("b"), &ids(&["a"]), &map()).unwrap();
        bed.prepare("c", &["b", "a"]).unwrap();
        let inside = bed.write("c", &["b", "a"], |root| {
            assert_given(root);
            let inside = archive(root, Owners::Inside(&map()));
            write(root);
            inside
        });
        let before = bed.read("a", &[], |root| {
            assert_eq!(owner(&root.join("d/f")), (5, 6));
            archive(root, Owners::AsTheyAre)
        });
        if !breaks_links(bed) {
            assert!(inside == before);
        }
        assert_eq!(bed.changes("c", &["b", "a"]), ["C /d", "A /d/new"]);
    });
}

/// Drivers that copy files up make several of one with several names.
fn breaks_links(bed: &Bed) -> bool {
    bed.driver.whiteouts() != crate::Whiteouts::Apply
}

#[test]
fn what_belongs_to_nobody_inside_is_not_given() {
    each(|bed| {
        bed.layer("a", &[], |root| run(root, "touch f; chown 5000:0 f"));
        bed.prepare("b", &["a"]).unwrap();
        let error = owners::give(&*bed.driver, &id("b"), &ids(&["a"]), &map()).unwrap_err().to_string();
        assert!(error.contains("f: its owner 5000:0") && error.contains("u:0:100000:1000"), "{error}");
    });
}
