use std::fs;

use crate::support::user::{FIRST, Given, NUMBER};
use crate::support::{Mode, World, kernel};

/// A bundle of busybox, made by the user with `berth oci spec --rootless`, whose program is `script`.
fn bundle(world: &World, script: &str) {
    let make = "mkdir -p bundle/rootfs/bin && cp $(command -v busybox) bundle/rootfs/bin/ \
                && for name in sh id cat sleep touch; do ln -sf busybox bundle/rootfs/bin/$name; done";
    world.shell(make).ok();
    let spec = world.path("bundle/config.json");
    let _ = fs::remove_file(&spec);
    world.berth(&["oci", "spec", "--rootless", "--bundle", &world.at("bundle")]).ok();
    change(world, |spec| {
        spec["process"]["args"] = serde_json::json!(["sh", "-c", script]);
        spec["process"]["terminal"] = false.into();
        spec["root"]["readonly"] = false.into();
    });
}

fn change(world: &World, change: impl FnOnce(&mut serde_json::Value)) {
    let path = world.path("bundle/config.json");
    let mut spec = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut spec);
    fs::write(path, serde_json::to_vec(&spec).unwrap()).unwrap();
}

fn oci(world: &World, arguments: &[&str]) -> crate::support::Outcome {
    world.with(&[("XDG_RUNTIME_DIR", &world.at("home"))], &[&["oci"], arguments].concat())
}

#[test]
fn an_ordinary_users_bundle_runs() {
    if kernel::lacks("file that keeps groups from being set, which the kernel beneath asks for", (3, 19)) {
        return;
    }
    let Some(world) = World::of_user(Mode::Embedded, Given::NoRanges) else { return };
    bundle(&world, "id -u; cat /proc/self/uid_map; touch /made; exit 5");
    let at = world.at("bundle");
    let ran = oci(&world, &["run", "--bundle", &at, "one"]).ended(5);
    let words: Vec<String> = ran.out().split_whitespace().map(str::to_owned).collect();
    assert_eq!(words, ["0", "0", &NUMBER.to_string(), "1"]);
    assert!(world.path("bundle/rootfs/made").exists());

    bundle(&world, "exec sleep 1000");
    let create =
        format!("XDG_RUNTIME_DIR={} berth oci create --bundle {at} two < /dev/null > /dev/null 2>&1", world.at("home"));
    world.shell(&create).ok();
    oci(&world, &["start", "two"]).ok();
    let state = oci(&world, &["state", "two"]).ok().json();
    assert_eq!(state["status"], "running");
    assert_eq!(oci(&world, &["exec", "two", "id", "-u"]).ok().text(), "0");
    oci(&world, &["kill", "two", "KILL"]).ok();
    crate::support::eventually("it has ended", std::time::Duration::from_secs(10), || {
        oci(&world, &["state", "two"]).ok().json()["status"] == "stopped"
    });
    oci(&world, &["delete", "two"]).ok();
    assert_eq!(oci(&world, &["list", "-q"]).ok().text(), "");
}

#[test]
fn more_users_are_mapped_by_newuidmap_alone() {
    let Some(world) = World::of_user(Mode::Embedded, Given::Ranges) else { return };
    bundle(&world, "touch /made; busybox chown 7:8 /made; busybox stat -c %u:%g /made");
    let at = world.at("bundle");
    let map = |first: u32| {
        change(&world, |spec| {
            let right = serde_json::json!(["CAP_CHOWN"]);
            spec["process"]["capabilities"] =
                serde_json::json!({ "bounding": right, "effective": right, "permitted": right });
            for list in ["uidMappings", "gidMappings"] {
                spec["linux"][list] = serde_json::json!([
                    { "containerID": 0, "hostID": NUMBER, "size": 1 },
                    { "containerID": 1, "hostID": first, "size": 1000 }
                ]);
            }
        });
    };
    map(FIRST);
    assert_eq!(oci(&world, &["run", "--bundle", &at, "one"]).ok().text(), "7:8");
    // Somebody else's numbers.
    map(5);
    oci(&world, &["run", "--bundle", &at, "two"]).refused(1, &["newgidmap", "/etc/subuid"]);
    assert_eq!(oci(&world, &["list", "-q"]).ok().text(), "");
}

#[test]
fn a_bundle_without_a_user_namespace_is_refused_with_the_remedy() {
    let Some(world) = World::of_user(Mode::Embedded, Given::Ranges) else { return };
    bundle(&world, "true");
    change(&world, |spec| {
        spec["linux"]["namespaces"].as_array_mut().unwrap().retain(|one| one["type"] != "user");
    });
    oci(&world, &["run", "--bundle", &world.at("bundle"), "one"])
        .refused(1, &["no user namespace", "berth oci spec --rootless"]);
    assert_eq!(oci(&world, &["list", "-q"]).ok().text(), "");
}
