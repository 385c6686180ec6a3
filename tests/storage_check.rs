//! `berth storage check`: what has happened to layers behind berth's back is found, and put in order.

use std::path::PathBuf;

use crate::support::{Mode, World, kernel};

/// A world whose state has an image `box`, one of two layers on it, `made`, and a container `one` of the latter.
fn world(driver: &str) -> World {
    let world = World::bare(Mode::Embedded);
    world.feed(&["--storage-driver", driver, "import", "-", "box"], crate::support::image::busybox()).ok();
    world.run(&["--name", "maker", "box", "sh", "-c", "echo made > /made"]).ok();
    world.berth(&["commit", "maker", "made"]).ok();
    world.berth(&["rm", "maker"]).ok();
    world.run(&["--name", "one", "made", "true"]).ok();
    let whole = world.berth(&["storage", "check"]).ok().out();
    assert!(whole.contains("nothing is damaged or left over") && whole.contains(driver), "{whole}");
    world
}

/// The folder of the first layer that has `file`: with vfs, those on it have it too.
fn layer_with(world: &World, driver: &str, file: &str) -> PathBuf {
    let layers = std::fs::read_dir(world.root().join(driver)).unwrap().flatten().map(|entry| entry.path());
    layers.filter(|layer| layer.join("d").join(file).exists()).min().expect("a layer with that file")
}

fn damage(driver: &str, harm: impl Fn(&std::path::Path), says: &str) {
    let world = world(driver);
    harm(&layer_with(&world, driver, "made"));
    let found = world.berth(&["storage", "check"]);
    assert_eq!(found.code, 1, "{found}");
    for part in ["damaged", says, "made:latest", "one"] {
        assert!(found.out().contains(part), "{part}: {found}");
    }
    // A container stands on it, and whatever it holds.
    let found = world.berth(&["storage", "check", "--repair"]);
    assert!(found.code == 1 && found.out().contains("no: in use by one"), "{found}");
    assert!(!world.berth(&["images", "-q", "made"]).ok().out().is_empty());
    world.berth(&["rm", "one"]).ok();
    let found = world.berth(&["storage", "check", "--repair", "--format", "{{.Owner}} {{.Repaired}}"]);
    assert_eq!((found.code, found.out().trim()), (0, "made:latest yes"), "{found}");
    assert!(world.berth(&["images", "-q", "made"]).ok().out().is_empty());
    world.berth(&["storage", "check"]).ok();
    world.run(&["--rm", "box", "true"]).ok();
}

#[test]
fn a_file_that_was_changed_is_found_and_its_image_goes_when_nobody_uses_it() {
    if kernel::lacks("overlay", (3, 18)) {
        return;
    }
    for driver in ["overlay", "vfs"] {
        damage(
            driver,
            |layer| std::fs::write(layer.join("d/made"), "else\n").unwrap(),
            "made: the file is not what it was",
        );
    }
}

#[test]
fn a_layer_that_is_gone_is_found() {
    if kernel::lacks("overlay", (3, 18)) {
        return;
    }
    for driver in ["overlay", "vfs"] {
        damage(driver, |layer| std::fs::remove_dir_all(layer).unwrap(), "");
    }
}

#[test]
fn what_nobody_recorded_is_found_and_removed() {
    if kernel::lacks("overlay", (3, 18)) {
        return;
    }
    let world = world("overlay");
    let stray = world.root().join("overlay/zzz");
    std::fs::create_dir_all(stray.join("d")).unwrap();
    let found = world.berth(&["storage", "check"]);
    assert!(found.code == 1 && found.out().contains("left over"), "{found}");
    assert!(stray.exists());
    world.berth(&["storage", "check", "--repair"]).ok();
    assert!(!stray.exists());
    world.berth(&["storage", "check"]).ok();
    world.berth(&["start", "one"]).ok();
}

#[test]
fn a_daemon_checks_too() {
    let world = World::new(Mode::Daemon);
    let whole = world.berth(&["storage", "check", "--format", "json"]).ok();
    assert_eq!(whole.out().trim(), "");
    world.berth(&["storage", "check", "nonsense"]).refused(1, &["nonsense"]);
}
