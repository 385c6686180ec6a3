//! Kill -9 of engines and monitors at any moment: what is recorded is true afterwards, and nothing runs unowned.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::host::{Traces, is_alive, monitor};
use crate::support::random::Random;
use crate::support::{Mode, World, eventually};

/// Runs a command and kills it after `microseconds`, unless it has ended.
fn interrupted(world: &World, arguments: &[&str], microseconds: u64) {
    let mut command = world.command();
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    std::thread::sleep(Duration::from_micros(microseconds));
    let _ = child.kill();
    child.wait().unwrap();
}

/// Every container is what the engine says of it.
fn truthful(world: &World) {
    let ids = world.berth(&["ps", "-aq", "--no-trunc"]).ok().lines();
    for id in &ids {
        let state = world.berth(&["inspect", "-f", "{{.State.Status}} {{.State.Pid}}", id]);
        if state.code != 0 {
            continue;
        }
        let text = state.text();
        let (status, pid) = text.split_once(' ').unwrap();
        let pid: i32 = pid.parse().unwrap();
        match status {
            // It may end between the question and the look, and be removed then.
            "running" => {
                let still = || world.berth(&["inspect", "-f", "{{.State.Status}}", id]).text() == "running";
                assert!(is_alive(pid) || !still(), "{id}: {text}");
            }
            "created" | "exited" => assert_eq!(pid, 0, "{id}: {text}"),
            "removing" | "dead" => {}
            other => panic!("{id}: {other}"),
        }
    }
    // Whatever runs belongs to a container that is listed as running.
    let daemon = (world.mode() == Mode::Daemon).then(|| world.daemon_pid());
    let mut traces = Traces::of(&world.root());
    traces.know(ids);
    eventually("only what is listed runs", Duration::from_secs(15), || {
        let running = world.berth(&["ps", "-q"]).ok().lines().len();
        running > 0 || traces.processes().iter().all(|pid| Some(*pid) == daemon)
    });
}

fn kill_engines(mode: Mode, rounds: usize) {
    let world = World::new(mode);
    let mut random = Random::seeded();
    let mut killed = 0;
    for round in 0..rounds {
        let name = format!("c{}", round % 7);
        let delay = random.below(60_000);
        let verbs: &[&[&str]] = &[
            &["create", "--name", &name, "--network", "none", "box", "sleep", "1000"],
            &["run", "-d", "--name", &name, "--network", "none", "box", "sleep", "1000"],
            &["run", "--rm", "--network", "none", "box", "sleep", "0.01"],
            &["start", &name],
            &["stop", "-t", "0", &name],
            &["rm", "-f", &name],
            &["restart", "-t", "0", &name],
            &["exec", &name, "true"],
            &["commit", &name, "scratch"],
            &["rename", &name, "c6"],
        ];
        let verb = verbs[random.below(verbs.len() as u64) as usize];
        if mode == Mode::Daemon {
            let mut client = world.background(verb);
            std::thread::sleep(Duration::from_micros(delay));
            world.kill_daemon();
            eventually("the client notices", Duration::from_secs(20), || !client.is_running());
            world.start_daemon();
        } else {
            interrupted(&world, verb, delay);
        }
        killed += 1;
        if round % 20 == 19 {
            truthful(&world);
        }
    }
    assert_eq!(killed, rounds);
    // The next engine works, on everything that is there.
    truthful(&world);
    for id in world.berth(&["ps", "-aq"]).ok().lines() {
        // One that was to end at once and be removed does just that when it is started.
        if world.inspect(&id, "{{.HostConfig.AutoRemove}}") == "true" {
            world.berth(&["rm", "-f", &id]).ok();
            continue;
        }
        if world.inspect(&id, "{{.State.Status}}") != "running" {
            world.berth(&["start", &id]).ok();
        }
        assert_eq!(world.berth(&["exec", &id, "echo", "alive"]).ok().text(), "alive");
        world.berth(&["rm", "-f", &id]).ok();
    }
    assert_eq!(world.sh(&[], "echo works"), "works");
    world.stop_daemon();
    // A starting daemon finishes what the dead left half-way.
    world.start_daemon();
    let rubbish = |name: &str| std::fs::read_dir(world.root().join(name)).map_or(0, Iterator::count);
    eventually("nothing half-made is left", Duration::from_secs(10), || {
        rubbish("containers") == 0 && rubbish("run/containers") == 0 && rubbish("tmp") == 0
    });
}

#[test]
fn engines_inside_commands_are_killed_at_any_moment() {
    kill_engines(Mode::Embedded, 150);
}

#[test]
fn the_daemon_is_killed_at_any_moment() {
    kill_engines(Mode::Daemon, 50);
}

#[test]
fn containers_outlive_the_daemon_and_are_found_again() {
    let world = World::new(Mode::Daemon);
    world.start(&["--name", "one"], "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done");
    let mut follower = world.background(&["logs", "-f", "one"]);
    let wait = world.background(&["run", "--name", "front", "box", "sh", "-c", "sleep 1; exit 7"]);
    std::thread::sleep(Duration::from_millis(400));
    let pid = world.inspect("one", "{{.State.Pid}}");
    world.kill_daemon();
    eventually("the follower ends", Duration::from_secs(20), || !follower.is_running());
    drop(wait);
    // An embedded engine sees the same container, and so does the next daemon.
    assert_eq!(world.inspect("one", "{{.State.Pid}} {{.State.Running}}"), format!("{pid} true"));
    world.start_daemon();
    assert_eq!(world.inspect("one", "{{.State.Pid}} {{.State.Running}}"), format!("{pid} true"));
    let lines = world.berth(&["logs", "one"]).ok().lines();
    let numbers: Vec<usize> = lines.iter().map(|line| line.parse().unwrap()).collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len()), "the log has no hole");
    eventually("the other ended by itself", Duration::from_secs(20), || {
        world.inspect("front", "{{.State.Status}} {{.State.ExitCode}}") == "exited 7"
    });
    world.stop_daemon();
    assert_eq!(world.inspect("one", "{{.State.Pid}} {{.State.Running}}"), format!("{pid} true"), "an orderly end too");
}

both! {
    fn a_killed_monitor_is_noticed_and_said(world) {
        for flags in [&["--name", "one"][..], &["--name", "two", "--restart", "always"]] {
            let name = flags[1];
            let id = world.start(flags, "sleep 1000 & sleep 1000");
            let pid: i32 = world.inspect(name, "{{.State.Pid}}").parse().unwrap();
            kill(Pid::from_raw(monitor(&world.root(), Some(&id))), Signal::SIGKILL).unwrap();
            eventually("the state is right", Duration::from_secs(10), || {
                let state = world.inspect(name, "{{.State.Status}} {{.State.ExitCode}}");
                state == "exited 137" || (name == "two" && state.starts_with("running"))
            });
            if name == "one" {
                assert!(world.inspect("one", "{{.State.Error}}").contains("monitor"), "it is said");
            }
            eventually("its processes are gone", Duration::from_secs(10), || !is_alive(pid));
            assert_eq!(world.berth(&["ps", "-q", "-f", "name=one"]).ok().text(), "");
            world.berth(&["start", name]).ok();
            assert_eq!(world.inspect(name, "{{.State.Running}} {{.State.Error}}"), "true");
            world.berth(&["rm", "-f", name]).ok();
        }
    }

    fn a_wait_ends_when_the_monitor_is_killed(world) {
        let id = world.start(&["--name", "one"], "sleep 1000");
        let wait = world.background(&["wait", "one"]);
        let follow = world.background(&["logs", "-f", "one"]);
        std::thread::sleep(Duration::from_millis(300));
        kill(Pid::from_raw(monitor(&world.root(), Some(&id))), Signal::SIGKILL).unwrap();
        assert_eq!(wait.wait(Duration::from_secs(20)).text(), "137");
        follow.wait(Duration::from_secs(20));
    }

    fn a_killed_monitor_of_an_rm_container_leaves_nothing_for_long(world) {
        let id = world.start(&["--rm", "--name", "one"], "sleep 1000");
        kill(Pid::from_raw(monitor(&world.root(), Some(&id))), Signal::SIGKILL).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        // Nobody is there to remove it but the next engine that starts to serve, or a user.
        world.berth(&["rm", "-f", "one"]);
        assert_eq!(world.berth(&["ps", "-aq"]).ok().text(), "");
    }
}

/// Guards against a run folder whose paths are longer than a socket's address, too.
#[test]
fn a_daemon_brings_back_what_a_killed_monitor_took_along() {
    let world = World::new(Mode::Daemon);
    let id = world.start(&["--name", "one", "--restart", "always"], "sleep 1000");
    let socket = world.root().join("run/containers").join(&id).join("monitor.sock");
    assert!(socket.as_os_str().len() > 107, "{}", socket.display());
    for _ in 0..3 {
        let pid = world.inspect("one", "{{.State.Pid}}");
        kill(Pid::from_raw(monitor(&world.root(), Some(&id))), Signal::SIGKILL).unwrap();
        eventually("it runs again", Duration::from_secs(10), || {
            let now = world.inspect("one", "{{.State.Running}} {{.State.Pid}}");
            now.starts_with("true") && now != format!("true {pid}")
        });
    }
    world.berth(&["rm", "-f", "one"]).ok();
}

#[test]
fn monitors_are_killed_at_any_moment() {
    let world = World::new(Mode::Embedded);
    let mut random = Random::seeded();
    for round in 0..20 {
        let name = format!("c{round}");
        let mut call = world.background(&["run", "-d", "--name", &name, "--network", "none", "box", "sleep", "1000"]);
        std::thread::sleep(Duration::from_micros(random.below(40_000)));
        let folder = world.root().join("containers");
        let monitors = crate::support::host::processes().into_iter().filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.starts_with("berth-monitor") && line.contains(folder.to_str().unwrap())
        });
        for pid in monitors.collect::<Vec<_>>() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        eventually("the command ends", Duration::from_secs(20), || !call.is_running());
    }
    truthful(&world);
    for id in world.berth(&["ps", "-aq"]).ok().lines() {
        world.berth(&["rm", "-f", &id]).ok();
    }
}

/// A small file system of the test's own, gone before its world is.
struct Small(std::path::PathBuf);

impl Small {
    fn below(world: &World, size: &str) -> Self {
        std::fs::create_dir(world.root()).unwrap();
        nix::mount::mount(Some("tmpfs"), &world.root(), Some("tmpfs"), nix::mount::MsFlags::empty(), Some(size))
            .unwrap();
        Self(world.root())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_full_disk_loses_no_exit_code_and_containers_can_be_removed() {
    let world = World::bare(Mode::Embedded);
    let small = Small::below(&world, "size=64m");
    world.import_box();
    world.start(&["--name", "one"], "sleep 2; exit 7");
    world.start(&["--name", "two", "--restart", "always"], "trap 'exit 9' TERM; while :; do sleep 0.05; done");
    let filler = world.root().join("filler");
    let full = std::fs::File::create(&filler).and_then(|mut file| std::io::copy(&mut std::io::repeat(0), &mut file));
    assert_eq!(full.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    world.run(&["--rm", "--network", "none", "box", "true"]).refused(125, &["No space left"]);
    world.berth(&["stop", "two"]).ok();
    eventually("one has ended", Duration::from_secs(10), || {
        world.inspect("one", "{{.State.Status}} {{.State.ExitCode}}{{.State.Error}}") == "exited 7"
    });
    assert_eq!(world.inspect("two", "{{.State.Status}} {{.State.ExitCode}}{{.State.Error}}"), "exited 9");
    world.berth(&["rm", "one", "two"]).ok();
    std::fs::remove_file(&filler).unwrap();
    assert_eq!(world.sh(&[], "echo works"), "works");
    assert_eq!(world.berth(&["ps", "-aq"]).ok().text(), "");
    drop(small);
}

#[test]
fn logs_are_bounded_where_the_disk_is_small() {
    let world = World::bare(Mode::Embedded);
    let small = Small::below(&world, "size=64m");
    world.import_box();
    let options = |name: &str| world.inspect(name, "{{json .HostConfig.LogConfig.Config}}");
    world.start(&["--name", "one"], "yes 'a line of some length' | head -n 100000; echo last; sleep 1000");
    assert_eq!(options("one"), r#"{"max-file":"2","max-size":"1m"}"#);
    eventually("the last line is there", Duration::from_secs(20), || {
        world.berth(&["logs", "--tail", "1", "one"]).ok().text() == "last"
    });
    let file = std::path::PathBuf::from(world.inspect("one", "{{.LogPath}}"));
    let length = |file: &std::path::Path| std::fs::metadata(file).unwrap().len();
    let older = file.with_extension("log.1");
    // A file ends with the line that reaches its bound.
    assert!(length(&file) + length(&older) < (2 << 20) + 4096, "{} and {}", length(&file), length(&older));
    world.start(&["--name", "two", "--log-opt", "max-size=-1"], "sleep 1000");
    assert_eq!(options("two"), r#"{"max-size":"-1"}"#);
    world.berth(&["rm", "-f", "one", "two"]).ok();
    drop(small);
}
