//! Storage drivers on the file systems that users have: which is taken, and what is said of those that are not. Each
//! file system is made in a file and mounted in a mount namespace of the test's own.

use serde_json::Value;

use crate::support::{Mode, World, kernel, skip};

/// Of the design; a version that lacks some leaves them out.
const ORDER: [&str; 7] = ["overlay", "btrfs", "zfs", "aufs", "lvm", "fuse", "vfs"];

/// Runs `script` in a mount namespace, where `$1` is a folder to mount on. Answers with what `berth info` over `$1/state`
/// says then, twice: at the first start and at a later one; and runs a container. `None`: a program is missing, or the
/// kernel cannot mount that.
fn on(world: &World, script: &str) -> Option<[Value; 2]> {
    let place = world.at("place");
    std::fs::create_dir_all(&place).unwrap();
    let inner = format!(
        "mount --make-rprivate / && set -- {place} && {{ {script} ; }} >&2 || exit 77; export BERTH_ROOT=$1/state; set -e; \
         berth info --format json; echo; berth run --rm --network none berth/hello >&2; berth info --format json"
    );
    world.set("INNER", &inner);
    let outcome = world.shell("unshare --mount bash -c \"$INNER\"");
    if outcome.code == 77 || outcome.code == 127 {
        skip(&format!("{script}: {}", outcome.err()));
        return None;
    }
    let outcome = outcome.ok();
    assert!(outcome.err().contains("Hello from berth"), "{outcome}");
    let answers: Vec<Value> =
        outcome.out().lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect();
    Some(answers.try_into().unwrap_or_else(|_| panic!("two answers are wanted\n{outcome}")))
}

fn in_a_file(make: &str, options: &str) -> String {
    format!("truncate -s 400M $1.img && {make} $1.img && mount -o loop{options} $1.img $1")
}

/// That `picked` is the driver, both times, and that each one before it in the order was refused with a reason.
fn assert_picked(answers: &[Value; 2], picked: &str) {
    for info in answers {
        assert_eq!(info["Driver"], picked, "{}", info["Berth"]["RefusedStorageDrivers"]);
        let refused = info["Berth"]["RefusedStorageDrivers"].as_array().unwrap();
        let names: Vec<_> = refused.iter().map(|one| one["name"].as_str().unwrap()).collect();
        let before: Vec<_> =
            ORDER.iter().copied().take_while(|name| *name != picked).filter(|name| names.contains(name)).collect();
        assert_eq!(names, before, "only those that come first are passed over, in order");
        assert!(refused.iter().all(|one| !one["reason"].as_str().unwrap().is_empty()), "{refused:?}");
    }
}

fn reason<'a>(info: &'a Value, driver: &str) -> &'a str {
    let refused = info["Berth"]["RefusedStorageDrivers"].as_array().unwrap();
    refused.iter().find(|one| one["name"] == driver).and_then(|one| one["reason"].as_str()).unwrap_or_default()
}

#[test]
fn overlay_is_taken_on_ext4_xfs_btrfs_and_tmpfs() {
    if kernel::lacks("overlay", (3, 18)) {
        return;
    }
    for (kind, script) in [
        ("ext4", in_a_file("mke2fs -qF -t ext4", "")),
        ("ext4", in_a_file("mke2fs -qF -t ext4", ",nosuid,nodev,noexec")),
        ("xfs", in_a_file("mkfs.xfs -q", "")),
        ("btrfs", in_a_file("mkfs.btrfs -q", "")),
        ("tmpfs", "mount -t tmpfs none $1".to_owned()),
    ] {
        let world = World::bare(Mode::Embedded);
        let Some(answers) = on(&world, &script) else { continue };
        assert_picked(&answers, "overlay");
        assert_eq!(answers[0]["DriverStatus"][0][1], kind);
        let features = answers[1]["DriverStatus"][1][1].as_str().unwrap();
        assert!(features.contains("d_type") && features.contains("native diff"), "{features}");
    }
}

#[test]
fn on_an_overlay_another_driver_is_taken_and_the_reason_given() {
    let world = World::bare(Mode::Embedded);
    let script = "mount -t tmpfs none $1 && mkdir $1/l $1/u $1/w && \
                  mount -t overlay -o lowerdir=$1/l,upperdir=$1/u,workdir=$1/w none $1";
    let Some(answers) = on(&world, script) else { return };
    let picked = answers[0]["Driver"].as_str().unwrap();
    assert_ne!(picked, "overlay");
    assert_picked(&answers, picked);
    for info in &answers {
        assert!(reason(info, "overlay").contains("is itself on an overlay file system"), "{info}");
        assert!(reason(info, "aufs").contains("aufs"), "{info}");
    }
    if picked == "vfs" {
        let warnings = answers[0]["Warnings"].to_string();
        assert!(warnings.contains("vfs copies every file"), "{warnings}");
    }
}

#[test]
fn what_cannot_be_written_is_refused_by_name() {
    let world = World::bare(Mode::Embedded);
    let place = world.at("place");
    std::fs::create_dir(&place).unwrap();
    let line = format!(
        "unshare --mount bash -c 'mount --make-rprivate / && mount -t tmpfs -o ro none {place} && \
         berth --root {place}/state info'"
    );
    world.shell(&line).refused(1, &["Read-only file system", &place]);
}

#[test]
fn another_driver_says_what_the_state_keeps_and_how_to_move() {
    let world = World::new(Mode::Embedded);
    world.berth(&["create", "--name", "one", "box", "true"]).ok();
    let made_with = world.berth(&["info", "--format", "{{.Driver}}"]).ok().text();
    let words = [
        &*format!("was made with {made_with}"),
        "1 image (box:latest)",
        "1 container (one)",
        "berth storage migrate --to vfs moves them",
        "leave vfs out",
    ];
    world.berth(&["--storage-driver", "vfs", "run", "--rm", "box", "true"]).refused(125, &words);
    let told = world.berth(&["--storage-driver", "vfs", "info"]).ok();
    assert!(words.iter().all(|word| told.err().contains(word)), "{told}");
    // Nothing of it is lost.
    assert_eq!(world.sh(&[], "echo here"), "here");
    let config = world.at("berth.toml");
    std::fs::write(&config, format!("storage = [\"zfs\", \"{made_with}\"]\n")).unwrap();
    world.berth(&["--config", &config, "run", "--rm", "box", "true"]).ok();
}

/// Layers over layers where the kernel stacks one lower layer only: a container's changes stay its own.
#[test]
fn a_flattened_image_is_not_changed_by_its_containers() {
    let world = World::bare(Mode::Embedded);
    world.set("BERTH_PRETEND_WITHOUT", "overlay-multi-lower");
    world.import_box();
    if world.berth(&["info", "--format", "{{.Driver}}"]).ok().text() != "overlay" {
        return skip("overlay does not work here");
    }
    let layer = |name: &str, from: &str, script: &str| {
        world.run(&["--name", name, from, "sh", "-c", script]).ok();
        world.berth(&["commit", name, name]).ok();
    };
    layer("first", "box", "mkdir /d; echo 1 > /d/file; echo 1 > /d/gone; chmod 640 /d/file");
    layer("second", "first", "rm /d/gone; echo 2 > /d/new");
    for _ in 0..2 {
        let script = "ls /d; cat /d/file; stat -c %a /d/file; echo spoilt > /d/file; chmod 777 /d/file; rm /d/new";
        assert_eq!(world.run(&["--rm", "second", "sh", "-c", script]).ok().lines(), ["file", "new", "1", "640"]);
    }
    assert_eq!(world.run(&["--rm", "first", "ls", "/d"]).ok().lines(), ["file", "gone"]);
    assert_eq!(world.berth(&["diff", "second"]).ok().lines(), ["C /d", "D /d/gone", "A /d/new"]);
}
