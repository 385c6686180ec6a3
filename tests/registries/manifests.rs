//! `berth manifest`: lists put together, changed, shown and pushed.

use crate::support::registry::{Kind, Registry, other};
use crate::support::{Mode, World, find_program};

#[test]
fn a_list_is_made_annotated_pushed_and_read_by_others() {
    let world = World::new(Mode::Embedded);
    let Some(registry) = Registry::start(&world, Kind::Plain) else { return };
    let (one, two, list) = (registry.name("a:1"), registry.name("b:1"), registry.name("list:1"));
    for name in [&one, &two] {
        world.berth(&["tag", "box", name]).ok();
        world.berth(&["push", "-q", name]).ok();
    }
    let manifest = |arguments: &[&str]| world.berth(&[&["manifest"], arguments].concat());
    manifest(&["create", &list, &registry.name("none")]).refused(1, &["not found"]);
    assert!(!world.path("home/.docker/manifests").exists(), "a list that failed leaves nothing");
    assert_eq!(manifest(&["create", &list, &one]).ok().text(), format!("Created manifest list {list}"));
    manifest(&["create", &list, &two]).refused(1, &["--amend"]);
    manifest(&["create", "--amend", &list, &two]).ok();
    manifest(&["annotate", &list, &two, "--arch", "arm", "--variant", "v6"]).ok();
    manifest(&["annotate", &list, &two, "--arch", "pdp11"])
        .refused(1, &["unsupported os/arch combination: linux/pdp11"]);
    manifest(&["annotate", &list, &registry.name("c")]).refused(1, &["does not exist in"]);
    let shown = manifest(&["inspect", &list]).ok().json();
    let platforms: Vec<_> =
        shown["manifests"].as_array().unwrap().iter().map(|entry| entry["platform"].to_string()).collect();
    assert!(platforms.len() == 2 && platforms[1].contains("\"v6\""), "{platforms:?}");
    assert!(manifest(&["inspect", "-v", &list, &one]).ok().json()["SchemaV2Manifest"]["layers"].is_array());
    let pushed = manifest(&["push", "--purge", &list]).ok().lines();
    let digest = pushed.last().unwrap().clone();
    manifest(&["push", &list]).refused(1, &["not found"]);
    manifest(&["rm", &list]).refused(1, &["No such manifest"]);
    // From the registry now.
    assert_eq!(manifest(&["inspect", &list]).ok().json(), shown);
    world.berth(&["pull", &list]).ok();
    assert!(world.inspect(&list, "{{.RepoDigests}}").contains(&digest));
    if find_program("skopeo").is_some() {
        let raw =
            other(&world, "skopeo", &["inspect", "--raw", "--tls-verify=false", &format!("docker://{list}")]).ok();
        assert_eq!(raw.json(), shown);
    }
    let elsewhere = "elsewhere.example/list:1";
    manifest(&["create", elsewhere, &one]).ok();
    manifest(&["push", elsewhere]).refused(1, &["different registry"]);
    manifest(&["rm", elsewhere]).ok();
}
