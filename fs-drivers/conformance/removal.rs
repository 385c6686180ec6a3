//! Layers that go, whole or after an interruption.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::bed::{directory, id, ids, shell};
use super::each;
use crate::mount::in_private_namespace;
use crate::{Access, registry};

#[test]
fn removing_is_idempotent_and_leaves_nothing() {
    each(|bed| {
        bed.layer("a", &[], super::layers::everything);
        bed.driver.remove(&id("a")).unwrap();
        bed.driver.remove(&id("a")).unwrap();
        bed.driver.remove(&id("never-was")).unwrap();
        assert_eq!(bed.driver.list().unwrap(), []);
        bed.prepare("a", &[]).unwrap();
        assert_eq!(bed.read("a", &[], |root| fs::read_dir(root).unwrap().count()), 0);
    });
}

#[test]
fn what_an_interrupted_removal_left_is_swept() {
    each(|bed| {
        bed.layer("a", &[], |root| fs::write(root.join("f"), "x").unwrap());
        bed.layer("b", &[], |root| fs::write(root.join("f"), "x").unwrap());
        let folder = bed.root().join(bed.driver.name());
        fs::rename(folder.join("a"), folder.join(".removed-a")).unwrap();
        assert_eq!(bed.driver.list().unwrap(), ids(&["b"]));
        bed.driver.sweep().unwrap();
        assert!(!folder.join(".removed-a").exists());
        assert_eq!(bed.read("b", &[], |root| fs::read(root.join("f")).unwrap()), b"x");
        // The same name again, before anyone swept.
        fs::create_dir_all(folder.join(".removed-b/d/x")).unwrap();
        bed.driver.remove(&id("b")).unwrap();
        assert_eq!((bed.driver.list().unwrap().len(), folder.join(".removed-b").exists()), (0, false));
    });
}

#[test]
fn a_half_made_layer_is_listed_and_removed() {
    each(|bed| {
        fs::create_dir(bed.root().join(bed.driver.name()).join("half")).unwrap();
        assert_eq!(bed.driver.list().unwrap(), ids(&["half"]));
        assert!(bed.driver.directory(&id("half")).is_err());
        bed.driver.remove(&id("half")).unwrap();
        assert_eq!(bed.driver.list().unwrap(), []);
    });
}

#[test]
fn trees_of_any_depth_and_permission_are_removed() {
    each(|bed| {
        bed.prepare("a", &[]).unwrap();
        bed.contents("a", &[], |layer| {
            let script = "import os\nfor i in range(3000):\n os.mkdir('d'); os.chdir('d')\nopen('f','w')";
            shell(layer, &format!("python3 - <<'E'\n{script}\nE"));
            fs::create_dir(layer.join("none")).unwrap();
            fs::write(layer.join("none/f"), "x").unwrap();
            fs::set_permissions(layer.join("none"), fs::Permissions::from_mode(0o0)).unwrap();
            shell(layer, "mkdir fixed; echo x >fixed/f; chattr +i fixed/f fixed 2>/dev/null || true");
        });
        bed.driver.usage(&id("a")).unwrap();
        bed.driver.remove(&id("a")).unwrap();
        assert_eq!(bed.driver.list().unwrap(), []);
        assert!(!bed.root().join(bed.driver.name()).join(".removed-a").exists());
    });
}

#[test]
fn what_is_mounted_inside_a_layer_is_not_deleted() {
    each(|bed| {
        for (source, name) in [("tmpfs", "a"), ("bind", "b")] {
            bed.layer(name, &[], |root| fs::create_dir(root.join("m")).unwrap());
            bed.layer("precious", &[], |root| fs::write(root.join("f"), "x").unwrap());
            let Some((layer, precious)) = directory(bed, name).zip(directory(bed, "precious")) else { return };
            let inner = layer.join("m");
            let removed = in_private_namespace(|| {
                berth_arch::mount::make_rprivate("/").unwrap();
                match source {
                    "bind" => rustix::mount::mount_bind(&precious, &inner).unwrap(),
                    _ => rustix::mount::mount("tmpfs", &inner, "tmpfs", rustix::mount::MountFlags::empty(), None)
                        .unwrap(),
                }
                fs::write(inner.join("g"), "x").unwrap();
                bed.driver.remove(&id(name))
            });
            // A subvolume goes at once, and the kernel takes off what is mounted in it.
            match removed.unwrap() {
                Ok(()) => assert_eq!(bed.driver.name(), "btrfs"),
                Err(error) => assert!(error.to_string().contains("busy"), "{error}"),
            }
            assert!(source != "bind" || precious.join("g").exists());
            assert_eq!(fs::read(precious.join("f")).unwrap(), b"x");
            bed.driver.sweep().unwrap();
            bed.driver.remove(&id("precious")).unwrap();
            assert_eq!(bed.driver.list().unwrap(), []);
        }
    });
}

#[test]
fn a_state_keeps_its_driver_and_refusals_say_why() {
    let folder = super::bed::scratch();
    let chosen = registry::select(folder.path(), None, None).unwrap();
    assert_eq!(chosen.refused.len(), registry::DRIVERS.iter().position(|entry| entry.name == chosen.name).unwrap());
    assert_eq!(registry::select(folder.path(), None, Some("vfs")).unwrap().name, "vfs");
    let vfs = registry::select(folder.path(), Some("vfs"), None).unwrap();
    assert_eq!((vfs.name, vfs.caution), ("vfs", None));
    let error = registry::select(folder.path(), Some("zfs9"), None).err().unwrap().to_string();
    let known: Vec<_> = registry::DRIVERS.iter().map(|entry| entry.name).collect();
    assert_eq!(error, format!("invalid storage driver \"zfs9\": the known ones are {}", known.join(", ")));
    let mounts = chosen.driver.mounts(&id("x"), &ids(&["y"]), Access::ReadWrite).unwrap();
    assert_eq!(mounts[0].target, std::path::Path::new("/"));
    assert_eq!(known, registry::ORDER.iter().copied().filter(|name| known.contains(name)).collect::<Vec<_>>());
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| known.iter().any(|known| name == known)), "{names:?}");
}

#[test]
fn a_driver_whose_layers_have_gone_elsewhere_leaves_nothing() {
    each(|bed| {
        bed.layer("1", &[], |root| fs::write(root.join("f"), "x").unwrap());
        bed.driver.commit(&id("1")).unwrap();
        bed.layer("a", &["1"], |root| fs::write(root.join("g"), "x").unwrap());
        bed.driver.commit(&id("a")).unwrap();
        bed.layer("10", &["a", "1"], |root| fs::create_dir(root.join("d")).unwrap());
        let folder = bed.root().join(bed.driver.name());
        for _ in 0..2 {
            registry::retire(bed.root(), bed.driver.name()).unwrap();
            assert!(!folder.exists());
        }
    });
}
