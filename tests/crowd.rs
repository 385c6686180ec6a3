//! Many engines at once over one state, and a thousand runs one after the other: no error, nothing left.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::call::call;
use crate::support::host::{Snapshot, descriptors};
use crate::support::{Mode, World};

#[test]
fn ten_engines_and_a_daemon_share_two_hundred_containers() {
    const ENGINES: usize = 10;
    const EACH: usize = 20;
    let world = World::new(Mode::Daemon);
    let socket = format!("unix://{}", world.socket().display());
    // --storage-driver keeps the engine inside the command although a daemon listens.
    let driver = world.berth(&["info", "--format", "{{.Driver}}"]).ok().text();
    let step = |arguments: &[&str], through_daemon: bool| {
        let mut command = world.command();
        if through_daemon {
            command.args(["-H", &socket])
        } else {
            command.args(["--storage-driver", &driver])
        };
        command.args(arguments);
        command
    };
    let commands: Vec<Vec<_>> = (0..ENGINES)
        .map(|engine| {
            let daemon = engine == 0;
            (0..EACH)
                .flat_map(|number| {
                    let name = format!("c{engine}-{number}");
                    [
                        step(&["create", "--name", &name, "--network", "none", "box", "sleep", "1000"], daemon),
                        step(&["start", &name], daemon),
                        step(&["ps", "-q"], !daemon),
                        step(&["stop", "-t", "0", &name], daemon),
                        step(&["rm", &name], daemon),
                    ]
                })
                .collect()
        })
        .collect();
    std::thread::scope(|scope| {
        for list in commands {
            scope.spawn(move || {
                for command in list {
                    call(command, &[], Duration::from_secs(120)).ok();
                }
            });
        }
    });
    assert_eq!(world.berth(&["ps", "-aq"]).ok().text(), "");
    let count = |action: &str| {
        let filter = format!("event={action}");
        let call = ["events", "--since", "1h", "--until", "0s", "--filter", &filter, "--format", "{{.Actor.ID}}"];
        let lines = world.berth(&call).ok().lines();
        (lines.len(), lines.into_iter().collect::<BTreeSet<_>>().len())
    };
    for action in ["create", "start", "die", "destroy"] {
        assert_eq!(count(action), (ENGINES * EACH, ENGINES * EACH), "{action}");
    }
}

#[test]
fn one_name_has_one_winner() {
    let world = World::new(Mode::Embedded);
    for round in 0..10 {
        let name = format!("same{round}");
        let codes: Vec<i32> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..6)
                .map(|_| {
                    let mut command = world.command();
                    command.args(["create", "--name", &name, "box", "true"]);
                    scope.spawn(move || call(command, &[], Duration::from_secs(60)))
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .map(|outcome| {
                    if outcome.code != 0 {
                        assert!(outcome.err().contains("is already in use"), "{outcome}");
                    }
                    outcome.code
                })
                .collect()
        });
        assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
        assert_eq!(world.berth(&["ps", "-aq", "-f", &format!("name={name}")]).ok().lines().len(), 1);
    }
}

#[test]
fn one_container_is_started_once_by_many() {
    let world = World::new(Mode::Embedded);
    for round in 0..5 {
        let name = format!("c{round}");
        world
            .berth(&[
                "create",
                "--name",
                &name,
                "-v",
                &format!("{}:/out", world.at("")),
                "box",
                "sh",
                "-c",
                &format!("echo x >> /out/{name}; sleep 1000"),
            ])
            .ok();
        std::thread::scope(|scope| {
            for _ in 0..6 {
                let mut command = world.command();
                command.args(["start", &name]);
                scope.spawn(move || call(command, &[], Duration::from_secs(60)).ok());
            }
        });
        crate::support::eventually("it ran", Duration::from_secs(10), || world.path(&name).exists());
        assert_eq!(std::fs::read_to_string(world.path(&name)).unwrap(), "x\n");
    }
}

#[test]
fn many_may_remove_the_same_container() {
    let world = World::new(Mode::Embedded);
    for _ in 0..5 {
        let id = world.start(&[], "sleep 1000");
        std::thread::scope(|scope| {
            for _ in 0..5 {
                let mut command = world.command();
                command.args(["rm", "-f", &id]);
                scope.spawn(move || {
                    let outcome = call(command, &[], Duration::from_secs(60));
                    let lost =
                        outcome.err().contains("No such container") || outcome.err().contains("already in progress");
                    assert!(outcome.code == 0 || lost, "{outcome}");
                });
            }
        });
        assert_eq!(world.berth(&["ps", "-aq"]).ok().text(), "");
    }
}

#[test]
fn a_thousand_runs_leave_nothing() {
    let world = World::alone(Mode::Embedded);
    let run = || world.berth(&["run", "--rm", "--network", "none", "box", "true"]).ok();
    run();
    let before = Snapshot::take(&world.root());
    let own = descriptors(std::process::id() as i32);
    for _ in 0..900 {
        run();
    }
    world.start_daemon();
    run();
    std::thread::sleep(Duration::from_secs(1));
    let open = descriptors(world.daemon_pid());
    for _ in 0..99 {
        run();
    }
    crate::support::eventually("the daemon's descriptors are closed", Duration::from_secs(20), || {
        descriptors(world.daemon_pid()) <= open
    });
    world.stop_daemon();
    assert!(descriptors(std::process::id() as i32) <= own);
    let mut new = Vec::new();
    for _ in 0..50 {
        new = Snapshot::take(&world.root()).new_since(&before);
        if new.is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    panic!("a thousand runs left:\n{}", new.join("\n"));
}
