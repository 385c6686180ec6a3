//! Containers that are written to files by criu, and go on from there.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::criu;
use crate::support::host::monitor;
use crate::support::screen::Screen;
use crate::support::{Mode, World, eventually};

const COUNTER: &str = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done";

/// What it has printed, which is every number from 1 on, once: nothing is lost, and nothing begins again.
#[track_caller]
fn count(world: &World, name: &str) -> usize {
    let lines = world.berth(&["logs", name]).ok().lines();
    for (index, line) in lines.iter().enumerate() {
        assert_eq!(line, &(index + 1).to_string(), "{lines:?}");
    }
    lines.len()
}

#[track_caller]
fn counts_on(world: &World, name: &str) {
    let before = count(world, name);
    eventually(&format!("{name} counts on"), Duration::from_secs(20), || count(world, name) > before + 2);
}

/// Checkpoints of the container, and what else is in their folder.
fn kept(world: &World, name: &str) -> Vec<String> {
    let folder = world.root().join("containers").join(world.inspect(name, "{{.Id}}")).join("checkpoints");
    let entries = fs::read_dir(folder).map(|entries| entries.flatten().map(|entry| entry.file_name()));
    entries.into_iter().flatten().map(|name| name.to_string_lossy().into_owned()).collect()
}

fn goes_on(mode: Mode) {
    let Some(world) = criu::world(mode) else { return };
    world.start(&["--name", "c1", "--network", "none", "--restart", "always", "--cap-drop", "CHOWN"], COUNTER);
    counts_on(&world, "c1");
    assert_eq!(world.berth(&["checkpoint", "create", "c1", "one"]).ok().text(), "one");
    // Its end is wanted: the restart policy leaves it alone.
    assert_eq!(world.inspect("c1", "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
    assert_eq!(world.berth(&["checkpoint", "ls", "c1"]).ok().lines(), ["CHECKPOINT NAME", "one"]);
    let before = count(&world, "c1");
    for _ in 0..2 {
        world.berth(&["start", "--checkpoint", "one", "c1"]).ok();
        assert_eq!(world.inspect("c1", "{{.State.Status}}"), "running");
        let lines = world.berth(&["logs", "c1"]).ok().lines();
        assert!(lines.len() >= before);
        assert_ne!(world.berth(&["exec", "c1", "ps"]).ok().out().matches("sh -c").count(), 0);
        world.berth(&["exec", "c1", "grep", "CapBnd:.00000000a80425fa", "/proc/1/status"]).ok();
        eventually("it prints on", Duration::from_secs(20), || {
            world.berth(&["logs", "c1"]).ok().lines().len() > lines.len() + 2
        });
        // The first time with nothing lost; the second start repeats what came after the checkpoint.
        world.berth(&["stop", "-t", "0", "c1"]).ok();
    }
    world.berth(&["start", "c1"]).ok();
    eventually("it begins again", Duration::from_secs(20), || {
        world.berth(&["logs", "c1"]).ok().lines().iter().filter(|line| *line == "1").count() == 2
    });
    world.berth(&["checkpoint", "rm", "c1", "one"]).ok();
    assert_eq!(kept(&world, "c1"), [""; 0]);
}

#[test]
fn a_counter_goes_on_where_it_was() {
    goes_on(Mode::Embedded);
}

#[test]
fn a_counter_goes_on_through_a_daemon() {
    goes_on(Mode::Daemon);
}

#[test]
fn nothing_is_lost_and_the_monitor_is_the_parent_again() {
    let Some(world) = criu::world(Mode::Embedded) else { return };
    let id = world.start(&["--name", "c1", "--network", "none"], COUNTER);
    counts_on(&world, "c1");
    world.berth(&["checkpoint", "create", "c1", "one"]).ok();
    world.berth(&["start", "--checkpoint", "one", "c1"]).ok();
    counts_on(&world, "c1");
    // It ends with its monitor, as any other container does.
    let pid: i32 = world.inspect("c1", "{{.State.Pid}}").parse().unwrap();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let parent: i32 = stat.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let monitor = monitor(&world.root(), Some(&id));
    assert_eq!(parent, monitor);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(monitor), Signal::SIGKILL).unwrap();
    world.until_status("c1", "exited");
    // An exit code comes through.
    world.berth(&["start", "--checkpoint", "one", "c1"]).ok();
    world.berth(&["kill", "-s", "TERM", "c1"]).ok();
    world.berth(&["kill", "c1"]).ok();
    assert_eq!(world.berth(&["wait", "c1"]).ok().text(), "137");
}

#[test]
fn mounts_are_what_they_were() {
    let Some(world) = criu::world(Mode::Embedded) else { return };
    fs::create_dir_all(world.path("data/part")).unwrap();
    std::os::unix::fs::symlink("/run", world.path("link")).unwrap();
    let data = format!("{}:/data", world.at("data"));
    let read_only = format!("{}:/only:ro", world.at("data"));
    let part = "type=volume,source=named,target=/part,volume-subpath=inner";
    world.berth(&["volume", "create", "named"]).ok();
    world.sh(&["-v", "named:/v"], "mkdir /v/inner");
    let flags = ["--read-only", "--tmpfs", "/scratch:size=1m", "-v", &data, "-v", &read_only, "--mount", part];
    let script = "exec 3>>/data/out 4>/scratch/x 5>/part/y; i=0; \
        while :; do i=$((i+1)); echo $i >&3; echo $i >&4; echo $i >&5; sleep 0.1; done";
    let flags = [&["--name", "c1", "--network", "none", "--memory", "64m", "--pids-limit", "50"][..], &flags].concat();
    world.start(&flags, script);
    let lines = || fs::read_to_string(world.path("data/out")).unwrap_or_default().lines().count();
    eventually("it writes", Duration::from_secs(20), || lines() > 2);
    let seen = || {
        let table = world.berth(&["exec", "c1", "cat", "/proc/self/mountinfo"]).ok().lines();
        let fields = table.iter().map(|line| line.split(' ').collect::<Vec<_>>());
        fields.map(|fields| format!("{} {}", fields[4], fields[5])).collect::<BTreeSet<_>>()
    };
    let before = seen();
    world.berth(&["checkpoint", "create", "c1", "one"]).ok();
    let written = lines();
    world.berth(&["start", "--checkpoint", "one", "c1"]).ok();
    assert_eq!(seen(), before);
    eventually("it writes on", Duration::from_secs(20), || lines() > written + 2);
    let out = fs::read_to_string(world.path("data/out")).unwrap();
    assert!(out.lines().enumerate().all(|(index, line)| line == (index + 1).to_string()), "{out}");
    let inside = |script: &str| world.berth(&["exec", "c1", "sh", "-c", script]);
    inside("test $(tail -n 1 /scratch/x) -gt 2 && test $(tail -n 1 /part/y) -gt 2").ok();
    for denied in ["touch /x", "touch /only/x", "echo 1 > /proc/sys/kernel/hostname", "head -c 1 /proc/keys | grep ."] {
        assert_ne!(inside(denied).code, 0, "{denied}");
    }
    assert_ne!(
        inside("for f in $(find /sys/fs/cgroup -name cgroup.procs); do echo 1 > $f && exit 0; done; exit 1").code,
        0
    );
    assert_eq!(world.inspect("c1", "{{.HostConfig.Memory}}"), "67108864");
    let groups = inside("cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null");
    assert_eq!(groups.text(), "67108864");
}

#[test]
fn a_terminal_goes_on() {
    let Some(world) = criu::world(Mode::Embedded) else { return };
    let mut screen = Screen::berth(&world, &["run", "-it", "--name", "c1", "-e", "PS1=ready> ", "box", "sh"]);
    screen.expect("ready> ");
    screen.line("kept=still; echo set");
    screen.expect("ready> ");
    world.berth(&["checkpoint", "create", "c1", "one"]).ok();
    assert_eq!(screen.end(), 137);
    let mut screen = Screen::berth(&world, &["start", "-ai", "--checkpoint", "one", "c1"]);
    // The prompt was drawn before.
    eventually("it runs", Duration::from_secs(20), || world.inspect("c1", "{{.State.Running}}") == "true");
    assert_eq!(screen.ask("echo $kept here; stty size"), "still here\r\n24 80");
    screen.line("exit 3");
    assert_eq!(screen.end(), 3);
}

#[test]
fn a_published_port_answers_again_and_connections_are_refused_or_kept() {
    let Some(world) = criu::world(Mode::Embedded) else { return };
    let script = "mkdir /w; echo hello > /w/index.html; httpd -f -p 80 -h /w & \
        while :; do nc -l -p 90 -e cat; done & i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done";
    world.start(&["--name", "c1", "-p", "127.0.0.1:8090:80"], script);
    let get = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect("127.0.0.1:8090")?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answers = || world.net().within(|| get().is_ok_and(|answer| answer.ends_with("hello\n")));
    let address = "{{.NetworkSettings.Networks.bridge.IPAddress}} {{.NetworkSettings.Networks.bridge.MacAddress}}";
    eventually("it answers", Duration::from_secs(20), answers);
    let before = world.inspect("c1", address);
    // Of that connection the kernel may keep the end for a while.
    eventually("the checkpoint is made", Duration::from_secs(60), || {
        world.berth(&["checkpoint", "create", "--tcp-established", "c1", "one"]).code == 0
    });
    world.berth(&["start", "--checkpoint", "one", "c1"]).ok();
    eventually("it answers again", Duration::from_secs(20), answers);
    assert_eq!(world.inspect("c1", address), before);
    counts_on(&world, "c1");
}

#[test]
fn an_established_connection_is_refused_unless_it_is_asked_for() {
    let Some(world) = criu::world(Mode::Embedded) else { return };
    let script = "nc -l -p 90 -e cat & until netstat -tln | grep -q ':90 '; do sleep 0.1; done; (while :; do echo x; sleep 0.1; done) | nc 127.0.0.1 90 > /dev/null & \
        i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done";
    world.start(&["--name", "c1"], script);
    eventually("it is connected", Duration::from_secs(20), || {
        world.berth(&["exec", "c1", "netstat", "-tn"]).out().contains("ESTABLISHED")
    });
    world.berth(&["checkpoint", "create", "c1", "one"]).refused(1, &["checkpoint", "tcp"]);
    // As if nothing had been.
    assert_eq!(world.inspect("c1", "{{.State.Status}}"), "running");
    assert_eq!(kept(&world, "c1"), [""; 0]);
    counts_on(&world, "c1");
    world.berth(&["checkpoint", "create", "--tcp-established", "c1", "one"]).ok();
    world.berth(&["start", "--checkpoint", "one", "c1"]).ok();
    let connected = world.berth(&["exec", "c1", "netstat", "-tn"]).ok().out();
    assert!(connected.contains("ESTABLISHED"), "{connected}");
    counts_on(&world, "c1");
}

#[test]
fn it_may_go_on_meanwhile() {
    let Some(world) = criu::world(Mode::Embedded) else { return };
    let id = world.start(&["--name", "c1", "--network", "none"], COUNTER);
    counts_on(&world, "c1");
    let pid = world.inspect("c1", "{{.State.Pid}}");
    world.berth(&["checkpoint", "create", "--leave-running", "c1", "one"]).ok();
    assert_eq!(world.inspect("c1", "{{.State.Pid}} {{.State.Status}}"), format!("{pid} running"));
    counts_on(&world, "c1");
    // A folder of the user's, which outlives the container.
    world.berth(&["checkpoint", "create", "--leave-running", "--checkpoint-dir", "mine", "c1", "two"]).ok();
    let mine = world.path("mine").join(&id).join("checkpoints/two");
    assert_eq!(fs::metadata(&mine).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(world.berth(&["checkpoint", "ls", "--checkpoint-dir", "mine", "c1"]).ok().lines()[1..], ["two"]);
    assert_eq!(world.berth(&["checkpoint", "ls", "c1"]).ok().lines()[1..], ["one"]);
    world.berth(&["stop", "-t", "0", "c1"]).ok();
    world.berth(&["start", "--checkpoint-dir", "mine", "--checkpoint", "two", "c1"]).ok();
    assert_eq!(world.inspect("c1", "{{.State.Status}}"), "running");
    world.berth(&["rm", "-f", "c1"]).ok();
    assert!(mine.is_dir());
    assert!(!world.root().join("containers").join(&id).exists());
}

#[test]
fn what_cannot_be_done_is_refused_and_leaves_nothing() {
    let Some(world) = criu::world(Mode::Embedded) else { return };
    let make = |name: &str, checkpoint: &str| world.berth(&["checkpoint", "create", name, checkpoint]);
    world.start(&["--name", "c1", "--network", "none"], COUNTER);
    make("nobody", "one").refused(1, &["No such container: nobody"]);
    for bad in ["../x", ".x", "a b", "x"] {
        make("c1", bad).refused(1, &["Invalid checkpoint ID", bad]);
    }
    world.berth(&["checkpoint", "rm", "c1", "one"]).refused(1, &["checkpoint one does not exist"]);
    world.berth(&["pause", "c1"]).ok();
    make("c1", "one").refused(1, &["paused"]);
    world.berth(&["unpause", "c1"]).ok();
    world.berth(&["exec", "-d", "c1", "sleep", "1000"]).ok();
    make("c1", "one").refused(1, &["exec", "end it first"]);
    world.berth(&["exec", "c1", "killall", "sleep"]).ok();
    world.start(&["--rm", "--name", "r1", "--network", "none"], COUNTER);
    make("r1", "one").refused(1, &["--rm", "--leave-running"]);
    world.start(&["--name", "host", "--pid", "host", "--network", "none"], COUNTER);
    make("host", "one").refused(1, &["--pid host"]);
    world.start(&["--name", "rooted", "--isolation", "chroot"], COUNTER);
    make("rooted", "one").refused(1, &["chroot", "namespace"]);
    assert_eq!(kept(&world, "c1"), [""; 0]);

    // Some criu is not there, and some does not work.
    let refused = world.with(&[("BERTH_CRIU", "/no/criu")], &["checkpoint", "create", "c1", "one"]);
    refused.refused(1, &["there is no /no/criu", "berth.toml"]);
    let broken = world.at("broken");
    fs::write(&broken, "#!/bin/sh\necho 'Error (criu/x.c:1): this kernel is too new' >&2\nexit 1\n").unwrap();
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).unwrap();
    let refused = world.with(&[("BERTH_CRIU", &broken)], &["checkpoint", "create", "c1", "one"]);
    refused.refused(1, &["this kernel is too new", "install a criu"]);
    let doctor = world.with(&[("BERTH_CRIU", &broken)], &["doctor"]);
    assert_eq!(doctor.code, 1);
    assert!(doctor.out().contains("this kernel is too new"), "{doctor}");
    counts_on(&world, "c1");

    make("c1", "one").ok();
    make("c1", "two").refused(1, &["not running"]);
    world.berth(&["start", "--checkpoint", "two", "c1"]).refused(1, &["checkpoint two does not exist"]);
    world.berth(&["start", "--checkpoint", "one", "c1", "r1"]).ended(1);
    // Images that are damaged: it stays ended, and says why.
    let images = world.root().join("containers").join(world.inspect("c1", "{{.Id}}")).join("checkpoints/one");
    fs::write(images.join("pstree.img"), b"nothing").unwrap();
    world.berth(&["start", "--checkpoint", "one", "c1"]).refused(1, &["restore", "pstree"]);
    assert_eq!(world.inspect("c1", "{{.State.Status}}"), "exited");
    assert!(world.inspect("c1", "{{.State.Error}}").contains("pstree"));
    fs::remove_file(images.join("berth.json")).unwrap();
    world.berth(&["start", "--checkpoint", "one", "c1"]).refused(1, &["none of berth's"]);
    world.berth(&["start", "c1"]).ok();
    assert_eq!(world.inspect("c1", "{{.State.Status}}"), "running");
}

#[test]
fn a_monitor_that_is_killed_over_it_leaves_no_half_of_one() {
    let Some(world) = criu::world(Mode::Embedded) else { return };
    let slow = world.at("slow");
    let text = format!("#!/bin/sh\ntouch {}\nexec sleep 1000\n", world.at("begun"));
    fs::write(&slow, text).unwrap();
    fs::set_permissions(&slow, fs::Permissions::from_mode(0o755)).unwrap();
    let id = world.start(&["--name", "c1", "--network", "none"], COUNTER);
    let monitor = monitor(&world.root(), Some(&id));
    let mut command = world.command();
    command.env("BERTH_CRIU", &slow).args(["checkpoint", "create", "c1", "one"]);
    let asking = crate::support::call::Background::start(command);
    eventually("criu is called", Duration::from_secs(20), || world.path("begun").exists());
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(monitor), Signal::SIGKILL).unwrap();
    asking.wait(Duration::from_secs(20)).ended(1);
    world.until_status("c1", "exited");
    assert_eq!(world.berth(&["checkpoint", "ls", "c1"]).ok().lines().len(), 1);
    world.berth(&["start", "c1"]).ok();
    world.berth(&["checkpoint", "create", "c1", "one"]).ok();
    assert_eq!(kept(&world, "c1"), ["one"]);
}
