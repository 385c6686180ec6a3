//! Programs inside: run and exec, their streams, terminals, descriptors, users, and how they end.

use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde_json::json;

use super::{Oci, write};
use crate::support::call::call;
use crate::support::screen::Screen;
use crate::support::world::LIMIT;
use crate::support::{eventually, kernel};

#[test]
fn run_gives_the_programs_streams_and_its_code() {
    let oci = Oci::new();
    let bundle = oci.bundle("run", "cat; echo err >&2; exit 7", |_| {});
    let outcome = oci.feed(&["run", "--bundle", &bundle, "run"], b"some input");
    assert_eq!((outcome.out().as_str(), outcome.err().as_str()), ("some input", "err\n"));
    outcome.ended(7);
    let killed = oci.background(&["run", "--bundle", &oci.bundle("killed", "echo up; sleep 1000", |_| {}), "killed"]);
    killed.expect("up", LIMIT);
    oci.call(&["kill", "killed", "KILL"]).ok();
    killed.wait(LIMIT).ended(137);
    oci.call(&["state", "run"]).refused(1, &["does not exist"]);
    oci.call(&["run", "--keep", "--bundle", &bundle, "kept"]).ended(7);
    assert_eq!(oci.status("kept"), "stopped");
    oci.leave(&["run", "--detach", "--bundle", &oci.bundle("detached", "sleep 1000", |_| {}), "detached"]);
    assert_eq!(oci.status("detached"), "running");
}

#[test]
fn signals_are_passed_on_to_the_program_in_front() {
    let oci = Oci::new();
    let bundle = oci.bundle("front", "trap 'exit 33' TERM; echo ready; while :; do sleep 0.1; done", |_| {});
    let run = oci.background(&["run", "--bundle", &bundle, "front"]);
    run.expect("ready", LIMIT);
    run.signal(Signal::SIGTERM);
    run.wait(LIMIT).ended(33);
}

#[test]
fn a_program_has_the_three_streams_and_what_is_preserved() {
    let oci = Oci::new();
    let list = "for fd in /proc/self/fd/*; do readlink $fd; done > /shared/fds; cat <&4 > /shared/four; echo done > /shared/end";
    let bundle = oci.bundle("fds", list, |_| {});
    write(&oci.world.path("four"), "the fourth");
    // More is open than is preserved.
    let line = format!(
        "exec 3</dev/null 4<{} 5</etc/passwd 6</etc/passwd; exec berth oci --root {} run --preserve-fds 2 --bundle {bundle} fds",
        oci.world.at("four"),
        oci.root().display()
    );
    let mut command = Command::new("bash");
    oci.world.surround(&mut command);
    command.env("PATH", oci.world.path_with_berth()).args(["-c", &line]);
    call(command, &[], LIMIT).ok();
    assert_eq!(oci.shared("four").as_deref(), Some("the fourth"));
    let listed = oci.shared("fds").unwrap();
    assert!(!listed.contains("passwd") && listed.contains("four"), "{listed}");
}

#[test]
fn exec_runs_further_programs() {
    if kernel::lacks("way into a container", (3, 8)) {
        return;
    }
    let oci = Oci::new();
    oci.started("busy", "sleep 1000", |config| config["process"]["env"] = json!(["PATH=/bin", "KEPT=yes"]));
    let fed = oci.feed(&["exec", "busy", "sh", "-c", "cat; echo $KEPT $MORE; exit 5"], b"in ");
    assert_eq!(fed.out(), "in yes\n");
    fed.ended(5);
    oci.call(&["exec", "busy", "sh", "-c", "kill -9 $$"]).ended(137);
    let flags = ["exec", "--user", "7:8", "--cwd", "/tmp", "--env", "MORE=x", "-g", "9", "busy"];
    let said = oci.call(&[&flags[..], &["sh", "-c", "id -u; id -G; pwd; echo $MORE"]].concat()).ok().out();
    assert_eq!(said, "7\n8 9\n/tmp\nx\n");
    let capabilities = |flags: &[&str]| {
        let line = [&["exec"], flags, &["busy", "grep", "CapEff", "/proc/self/status"]].concat();
        u64::from_str_radix(oci.call(&line).ok().text().split_whitespace().last().unwrap(), 16).unwrap()
    };
    assert_eq!(capabilities(&["--cap", "CAP_NET_RAW"]), capabilities(&[]) | 1 << 13);
    oci.call(&["exec", "--cap", "CAP_NONE", "busy", "true"]).refused(1, &["CAP_NONE"]);
    oci.call(&["exec", "busy", "no-such-program"]).refused(1, &["executable file not found in $PATH"]);
    oci.call(&["exec", "--user", "nobody", "busy", "true"]).refused(1, &["UID[:GID]"]);
    oci.call(&["exec", "busy"]).refused(1, &["--process"]);
    let fds = oci.call(&["exec", "busy", "ls", "/proc/self/fd"]).ok().lines();
    // The last is the folder that `ls` reads.
    assert_eq!(fds, ["0", "1", "2", "3"]);
}

#[test]
fn exec_takes_a_process_and_leaves_it_alone() {
    if kernel::lacks("way into a container", (3, 8)) {
        return;
    }
    let oci = Oci::new();
    oci.started("busy", "sleep 1000", |_| {});
    let process = oci.world.at("process.json");
    let pid_file = oci.world.at("pid");
    let script = "echo $$ > /shared/inside; sleep 1000";
    let text =
        json!({ "args": ["sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"], "user": { "uid": 0, "gid": 0 } });
    write(process.as_ref(), &text.to_string());
    oci.leave(&["exec", "--detach", "--process", &process, "--pid-file", &pid_file, "busy"]);
    oci.until_shared("inside");
    let pid: i64 = std::fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    let pids = oci.call(&["ps", "--format", "json", "busy"]).ok().json();
    assert!(pids.as_array().unwrap().contains(&json!(pid)), "{pids}");
    assert!(pids.as_array().unwrap().len() >= 2, "{pids}");
    let table = oci.call(&["ps", "busy"]).ok().out();
    assert!(table.lines().next().unwrap().contains("PID") && table.contains("sleep 1000"), "{table}");
    oci.call(&["exec", "--process", &process, "busy", "true"]).refused(1, &["leave out"]);
    oci.call(&["kill", "--all", "busy", "KILL"]).ok();
    oci.until_status("busy", "stopped");
}

#[test]
fn programs_are_scheduled_as_they_are_to_be() {
    if kernel::lacks("sched_setattr", (3, 14)) {
        return;
    }
    let oci = Oci::new();
    // Of /proc/PID/stat: nice, and the policy (3 is SCHED_BATCH).
    let line =
        "set -- $(cat /proc/self/stat); shift 18; echo $1; shift 22; echo $1; grep Cpus_allowed_list /proc/self/status";
    oci.started("batch", &format!("({line}) > /shared/first; echo > /shared/up; sleep 1000"), |config| {
        config["process"]["scheduler"] = json!({ "policy": "SCHED_BATCH", "nice": 5 });
        config["process"]["execCPUAffinity"] = json!({ "initial": "0", "final": "0" });
    });
    oci.until_shared("up");
    let first = oci.shared("first").unwrap();
    assert!(first.starts_with("5\n3\n"), "{first}");
    let further = oci.call(&["exec", "batch", "sh", "-c", line]).ok().text();
    assert_eq!(further, "5\n3\nCpus_allowed_list:\t0");
    oci.run("wrong", "true", |config| {
        config["process"]["scheduler"] = json!({ "policy": "SCHED_FIFO", "priority": -1 })
    })
    .refused(1, &["scheduler priority"]);
}

#[test]
fn a_time_namespace_has_clocks_of_its_own() {
    if !kernel::shows("/proc/self/ns/time") {
        return crate::support::skip("this kernel has no time namespaces");
    }
    let oci = Oci::new();
    let offsets = |config: &mut serde_json::Value| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "time" }));
        config["linux"]["timeOffsets"] = json!({ "boottime": { "secs": 100_000_000, "nanosecs": 0 } });
    };
    let days = |text: &str| text.split(['.', ' ']).next().unwrap().parse::<u64>().unwrap() / 86_400;
    oci.started("clocks", "cat /proc/uptime > /shared/uptime; sleep 1000", offsets);
    assert!(days(&oci.until_shared("uptime")) >= 1157);
    assert!(days(&oci.call(&["exec", "clocks", "cat", "/proc/uptime"]).ok().out()) >= 1157);
    oci.run("clock", "true", |config| {
        offsets(config);
        config["linux"]["timeOffsets"]["realtime"] = json!({ "secs": 1 });
    })
    .refused(1, &["timeOffsets", "realtime"]);
    oci.run("clock", "true", |config| {
        offsets(config);
        config["linux"]["namespaces"].as_array_mut().unwrap().pop();
    })
    .refused(1, &["timeOffsets", "time namespace"]);
}

/// Takes the controlling side of a terminal, as an engine does.
fn received(listener: &UnixListener) -> std::fs::File {
    let (stream, _) = listener.accept().unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 64];
    let message =
        rustix::net::recvmsg(&stream, &mut [IoSliceMut::new(&mut name)], &mut control, RecvFlags::CMSG_CLOEXEC)
            .unwrap();
    assert_eq!(&name[..message.bytes], b"/dev/ptmx");
    let fd: OwnedFd = control
        .drain()
        .find_map(|part| match part {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        })
        .expect("a descriptor");
    fd.into()
}

#[track_caller]
fn until(terminal: &mut std::fs::File, text: &str) {
    let mut seen = Vec::new();
    let mut buffer = [0; 512];
    while !String::from_utf8_lossy(&seen).contains(text) {
        match terminal.read(&mut buffer) {
            Ok(count) if count > 0 => seen.extend_from_slice(&buffer[..count]),
            other => panic!("{other:?} before {text:?}; seen: {}", String::from_utf8_lossy(&seen)),
        }
    }
}

#[test]
fn a_terminal_goes_to_the_console_socket() {
    if kernel::lacks("way into a container", (3, 8)) {
        return;
    }
    let oci = Oci::new();
    let socket = oci.world.at("console");
    let listener = UnixListener::bind(&socket).unwrap();
    let bundle = oci.bundle("tty", "stty size; tty; read line; echo got $line", |config| {
        config["process"]["terminal"] = json!(true);
        config["process"]["consoleSize"] = json!({ "height": 31, "width": 99 });
    });
    oci.call(&["create", "--bundle", &bundle, "refused"]).refused(1, &["--console-socket"]);
    oci.call(&["create", "--bundle", &bundle, "--console-socket", &socket, "tty"]).ok();
    let mut terminal = received(&listener);
    oci.call(&["start", "tty"]).ok();
    until(&mut terminal, "/dev/pts/0");
    terminal.write_all(b"hello\n").unwrap();
    until(&mut terminal, "got hello");
    oci.until_status("tty", "stopped");

    oci.started("exec", "sleep 1000", |_| {});
    oci.call(&["exec", "--tty", "--detach", "exec", "true"]).refused(1, &["--console-socket"]);
    let line = ["exec", "--tty", "--detach", "--console-socket", &socket, "exec", "sh", "-c", "echo on $(tty)"];
    oci.call(&line).ok();
    until(&mut received(&listener), "on /dev/pts/0");
}

#[test]
fn run_and_exec_relay_a_terminal() {
    if kernel::lacks("way into a container", (3, 8)) {
        return;
    }
    let oci = Oci::new();
    let bundle = oci.bundle("screen", "echo size $(stty size); read line; echo got $line; exit 6", |config| {
        config["process"]["terminal"] = json!(true);
    });
    let mut screen = Screen::start(&oci.world, &oci.command(&["run", "--bundle", &bundle, "screen"]), 91, 17);
    screen.expect("size 17 91");
    screen.line("typed");
    screen.expect("got typed");
    assert_eq!(screen.end(), 6);

    oci.started("busy", "sleep 1000", |_| {});
    let mut screen = Screen::start(&oci.world, &oci.command(&["exec", "--tty", "busy", "sh"]), 80, 25);
    screen.line("stty size");
    screen.expect("25 80");
    screen.resize(100, 40);
    eventually("the size follows", Duration::from_secs(20), || screen.ask("stty size").contains("40 100"));
    screen.line("exit 8");
    assert_eq!(screen.end(), 8);
}
