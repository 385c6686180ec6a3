//! What is particular to ZFS: whose datasets are whose, quotas, what is counted, snapshots, and who is in the way.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::bed::{fill, id, ids};
use super::{Bed, each};
use crate::mount::in_private_namespace;
use crate::{Driver, Error, LayerOptions, registry};

const MIB: u64 = 1 << 20;

/// Runs `behaviour` where the driver is zfs.
fn on_zfs(behaviour: impl Fn(&Bed) + Sync) {
    each(|bed| {
        if bed.driver.name() == "zfs" {
            behaviour(bed);
        }
    });
}

fn open(root: &Path) -> crate::Result<Box<dyn Driver>> {
    (registry::DRIVERS.iter().find(|entry| entry.name == "zfs").unwrap().open)(root)
}

fn zfs(arguments: &[&str]) -> String {
    let output = Command::new("zfs").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The dataset that the layers are in.
fn base(bed: &Bed) -> String {
    let parent = bed.driver.status().into_iter().find(|(name, _)| *name == "Parent Dataset").unwrap().1;
    let written = fs::read_to_string(bed.root().join("zfs/.dataset")).unwrap();
    format!("{parent}/{}", written.split(' ').next().unwrap())
}

#[test]
fn what_a_layer_takes_is_what_was_written_to_it() {
    on_zfs(|bed| {
        let takes = |name: &str| bed.driver.usage(&id(name)).unwrap().bytes;
        bed.layer("a", &[], |root| fill(&root.join("base"), 8 << 20).unwrap());
        bed.driver.commit(&id("a")).unwrap();
        bed.layer("b", &["a"], |root| {
            fill(&root.join("own"), 2 << 20).unwrap();
            fs::hard_link(root.join("own"), root.join("again")).unwrap();
            fs::remove_file(root.join("base")).unwrap();
            fs::write(root.join("unsynced"), vec![7; 1 << 20]).unwrap();
        });
        assert!((3 * MIB..3 * MIB + MIB / 2).contains(&takes("b")), "{}", takes("b"));
        assert_eq!(bed.driver.usage(&id("b")).unwrap().inodes, 1, "two more, one less");
        // What stands on a layer, and what it holds on to, is the layer's own.
        bed.driver.commit(&id("b")).unwrap();
        bed.layer("c", &["b", "a"], |root| fs::remove_file(root.join("own")).unwrap());
        assert!((3 * MIB..3 * MIB + MIB / 2).contains(&takes("b")), "{}", takes("b"));
        assert!((8 * MIB..8 * MIB + MIB / 2).contains(&takes("a")), "{}", takes("a"));
        assert!(takes("c") < MIB / 4, "{}", takes("c"));
    });
}

#[test]
fn a_limited_layer_takes_no_more_and_its_neighbour_does() {
    on_zfs(|bed| {
        bed.layer("a", &[], |root| fill(&root.join("base"), 8 << 20).unwrap());
        bed.driver.commit(&id("a")).unwrap();
        bed.driver.prepare(&id("b"), &ids(&["a"]), &LayerOptions { size: Some(4 << 20) }).unwrap();
        bed.layer("c", &["a"], |_| {});
        bed.write("b", &["a"], |root| {
            fill(&root.join("fits"), 2 << 20).unwrap();
            let error = fill(&root.join("not"), 16 << 20).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EDQUOT), "{error}");
            // Who deletes has room again, once that is on the disk.
            fs::remove_file(root.join("not")).unwrap();
            fs::remove_file(root.join("fits")).unwrap();
            let pool = base(bed).split('/').next().unwrap().to_owned();
            let again = (0..100).any(|_| {
                assert!(Command::new("zpool").args(["sync", &pool]).status().unwrap().success());
                fill(&root.join("again"), 2 << 20).is_ok()
            });
            assert!(again);
            let _ = fill(&root.join("full"), 16 << 20);
        });
        bed.write("c", &["a"], |root| fill(&root.join("much"), 16 << 20).unwrap());
        bed.driver.commit(&id("b")).unwrap();
        bed.driver.remove(&id("b")).unwrap();
        assert_eq!(bed.driver.list().unwrap(), ids(&["a", "c"]));
    });
}

#[test]
fn a_layer_that_is_sealed_again_hands_down_what_it_has_then() {
    on_zfs(|bed| {
        bed.layer("a", &[], |root| fs::write(root.join("old"), "x").unwrap());
        bed.driver.commit(&id("a")).unwrap();
        bed.layer("b", &["a"], |_| {});
        bed.write("a", &[], |root| fs::write(root.join("new"), "x").unwrap());
        bed.layer("before", &["a"], |root| assert!(!root.join("new").exists()));
        bed.driver.commit(&id("a")).unwrap();
        bed.layer("c", &["a"], |root| assert!(root.join("old").exists() && root.join("new").exists()));
        bed.read("b", &["a"], |root| assert!(!root.join("new").exists()));
        for name in ["before", "b", "c"] {
            bed.driver.remove(&id(name)).unwrap();
        }
        // Those that nobody is a clone of any more are gone.
        let left = zfs(&["list", "-H", "-r", "-t", "snapshot", "-o", "name", &base(bed)]);
        assert_eq!(left.trim_end(), format!("{}/a@sealed", base(bed)));
    });
}

#[test]
fn a_layer_that_others_stand_on_is_not_removed() {
    on_zfs(|bed| {
        bed.layer("a", &[], |root| fs::write(root.join("f"), "x").unwrap());
        bed.driver.commit(&id("a")).unwrap();
        bed.layer("b", &["a"], |_| {});
        let error = bed.driver.remove(&id("a")).unwrap_err().to_string();
        assert!(error.contains("dependent clones"), "{error}");
        assert_eq!(bed.driver.list().unwrap(), ids(&["a", "b"]));
        assert!(bed.read("a", &[], |root| root.join("f").exists()));
    });
}

/// A rollback of the dataset that the state is on leaves such.
#[test]
fn a_dataset_without_a_folder_is_found_and_destroyed_when_that_is_asked_for_alone() {
    on_zfs(|bed| {
        bed.layer("a", &[], |root| fs::write(root.join("f"), "x").unwrap());
        fs::remove_dir_all(bed.root().join("zfs/a")).unwrap();
        assert_eq!(bed.driver.list().unwrap(), ids(&["a"]));
        assert!(matches!(bed.prepare("a", &[]), Err(Error::Conflict(_))));
        assert_eq!(bed.driver.list().unwrap(), ids(&["a"]));
        assert!(bed.driver.directory(&id("a")).is_err());
        bed.driver.remove(&id("a")).unwrap();
        bed.prepare("a", &[]).unwrap();
        assert_eq!(bed.read("a", &[], |root| fs::read_dir(root).unwrap().count()), 0);
    });
}

#[test]
fn states_on_one_dataset_do_not_meet_and_a_copy_takes_nothing() {
    on_zfs(|bed| {
        bed.layer("a", &[], |root| fs::write(root.join("f"), "first").unwrap());
        let other = bed.root().join("other");
        let driver = open(&other).unwrap();
        assert_eq!(driver.list().unwrap(), []);
        driver.prepare(&id("a"), &[], &LayerOptions::default()).unwrap();
        driver.remove(&id("a")).unwrap();
        assert_eq!(bed.read("a", &[], |root| fs::read(root.join("f")).unwrap()), b"first");

        // What is renamed keeps its layers.
        let renamed = bed.root().join("renamed");
        fs::create_dir(&renamed).unwrap();
        fs::rename(bed.root().join("zfs"), renamed.join("zfs")).unwrap();
        assert_eq!(open(&renamed).unwrap().list().unwrap(), ids(&["a"]));
        fs::create_dir_all(bed.root().join("zfs")).unwrap();
        fs::copy(renamed.join("zfs/.dataset"), bed.root().join("zfs/.dataset")).unwrap();
        let error = open(bed.root()).err().unwrap().to_string();
        assert!(error.contains("is a copy"), "{error}");
        fs::rename(renamed.join("zfs/.dataset"), renamed.join("aside")).unwrap();
        let error = open(&renamed).err().unwrap().to_string();
        assert!(error.contains(".dataset is missing, and there are layers"), "{error}");
        fs::rename(renamed.join("aside"), renamed.join("zfs/.dataset")).unwrap();
        assert_eq!(open(&renamed).unwrap().list().unwrap(), ids(&["a"]));
        fs::write(bed.root().join("zfs/.dataset"), "../../tank 7\n").unwrap();
        assert!(open(bed.root()).err().unwrap().to_string().contains("is not the name of a dataset"));
    });
}

/// Guards against a base dataset that takes from its parent what images cannot live with.
#[test]
fn properties_of_the_parent_that_would_change_files_are_not_handed_down() {
    on_zfs(|bed| {
        bed.prepare("a", &[]).unwrap();
        let layer = format!("{}/a", base(bed));
        let names = "casesensitivity,normalization,utf8only,acltype,xattr,readonly,mountpoint";
        let values = zfs(&["get", "-H", "-o", "value", names, &layer]);
        assert_eq!(values.lines().collect::<Vec<_>>(), ["sensitive", "none", "off", "posix", "sa", "off", "legacy"]);
        let owner = zfs(&["get", "-H", "-o", "value", "berth:folder", &layer]);
        assert_eq!(Path::new(owner.trim_end()), bed.root().join("zfs"));
    });
}

#[test]
fn a_layer_that_is_mounted_elsewhere_stays_whole_and_its_holder_is_named() {
    on_zfs(|bed| {
        bed.layer("a", &[], |root| fs::write(root.join("f"), "x").unwrap());
        let script = "mount -t zfs \"$0\" \"$1\" && echo up && read answer";
        let place = bed.root().join("place");
        fs::create_dir(&place).unwrap();
        let mut holder = Command::new("unshare")
            .args(["--mount", "sh", "-c", script, &format!("{}/a", base(bed))])
            .arg(&place)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "up\n");
        let error = bed.driver.remove(&id("a")).unwrap_err().to_string();
        assert!(error.contains(&format!("busy; process {} (sh) has it mounted", holder.id())), "{error}");
        assert_eq!(bed.driver.list().unwrap(), ids(&["a"]));
        drop(holder.stdin.take());
        holder.wait().unwrap();
        bed.driver.remove(&id("a")).unwrap();
        assert_eq!(bed.driver.list().unwrap(), []);
    });
}

#[test]
fn a_dataset_that_is_mounted_where_layers_go_is_taken_whatever_the_state_is_on() {
    on_zfs(|bed| {
        let own = format!("{}/own", base(bed).rsplit_once('/').unwrap().0);
        zfs(&["create", "-o", "mountpoint=legacy", &own]);
        let state = tempfile::tempdir_in("/dev/shm").unwrap();
        let place = state.path().join("zfs");
        fs::create_dir(&place).unwrap();
        in_private_namespace(|| {
            berth_arch::mount::make_rprivate("/").unwrap();
            let entry = registry::DRIVERS.iter().find(|entry| entry.name == "zfs").unwrap();
            assert!((entry.probe)(state.path()).reason().unwrap().contains("is not on ZFS"));
            rustix::mount::mount(&own, &place, "zfs", rustix::mount::MountFlags::empty(), None).unwrap();
            assert_eq!((entry.probe)(state.path()).reason(), None);
            let driver = (entry.open)(state.path()).unwrap();
            driver.prepare(&id("a"), &[], &LayerOptions::default()).unwrap();
            assert_eq!(driver.list().unwrap(), ids(&["a"]));
            assert!(driver.status().contains(&("Parent Dataset", own.clone())), "{:?}", driver.status());
        })
        .unwrap();
        let destroy = || Command::new("zfs").args(["destroy", "-r", &own]).status().unwrap().success();
        // The mount of a thread that has ended is taken off a little later.
        let gone = (0..100).any(|_| {
            let destroyed = destroy();
            if !destroyed {
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            destroyed
        });
        assert!(gone, "{own} is still in use");
    });
}

#[test]
fn what_docker_shows_of_the_pool_is_shown() {
    on_zfs(|bed| {
        let status = bed.driver.status();
        let value = |wanted: &str| status.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_str());
        assert_eq!(value("Zpool"), value("Parent Dataset"));
        assert_eq!((value("Zpool Health"), value("Parent Quota")), (Some("ONLINE"), Some("no")));
        assert_eq!(value("Compression"), Some("off"));
        for name in ["Space Used By Parent", "Space Available"] {
            assert!(value(name).unwrap().parse::<u64>().unwrap() > 0, "{name}");
        }
    });
}
