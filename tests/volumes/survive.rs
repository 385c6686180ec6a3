//! Many engines at once, and engines that are killed.

use std::fs;
use std::time::Duration;

use crate::support::random::Random;
use crate::support::{Mode, World, eventually};

both! {
    fn many_that_name_one_volume_get_one(world) {
        let all: Vec<_> = (0..12)
            .map(|index| world.background(&["run", "--rm", "-v", "shared:/etc", "-v", "/a", "box", "sh", "-c", &format!("ls /etc/passwd >/dev/null && touch /etc/{index}")]))
            .collect();
        for one in all {
            one.wait(Duration::from_secs(120)).ok();
        }
        let names = fs::read_dir(world.root().join("volumes/shared/_data")).unwrap().count();
        // The image's four files, and one of each.
        assert!(names >= 12 + 3, "{names}");
        assert_eq!(world.berth(&["volume", "ls", "-q"]).ok().lines(), ["shared"]);
    }

    fn making_and_removing_at_once_ends_well(world) {
        let all: Vec<_> = (0..16)
            .map(|index| match index % 3 {
                0 => world.background(&["volume", "create", "vol"]),
                1 => world.background(&["volume", "rm", "vol"]),
                _ => world.background(&["run", "--rm", "-v", "vol:/etc", "box", "cat", "/etc/passwd"]),
            })
            .collect();
        for (index, one) in all.into_iter().enumerate() {
            let outcome = one.wait(Duration::from_secs(120));
            assert!(index % 3 == 1 || outcome.code == 0, "{outcome}");
        }
        world.berth(&["volume", "rm", "-f", "vol"]).ok();
        assert_eq!(world.berth(&["volume", "ls", "-q"]).ok().text(), "");
    }
}

/// An image with enough below /data for a copy to be interrupted.
fn with_data(world: &World) {
    let script = "mkdir -p /data; i=0; while [ $i -lt 400 ]; do mkdir /data/$i; echo $i > /data/$i/f; i=$((i+1)); done; touch /data/last";
    world.run(&["--name", "maker", "box", "sh", "-c", script]).ok();
    world.berth(&["commit", "maker", "full"]).ok();
    world.berth(&["rm", "maker"]).ok();
}

/// A copy is whole or is made again, whenever its engine is killed; nothing half-made stays.
#[test]
fn an_engine_that_is_killed_leaves_no_half_filled_volume() {
    let world = &World::new(Mode::Embedded);
    with_data(world);
    let mut random = Random::seeded();
    for round in 0..12 {
        let name = format!("vol{round}");
        // Some are there before, and stay.
        let before = round % 2 == 0;
        if before {
            world.berth(&["volume", "create", &name]).ok();
        }
        let run = world.background(&["create", "-v", &format!("{name}:/data"), "full", "true"]);
        std::thread::sleep(Duration::from_micros(random.below(150_000)));
        run.signal(nix::sys::signal::Signal::SIGKILL);
        run.wait(Duration::from_secs(20));
        let listed = world.berth(&["volume", "ls", "-q"]).ok().lines();
        let data = world.root().join("volumes").join(&name);
        if !listed.contains(&name) {
            assert!(!before && !data.exists(), "{name}");
        }
        let count = world
            .run(&["--rm", "-v", &format!("{name}:/data"), "full", "sh", "-c", "ls /data | wc -l; cat /data/399/f"])
            .ok();
        assert_eq!(count.lines(), ["401", "399"], "{name}");
        let left: Vec<_> = fs::read_dir(&data).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(left, ["_data"], "{name}");
    }
    let ids = world.berth(&["ps", "-aq"]).ok().lines();
    for id in ids {
        world.berth(&["rm", "-f", &id]).ok();
    }
}

#[test]
fn an_engine_that_is_killed_while_it_removes_is_finished_by_the_next() {
    let world = &World::new(Mode::Embedded);
    with_data(world);
    let mut random = Random::seeded();
    for _ in 0..6 {
        world.berth(&["create", "--name", "cc", "-v", "vol:/data", "full", "true"]).ok();
        world.berth(&["rm", "cc"]).ok();
        let remove = world.background(&["volume", "rm", "vol"]);
        std::thread::sleep(Duration::from_micros(random.below(40_000)));
        remove.signal(nix::sys::signal::Signal::SIGKILL);
        remove.wait(Duration::from_secs(20));
        let listed = world.berth(&["volume", "ls", "-q"]).ok().text();
        eventually("the volume is whole or gone", Duration::from_secs(5), || {
            let there = world.root().join("volumes/vol/_data/last").exists();
            if listed.is_empty() { !world.root().join("volumes/vol").exists() } else { there }
        });
        world.berth(&["volume", "rm", "-f", "vol"]).ok();
    }
}
