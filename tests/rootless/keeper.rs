use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::host::{Traces, monitor};
use crate::support::lan::word;
use crate::support::user::Given;
use crate::support::{Mode, World, eventually};

fn record(world: &World) -> PathBuf {
    world.root().join("run/rootless/holder.json")
}

/// The process that keeps the namespaces.
fn keeper(world: &World) -> Option<i32> {
    let record: serde_json::Value = serde_json::from_slice(&fs::read(record(world)).ok()?).ok()?;
    Some(record["pid"].as_i64()? as i32)
}

fn end(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    // A zombie has none.
    eventually("it has ended", Duration::from_secs(10), || fs::read_link(format!("/proc/{pid}/exe")).is_err());
}

fn space(pid: i32, kind: &str) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap()
}

#[test]
fn it_ends_with_the_last_and_leaves_no_process() {
    let Some(world) = World::of_user(Mode::Embedded, Given::Ranges) else { return };
    world.start(&["--name", "one"], "exec sleep 1000");
    let first = keeper(&world).unwrap();
    world.berth(&["ps"]).ok();
    assert_eq!(keeper(&world), Some(first), "who comes finds it");
    let monitor = monitor(&world.root(), None);
    for kind in ["user", "mnt"] {
        assert_eq!(space(monitor, kind), space(first, kind));
    }
    assert_ne!(space(monitor, "net"), space(first, "net"), "the monitor speaks for the host");
    world.berth(&["rm", "-f", "one"]).ok();
    eventually("it ends", Duration::from_secs(10), || keeper(&world).is_none());
    assert!(Traces::of(&world.root()).processes().is_empty());
}

#[test]
fn a_container_that_is_removed_at_its_end_takes_it_along() {
    let Some(world) = World::of_user(Mode::Embedded, Given::Ranges) else { return };
    world.start(&["--rm"], "sleep 0.3");
    eventually("all has gone", Duration::from_secs(20), || keeper(&world).is_none());
    assert_eq!(world.berth(&["ps", "-aq"]).ok().text(), "");
}

#[test]
fn killed_it_is_replaced_and_nobody_notices() {
    let Some(world) = World::of_user(Mode::Embedded, Given::Ranges) else { return };
    world.berth(&["network", "create", "net"]).ok();
    let page = "mkdir /www; echo page > /www/index.html; exec httpd -f -h /www -p 80";
    world.start(&["--name", "one", "--network", "net", "-p", "8080:80"], page);
    let ask = || world.shell("busybox wget -qO- http://127.0.0.1:8080/").text();
    eventually("it serves", Duration::from_secs(10), || ask() == "page");
    let (first, watcher) = (keeper(&world).unwrap(), monitor(&world.root(), None));
    let before = ["user", "mnt", "net"].map(|kind| space(first, kind));
    end(first);
    assert_eq!(world.berth(&["ps", "--format", "{{.Names}} {{.State}}"]).ok().text(), "one running");
    let second = keeper(&world).unwrap();
    assert_ne!(first, second);
    assert_eq!(["user", "mnt", "net"].map(|kind| space(second, kind)), before);
    assert_eq!(ask(), "page");
    assert_eq!(world.berth(&["exec", "one", "cat", "/www/index.html"]).ok().text(), "page");
    assert_eq!(world.sh(&["--network", "net"], "wget -qO- http://one/"), "page");
    assert_eq!(monitor(&world.root(), None), watcher);
    // The container's own end, with nobody there to keep anything.
    end(second);
    world.berth(&["stop", "-t", "0", "one"]).ok();
    assert_eq!(world.berth(&["system", "check"]).ok().text(), "nothing is missing or left over");
    world.berth(&["rm", "-f", "one"]).ok();
}

#[test]
fn a_container_that_is_removed_at_its_end_needs_none() {
    let Some(world) = World::of_user(Mode::Embedded, Given::Ranges) else { return };
    world.start(&["--rm", "--name", "one"], "exec sleep 1000");
    let inside = world.inspect("one", "{{.State.Pid}}").parse().unwrap();
    end(keeper(&world).unwrap());
    // The monitor becomes the one that removes it, and finds nobody who keeps what it is in.
    end(inside);
    eventually("nobody is left", Duration::from_secs(20), || Traces::of(&world.root()).processes().is_empty());
    assert_eq!(fs::read_dir(world.root().join("containers")).unwrap().count(), 0);
    assert_eq!(world.berth(&["ps", "-aq"]).ok().text(), "");
}

#[test]
fn a_killed_monitor_is_found_out_with_the_keeper_and_without() {
    let Some(world) = World::of_user(Mode::Embedded, Given::Ranges) else { return };
    for both in [false, true] {
        world.start(&["--name", "one"], "exec sleep 1000");
        if both {
            end(keeper(&world).unwrap());
        }
        end(monitor(&world.root(), None));
        world.until_status("one", "exited");
        assert_eq!(world.inspect("one", "{{.State.ExitCode}}"), "137");
        world.berth(&["start", "one"]).ok();
        assert_eq!(world.berth(&["exec", "one", "echo", "again"]).ok().text(), "again");
        world.berth(&["rm", "-f", "one"]).ok();
    }
    assert_eq!(world.berth(&["system", "check"]).ok().text(), "nothing is missing or left over");
}

/// What one of them makes, the other has to be able to stop.
#[test]
fn two_that_begin_at_once_are_in_the_same_place() {
    let Some(world) = World::of_user(Mode::Embedded, Given::Ranges) else { return };
    for round in 0..50 {
        let names = ["first", "second"];
        let both = names
            .map(|name| world.background(&["run", "-d", "--network", "none", "--name", name, "box", "sleep", "1000"]));
        for started in both {
            started.wait(Duration::from_secs(60)).ok();
        }
        let pids = names.map(|name| world.inspect(name, "{{.State.Pid}}").parse::<i32>().unwrap());
        assert_eq!(space(pids[0], "user"), space(pids[1], "user"), "round {round}");
        world.berth(&["rm", "-f", "first", "second"]).ok();
        eventually("the keeper ends", Duration::from_secs(10), || keeper(&world).is_none());
    }
}

#[test]
fn a_daemons_containers_outlive_it_and_the_keeper_too() {
    let Some(world) = World::of_user(Mode::Daemon, Given::Ranges) else { return };
    world.start(&["--name", "one", "-p", "8080:80"], "exec sleep 1000");
    let net = crate::support::net::Net::of(&world.inspect("one", "{{.State.Pid}}"));
    let _server = crate::support::lan::Servers::start(&net, "inside", &["0.0.0.0:80"], &[]);
    let first = keeper(&world);
    world.kill_daemon();
    assert_eq!(keeper(&world), first);
    assert_eq!(word(world.net(), "127.0.0.1:8080").as_deref(), Some("inside"));
    world.start_daemon();
    assert_eq!(world.berth(&["exec", "one", "id", "-u"]).ok().text(), "0");
    world.berth(&["rm", "-f", "one"]).ok();
}
