//! Where the numbers come from.

use std::fs;

use super::{FIRST, configure, remapped, tables};
use crate::support::{Mode, World, skip};

const MAP: &str = "cat /proc/self/uid_map /proc/self/gid_map | xargs -n 3";

#[test]
fn the_default_makes_its_ranges_where_nobody_has_any() {
    let world = World::new(Mode::Embedded);
    tables(&world, "ann:100000:65536\nbob:165536:10", "# none\nann:100000:65536\n");
    assert_eq!(world.sh(&["--userns", "remap"], MAP), "0 165546 65536\n0 165546 65536");
    let added = "berth:165546:65536\n";
    assert_eq!(fs::read_to_string(world.path("subuid")).unwrap(), format!("ann:100000:65536\nbob:165536:10\n{added}"));
    assert_eq!(fs::read_to_string(world.path("subgid")).unwrap(), format!("# none\nann:100000:65536\n{added}"));
    assert_eq!(world.sh(&["--userns", "remap"], "id -u"), "0");
    assert_eq!(fs::read_to_string(world.path("subuid")).unwrap().matches("berth").count(), 1);
}

#[test]
fn a_users_ranges_follow_each_other_inside() {
    let world = World::new(Mode::Embedded);
    tables(&world, "1:500000:1000\ndaemon:600000:2000\n", "daemon:700000:3000\n");
    for whose in ["daemon", "1", "daemon:daemon", "1:1"] {
        configure(&world, &format!("userns-remap = '{whose}'\n"));
        assert_eq!(world.sh(&[], MAP), "0 500000 1000\n1000 600000 2000\n0 700000 3000", "{whose}");
    }
    assert_eq!(world.sh(&["-u", "1500"], "touch /tmp/x && stat -c %u /tmp/x"), "1500");
    configure(&world, "userns-remap = 'nobody-here'\n");
    world.run(&["--rm", "box", "true"]).refused(125, &["/etc/subuid has no range of nobody-here"]);
    configure(&world, "userns-remap = ''\n");
    assert!(world.sh(&[], MAP).contains("4294967295"));
}

#[test]
fn a_container_that_asks_has_numbers_that_no_other_has() {
    let world = World::new(Mode::Embedded);
    tables(&world, "berth-auto:800000:3000\n", "berth-auto:800000:3000\n");
    let sleep = |size: &str| world.start(&["--userns", size], "sleep 1000");
    let first = |id: &str| world.berth(&["exec", id, "sh", "-c", MAP]).ok().text();
    let probe = world.run(&["--rm", "--userns", "auto:size=1000", "box", "true"]);
    if probe.code != 0 {
        // Without mounts that map owners.
        probe.refused(125, &["--userns auto", "cannot map the owners", "--userns remap"]);
        return skip("no mounts map owners here");
    }
    let (one, two) = (sleep("auto:size=1000"), sleep("auto:size=1000"));
    assert_eq!(first(&one), "0 800000 1000\n0 800000 1000");
    assert_eq!(first(&two), "0 801000 1000\n0 801000 1000");
    world.run(&["--rm", "--userns", "auto", "box", "true"]).refused(125, &["--userns auto: no 65536 numbers"]);
    world.berth(&["rm", "-f", &one]).ok();
    assert_eq!(first(&sleep("auto:size=500")), "0 800000 500\n0 800000 500");
    world.set("BERTH_PRETEND_WITHOUT", "idmap");
    world.run(&["--rm", "--userns", "auto:size=500", "box", "true"]).refused(125, &["--userns auto", "idmap"]);
}

/// The configuration changes what is made from then on.
#[test]
fn a_container_keeps_its_users() {
    let world = remapped(Mode::Embedded);
    world
        .berth(&["create", "--name", "one", "box", "sh", "-c", "touch /x; stat -c %u /x; xargs < /proc/self/uid_map"])
        .ok();
    configure(&world, "");
    for _ in 0..2 {
        assert_eq!(world.berth(&["start", "-a", "one"]).ok().text(), format!("0\n0 {FIRST} 65536"));
    }
    assert!(world.sh(&[], MAP).contains("4294967295"));
}
