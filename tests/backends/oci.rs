//! Containers of crun and runc: the same as on berth's own backend, and what is said of runtimes that are none.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::{Mode, World, eventually, kernel};

/// The runtimes that are installed. `ci/setup test` installs both.
fn installed() -> Vec<&'static str> {
    if kernel::lacks("cgroup v2, of which crun sees what the kernel beneath has", (4, 5)) {
        return Vec::new();
    }
    let is_there = |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|said| said.status.success());
    let found: Vec<_> = ["crun", "runc"].into_iter().filter(is_there).collect();
    if found.is_empty() {
        println!("skipped: neither crun nor runc is installed");
    }
    found
}

/// Writes berth.toml, and the scripts that stand for runtimes: each hears its arguments as `$*`.
fn configure(world: &World, first: &str, scripts: &[(&str, &str)]) {
    let mut text = format!("{first}\n");
    for (name, script) in scripts {
        let path = world.path(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        text += &format!("[runtimes.{name}]\npath = {path:?}\n");
    }
    fs::write(world.path("berth.toml"), text).unwrap();
    world.set("BERTH_CONFIG", &world.at("berth.toml"));
}

#[track_caller]
fn nothing_is_kept(world: &World) {
    let folder = world.root().join("run/oci");
    assert!(!folder.exists(), "{:?}", fs::read_dir(&folder).unwrap().flatten().collect::<Vec<_>>());
}

both! {
    fn a_service_lives_as_on_berths_own_backend(world) {
        for runtime in installed() {
            let script = "echo $COLOUR > /data/colour; echo up; echo bad >&2; \
                          while :; do echo hello | nc -l -p 80; done";
            let flags = [
                "--name", "web", "--runtime", runtime, "-e", "COLOUR=blue", "-v", "data:/data", "-p", "18080:80",
                "--memory", "64m", "--pids-limit", "40", "--hostname", "webhost",
            ];
            world.start(&flags, script);
            assert_eq!(world.inspect("web", "{{.HostConfig.Runtime}} {{.State.Status}}"), format!("{runtime} running"));
            eventually("it answers at its port", Duration::from_secs(20), || {
                world.shell("cat < /dev/tcp/127.0.0.1/18080").text() == "hello"
            });
            let logs = world.berth(&["logs", "web"]).ok();
            assert_eq!((logs.text().as_str(), logs.err().trim()), ("up", "bad"));
            let inside = "cat /data/colour; hostname; id -u; cat /sys/fs/cgroup/memory/memory.limit_in_bytes \
                          /sys/fs/cgroup/memory.max 2>/dev/null; cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max \
                          2>/dev/null; ls /proc/self/fd | wc -l";
            let exec = world.berth(&["exec", "-u", "1000", "web", "sh", "-c", inside]).ok().text();
            assert_eq!(exec.lines().collect::<Vec<_>>(), ["blue", "webhost", "1000", "67108864", "40", "4"]);
            world.berth(&["exec", "web", "sh", "-c", "exit 7"]).ended(7);
            let missing = world.berth(&["exec", "web", "no-such-program"]).ended(127).text();
            assert_eq!(missing, "exec: \"no-such-program\": executable file not found in $PATH");
            assert!(world.berth(&["top", "web"]).ok().out().contains("nc -l"));
            let stats = world.berth(&["stats", "--no-stream", "--format", "{{.MemUsage}}", "web"]).ok().text();
            assert!(stats.ends_with("/ 64MiB"), "{stats}");
            world.berth(&["pause", "web"]).ok();
            world.until_status("web", "paused");
            world.berth(&["unpause", "web"]).ok();
            world.berth(&["update", "--memory", "96m", "--memory-swap", "-1", "web"]).ok();
            let stats = world.berth(&["stats", "--no-stream", "--format", "{{.MemUsage}}", "web"]).ok().text();
            assert!(stats.ends_with("/ 96MiB"), "{stats}");
            world.berth(&["exec", "web", "touch", "/made"]).ok();
            world.berth(&["commit", "web", "made"]).ok();
            assert_eq!(world.berth(&["run", "--rm", "--isolation", runtime, "made", "ls", "/made"]).ok().text(), "/made");
            world.berth(&["stop", "-t", "0", "web"]).ok();
            assert_eq!(world.inspect("web", "{{.State.ExitCode}}"), "137");
            world.berth(&["start", "web"]).ok();
            world.berth(&["kill", "web"]).ok();
            assert_eq!(world.berth(&["wait", "web"]).ok().text(), "137");
            world.berth(&["start", "web"]).ok();
            world.berth(&["rm", "-f", "web"]).ok();
            world.berth(&["volume", "rm", "data"]).ok();
            world.berth(&["rmi", "made"]).ok();
            nothing_is_kept(world);
        }
    }

    fn exit_codes_and_what_cannot_run_are_dockers(world) {
        for runtime in installed() {
            let run = |arguments: &[&str]| world.run(&[&["--rm", "--runtime", runtime], arguments].concat());
            run(&["box", "sh", "-c", "exit 42"]).ended(42);
            run(&["--init", "box", "sh", "-c", "kill -TERM $$"]).ended(143);
            run(&["box", "no-such-program"]).refused(127, &["no-such-program", "executable file not found in $PATH"]);
            run(&["box", "/no/such/program"]).refused(127, &["no such file or directory"]);
            run(&["box", "/etc"]).refused(126, &["permission denied"]);
            let terminal = run(&["-t", "box", "sh", "-c", "tty; test -c /dev/console && echo console"]).ok().out();
            assert_eq!(terminal.replace('\r', "").trim(), "/dev/pts/0\nconsole");
            nothing_is_kept(world);
        }
    }
}

/// What exchanges the root is forbidden to containers of Docker's.
#[test]
fn where_pivot_root_is_forbidden_the_root_is_moved() {
    for runtime in installed() {
        let world = World::new(Mode::Embedded);
        configure(&world, "", &[("mine", &format!("echo \"$*\" >>{}/calls; exec {runtime} \"$@\"", world.at("")))]);
        world.set("BERTH_PRETEND_WITHOUT", "pivot_root");
        let script = "[ ! -e /boot ] && cd / && cd .. && [ ! -e boot ] && echo inside";
        let said = world.run(&["--rm", "--runtime", "mine", "box", "sh", "-c", script]);
        assert_eq!(said.ok().text(), "inside", "{runtime}");
        let calls = fs::read_to_string(world.path("calls")).unwrap();
        assert!(calls.lines().any(|call| call.contains(" create ") && call.contains(" --no-pivot")), "{calls}");
        nothing_is_kept(&world);
    }
}

#[test]
fn the_configuration_names_runtimes_and_which_is_used() {
    let Some(runtime) = installed().first().copied() else { return };
    let world = World::new(Mode::Embedded);
    configure(&world, "isolation = \"oci\"", &[("mine", &format!("exec {runtime} \"$@\""))]);
    // Those of the configuration come first.
    world.start(&["--name", "one"], "sleep 1000");
    assert_eq!(world.inspect("one", "{{.HostConfig.Runtime}}"), "mine");
    world.berth(&["rm", "-f", "one"]).ok();
    let report = world.berth(&["doctor", "--format", "json"]).ok().json();
    assert_eq!(report["isolation"]["picked"], "mine");
    let text = world.berth(&["doctor"]).ok().out();
    assert!(text.contains("mine") && text.contains(runtime), "{text}");
    nothing_is_kept(&world);
}

#[test]
fn a_runtime_that_is_none_is_refused_with_the_reason_and_the_remedy() {
    if kernel::lacks("seccomp filters", (3, 5)) {
        return;
    }
    let world = World::new(Mode::Embedded);
    let known = "case \"$*\" in *--version*) echo x version 1; exit;; *features*) exit 1;; esac;";
    let scripts = [
        ("fails", "echo broken >&2; exit 3"),
        ("hangs", "exec sleep 1000"),
        ("garbage", "head -c 300 /dev/urandom"),
        ("late", &format!("{known} echo no luck >&2; exit 9")),
        ("lies", &format!("{known} exit 0")),
    ];
    configure(&world, "", &scripts);
    for (name, reason) in [("fails", "broken"), ("hangs", "has not answered"), ("garbage", "no OCI runtime's version")]
    {
        world
            .run(&["--rm", "--runtime", name, "box", "true"])
            .refused(125, &[name, reason, &format!("runtimes.{name}")]);
    }
    let seccomp = ["--security-opt", "seccomp=unconfined"];
    let run = |name: &str, flags: &[&str]| world.run(&[&["--rm", "--runtime", name], flags, &["box", "true"]].concat());
    run("late", &[]).refused(125, &["--security-opt seccomp", "the late backend", "built without", "unconfined"]);
    run("late", &seccomp).refused(125, &["late create: ", "exit status: 9"]);
    run("lies", &seccomp).refused(125, &["run/oci/", "pid"]);
    run("nowhere", &[]).refused(125, &["nowhere", "there is none of that name", "runtimes"]);
    assert_eq!(world.berth(&["ps", "-aq"]).ok().text(), "");
    nothing_is_kept(&world);
}

#[test]
fn a_part_of_a_volume_is_mounted_and_no_link_leads_out_of_it() {
    for runtime in installed() {
        let world = World::new(Mode::Embedded);
        let make = "mkdir -p /v/in; echo text > /v/in/file; ln -s /etc /v/out";
        world.run(&["--rm", "-v", "data:/v", "box", "sh", "-c", make]).ok();
        let run = |part: &str, script: &str| {
            let mount = format!("type=volume,src=data,dst=/part,volume-subpath={part}");
            world.run(&["--rm", "--runtime", runtime, "--mount", &mount, "box", "sh", "-c", script])
        };
        assert_eq!(run("in", "cat /part/file").ok().text(), "text");
        run("out", "ls /part").ended(125);
        world.berth(&["volume", "rm", "data"]).ok();
        nothing_is_kept(&world);
    }
}

#[test]
fn a_container_ends_with_its_monitor_and_is_cleared_away() {
    for runtime in installed() {
        let world = World::new(Mode::Embedded);
        world.start(&["--name", "one", "--runtime", runtime], "sleep 1000 & exec sleep 1000");
        let init = world.inspect("one", "{{.State.Pid}}");
        kill(&parent(&init));
        eventually("the container ends", Duration::from_secs(20), || !Path::new("/proc").join(&init).exists());
        assert_eq!(world.inspect("one", "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
        nothing_is_kept(&world);
        world.berth(&["rm", "one"]).ok();
    }
}

#[test]
fn a_monitor_that_is_killed_while_it_calls_leaves_nothing_behind() {
    for runtime in installed() {
        let world = World::new(Mode::Embedded);
        let called = world.at("called");
        for verb in ["create", "start"] {
            // Says that it was called, and goes on when it has a long time to.
            let script = format!(
                "case \" $* \" in *\" {verb} \"*) echo $PPID > {called}; exec sleep 1000;; esac; exec {runtime} \"$@\""
            );
            configure(&world, "", &[("slow", &script)]);
            let call = world.background(&["run", "--name", "one", "--runtime", "slow", "box", "sleep", "1000"]);
            eventually("the runtime is called", Duration::from_secs(20), || {
                fs::read_to_string(&called).is_ok_and(|text| text.ends_with('\n'))
            });
            kill(fs::read_to_string(&called).unwrap().trim());
            fs::remove_file(&called).unwrap();
            call.wait(Duration::from_secs(20));
            world.berth(&["rm", "-f", "one"]).ok();
            nothing_is_kept(&world);
        }
    }
}

fn parent(pid: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().to_owned()
}

fn kill(pid: &str) {
    let pid = nix::unistd::Pid::from_raw(pid.parse().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
}
