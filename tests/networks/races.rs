use std::time::Duration;

use crate::support::call::Outcome;
use crate::support::{Mode, World};

const ROUNDS: usize = 100;

/// Two commands at once; exactly one wins. Returns the loser.
fn race(world: &World, flags: &[&str]) -> Outcome {
    let arguments = [&["run", "-d"], flags, &["box", "sleep", "1000"]].concat();
    let racing = [world.background(&arguments), world.background(&arguments)];
    let mut ended: Vec<Outcome> = racing.into_iter().map(|call| call.wait(Duration::from_secs(60))).collect();
    ended.sort_by_key(|outcome| outcome.code);
    assert!(ended[0].code == 0 && ended[1].code == 125, "{}\n{}", ended[0], ended[1]);
    world.berth(&["rm", "-f", &ended[0].text()]).ok();
    ended.pop().unwrap()
}

/// What a start that was refused leaves: a container that was created, as in Docker.
fn clear(world: &World) {
    let created = world.berth(&["ps", "-aq"]).ok().lines();
    let names: Vec<&str> = created.iter().map(String::as_str).collect();
    world.berth(&[&["rm", "-f"], names.as_slice()].concat()).ok();
}

#[test]
fn two_engines_want_one_port() {
    let world = World::new(Mode::Embedded);
    for _ in 0..ROUNDS {
        race(&world, &["-p", "8080:80"]).refused(125, &["8080", "driver failed programming external connectivity"]);
        clear(&world);
    }
    assert_eq!(world.berth(&["system", "check"]).ok().text(), "nothing is missing or left over");
    assert!(!world.shell("ss -Hltn").ok().out().contains("8080"));
}

#[test]
fn two_engines_want_the_last_address() {
    let world = World::new(Mode::Embedded);
    world.berth(&["network", "create", "--subnet", "10.6.0.0/29", "net"]).ok();
    for number in 0..4 {
        world.start(&["--name", &format!("kept{number}"), "--network", "net"], "exec sleep 1000");
    }
    for _ in 0..ROUNDS {
        race(&world, &["--network", "net"])
            .refused(125, &["no available IPv4 addresses on this network's address pools: net"]);
        for id in world.berth(&["ps", "-aq", "--filter", "status=created"]).ok().lines() {
            world.berth(&["rm", &id]).ok();
        }
    }
    assert_eq!(world.berth(&["system", "check"]).ok().text(), "nothing is missing or left over");
}
