use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::screen::Screen;
use crate::support::{Mode, World, eventually, find_program, kernel, program, skip};
use crate::userns;

/// A world whose containers are LXC's, as its configuration says.
fn lxc_world() -> Option<World> {
    if find_program("lxc-start").is_none() {
        skip("LXC's tools are not installed");
        return None;
    }
    let world = World::new(Mode::Embedded);
    if super::is_out_of_reach(&world, "lxc") {
        return None;
    }
    fs::write(world.path("berth.toml"), "isolation = [\"lxc\", \"namespace\"]\n").unwrap();
    world.set("BERTH_CONFIG", &world.at("berth.toml"));
    Some(world)
}

fn lxc_path(world: &World) -> std::path::PathBuf {
    world.root().join("run/lxc")
}

/// What LXC keeps of containers, its locks too.
fn kept(world: &World) -> Vec<String> {
    let locks = Path::new("/run/lxc/lock").join(lxc_path(world).strip_prefix("/").unwrap());
    let names = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path().display().to_string()).collect::<Vec<_>>()
    };
    [names(&lxc_path(world)), names(&locks)].concat()
}

fn pid(world: &World, name: &str) -> i32 {
    world.inspect(name, "{{.State.Pid}}").parse().unwrap()
}

#[test]
fn a_web_server_has_a_volume_limits_a_user_and_a_published_port() {
    if kernel::lacks("pids controller", (4, 3)) {
        return;
    }
    let Some(world) = lxc_world() else { return };
    world.berth(&["volume", "create", "pages"]).ok();
    world.sh(&["-v", "pages:/pages"], "echo from the volume > /pages/index.html");
    let id = world.start(
        &["--name", "web", "-v", "pages:/pages:ro", "-m", "64m", "--pids-limit", "50", "-e", "COLOUR=blue", "-u", "1000:1001",
          "-w", "/pages", "-h", "server", "-p", "127.0.0.1:5080:8080"],
        "echo $COLOUR $(id -u):$(id -g) $(hostname) $(pwd); touch x 2>/dev/null || echo read-only; exec httpd -f -p 8080",
    );
    // It is LXC's container, and LXC's own tools know it.
    assert_eq!(world.inspect("web", "{{.HostConfig.Runtime}}"), "lxc");
    let path = lxc_path(&world).display().to_string();
    let info = world.shell(&format!("lxc-info -P {path} -n {id} -p -s -H")).ok().text();
    assert!(info.contains("RUNNING") && info.contains(&pid(&world, "web").to_string()), "{info}");

    assert_eq!(world.berth(&["logs", "web"]).ok().text(), "blue 1000:1001 server /pages\nread-only");
    let fetched = || world.shell("busybox wget -q -O- http://127.0.0.1:5080/");
    eventually("the server answers", Duration::from_secs(10), || fetched().code == 0);
    assert_eq!(fetched().text(), "from the volume");
    let seen = world.berth(&[
        "exec",
        "-u",
        "7",
        "-e",
        "X=y",
        "web",
        "sh",
        "-c",
        "id -u; echo $X $COLOUR; ps | grep -c http[d]; exit 9",
    ]);
    assert_eq!(seen.ended(9).text(), "7\ny blue\n1");
    let stats = world.berth(&["stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}", "web"]).ok().text();
    assert!(stats.starts_with("1 ") && stats.ends_with("64MiB"), "{stats}");
    world.berth(&["pause", "web"]).ok();
    assert_eq!(world.inspect("web", "{{.State.Status}}"), "paused");
    world.berth(&["unpause", "web"]).ok();
    world.berth(&["update", "--pids-limit", "60", "web"]).ok();
    assert_eq!(fetched().text(), "from the volume");
    world.berth(&["stop", "-t", "1", "web"]).ok();
    assert!(["137", "143"].contains(&world.inspect("web", "{{.State.ExitCode}}").as_str()));
    assert_eq!(kept(&world), Vec::<String>::new());
    world.berth(&["rm", "web"]).ok();
}

#[test]
fn exit_codes_and_signals_are_told_apart() {
    if kernel::lacks("way into a container of LXC", (3, 8)) {
        return;
    }
    let Some(world) = lxc_world() else { return };
    world.run(&["--rm", "box", "sh", "-c", "exit 7"]).ended(7);
    world.run(&["--rm", "box", "true"]).ended(0);
    world.run(&["--rm", "box", "nothing"]).refused(127, &["\"nothing\": executable file not found in $PATH"]);
    world.run(&["--rm", "box", "/etc"]).refused(126, &["permission denied"]);
    for (signal, code) in [("KILL", "137"), ("TERM", "143"), ("HUP", "129"), ("INT", "130")] {
        // Not the first process's default, which a namespace's is deaf to: the host kills it.
        world.start(&["--name", "one"], "trap 'exit 143' TERM; trap 'exit 130' INT; sleep 1000 & wait");
        world.berth(&["exec", "one", "true"]).ok();
        if signal == "HUP" {
            world.berth(&["rm", "-f", "one"]).ok();
            continue;
        }
        world.berth(&["kill", "-s", signal, "one"]).ok();
        world.until_status("one", "exited");
        assert_eq!(world.inspect("one", "{{.State.ExitCode}}"), code, "{signal}");
        world.berth(&["rm", "one"]).ok();
    }
    assert_eq!(kept(&world), Vec::<String>::new());
}

/// LXC takes such an end for the wish to be started again.
#[test]
fn a_program_that_ends_by_a_hangup_is_not_started_again() {
    let Some(world) = lxc_world() else { return };
    // Signals of the host reach a namespace's first process only if it does not ignore them: this one handles none.
    world.start(
        &["--name", "one", "-v", &format!("{}:/out", world.at("home"))],
        "echo x >> /out/starts; exec sleep 1000",
    );
    let first = pid(&world, "one");
    eventually("it runs", Duration::from_secs(10), || world.path("home/starts").exists());
    kill(Pid::from_raw(first), Signal::SIGHUP).unwrap();
    eventually("it ends or does not care", Duration::from_secs(5), || {
        world.inspect("one", "{{.State.Status}}") == "exited" || pid(&world, "one") == first
    });
    world.berth(&["rm", "-f", "one"]).ok();
    assert_eq!(fs::read_to_string(world.path("home/starts")).unwrap(), "x\n");
}

#[test]
fn a_terminal_is_a_terminal() {
    if kernel::lacks("way into a container of LXC", (3, 8)) {
        return;
    }
    let Some(world) = lxc_world() else { return };
    let mut screen = Screen::berth(&world, &["run", "--rm", "-it", "box", "sh"]);
    assert!(screen.ask("tty; stty size").contains("/dev/pts/0"));
    screen.line("exit 5");
    eventually("it ends", Duration::from_secs(10), || !screen.is_running());
    world.start(&["--name", "one"], "sleep 1000");
    let mut screen = Screen::berth(&world, &["exec", "-it", "one", "sh"]);
    assert!(screen.ask("tty; id -u").contains("/dev/pts/"));
    screen.line("exit");
    eventually("it ends", Duration::from_secs(10), || !screen.is_running());
}

#[test]
fn what_a_container_wrote_is_committed_and_policies_start_it_again() {
    let Some(world) = lxc_world() else { return };
    world.run(&["--name", "one", "box", "sh", "-c", "echo made > /made"]).ok();
    world.berth(&["commit", "one", "made"]).ok();
    assert_eq!(world.run(&["--rm", "made", "cat", "/made"]).ok().text(), "made");
    world.start(&["--name", "again", "--restart", "on-failure:2"], "echo run; exit 3");
    eventually("it was started again", Duration::from_secs(20), || {
        world.inspect("again", "{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}") == "2 exited 3"
    });
    assert_eq!(world.berth(&["logs", "again"]).ok().text(), "run\nrun\nrun");
}

#[test]
fn namespaces_of_the_host_and_of_others_are_shared_on_request() {
    if kernel::lacks("way into a container of LXC", (3, 8)) {
        return;
    }
    let Some(world) = lxc_world() else { return };
    world.start(&["--name", "first", "--ipc", "shareable"], "sleep 1000");
    let first = |kind: &str| world.berth(&["exec", "first", "readlink", &format!("/proc/self/ns/{kind}")]).ok().text();
    for (flag, name) in [("--network", "net"), ("--ipc", "ipc")] {
        let seen = world.sh(&[flag, "container:first"], &format!("readlink /proc/self/ns/{name}"));
        assert_eq!(seen, first(name), "{flag}");
    }
    let hosts = world.net().within(|| fs::read_link("/proc/thread-self/ns/net").unwrap());
    assert_eq!(world.sh(&["--network", "host"], "readlink /proc/self/ns/net"), hosts.display().to_string());
    let own = |kind: &str| fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string();
    assert_eq!(world.sh(&["--uts", "host"], "readlink /proc/self/ns/uts"), own("uts"));
    for kind in ["pid", "mnt", "ipc", "uts"] {
        assert_ne!(first(kind), own(kind), "{kind}");
    }
}

#[test]
fn nothing_is_left_when_lxc_or_the_monitor_is_killed() {
    if let Some(world) = lxc_world() {
        nothing_is_left_after_kills(&world);
    }
}

/// Who makes files as another loses the signal that ends him with the monitor.
#[test]
fn nothing_is_left_of_a_container_with_users_either() {
    if kernel::lacks("user namespaces", (3, 8)) {
        return;
    }
    if let Some(world) = lxc_world() {
        userns::tables(&world, "berth:300000:65536\n", "berth:300000:65536\n");
        userns::configure(&world, "isolation = [\"lxc\", \"namespace\"]\nuserns-remap = 'default'\n");
        nothing_is_left_after_kills(&world);
    }
}

fn nothing_is_left_after_kills(world: &World) {
    world.start(&["--name", "one"], "sleep 1000 & sleep 1000");
    let init = pid(world, "one");
    let stat = fs::read_to_string(format!("/proc/{init}/stat")).unwrap();
    let tool: i32 = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert_eq!(fs::read_to_string(format!("/proc/{tool}/comm")).unwrap().trim(), "lxc-start");
    kill(Pid::from_raw(tool), Signal::SIGKILL).unwrap();
    world.until_status("one", "exited");
    assert_eq!(world.inspect("one", "{{.State.ExitCode}}"), "137");
    assert_eq!(kept(world), Vec::<String>::new());

    world.berth(&["start", "one"]).ok();
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid(world, "one"))).unwrap();
    let tool = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().to_owned();
    let stat = fs::read_to_string(format!("/proc/{tool}/stat")).unwrap();
    let monitor: i32 = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().parse().unwrap();
    kill(Pid::from_raw(monitor), Signal::SIGKILL).unwrap();
    eventually("it is recorded", Duration::from_secs(10), || world.inspect("one", "{{.State.Status}}") == "exited");
    assert_eq!(world.inspect("one", "{{.State.ExitCode}}"), "137");
    eventually("nothing is kept", Duration::from_secs(5), || kept(world).is_empty());
    world.berth(&["start", "one"]).ok();
    world.berth(&["rm", "-f", "one"]).ok();
    assert_eq!(kept(world), Vec::<String>::new());
}

#[test]
fn a_fork_bomb_is_removed() {
    if kernel::lacks("pids controller", (4, 3)) {
        return;
    }
    let Some(world) = lxc_world() else { return };
    world.start(&["--name", "bomb", "--pids-limit", "300"], "b() { b | b & }; b; sleep 1000");
    world.start(
        &["--name", "daemons"],
        "for i in 1 2 3 4; do (setsid sh -c 'sleep 1000 &' &) ; done; kill -STOP $$; sleep 1000",
    );
    world.berth(&["rm", "-f", "bomb", "daemons"]).ok();
    assert_eq!(kept(&world), Vec::<String>::new());
}

#[test]
fn what_lxc_cannot_do_is_refused_with_reason_and_remedy() {
    let Some(world) = lxc_world() else { return };
    fs::create_dir(world.path("shared")).unwrap();
    let shared = format!("{}:/x:rshared", world.at("shared"));
    let refused = world.run(&["--rm", "-v", &shared, "box", "true"]);
    assert_eq!(refused.code, 125, "{refused}");
    assert!(
        refused.err().contains("LXC cuts a container's mounts off") || refused.err().contains("shared"),
        "{refused}"
    );
    assert_eq!(kept(&world), Vec::<String>::new());
}

#[test]
fn doctor_knows_lxc_and_a_container_remembers_it() {
    if kernel::lacks("seccomp filters", (3, 5)) {
        return;
    }
    let Some(world) = lxc_world() else { return };
    let report = world.berth(&["doctor", "--format", "json"]).json();
    let lxc = report["isolation"]["candidates"].as_array().unwrap().iter().find(|one| one["name"] == "lxc").unwrap();
    assert_eq!(lxc["available"], true, "{lxc}");
    for claim in ["pid", "mount", "network", "uts", "ipc", "capabilities", "seccomp", "stats"] {
        assert_eq!(lxc["detail"][claim], true, "{claim}: {lxc}");
    }
    world.berth(&["create", "--name", "one", "box", "sh", "-c", "cat /proc/1/status | grep -c Name"]).ok();
    // Whatever the configuration says by then.
    fs::write(world.path("berth.toml"), "isolation = \"namespace\"\n").unwrap();
    world.berth(&["start", "-a", "one"]).ok();
    assert_eq!(world.inspect("one", "{{.HostConfig.Runtime}}"), "lxc");
    world.sh(&["--isolation", "namespace"], "true");
}

#[test]
fn a_container_that_lxc_cannot_start_leaves_no_group() {
    let Some(world) = lxc_world() else { return };
    let real = find_program("lxc-start").unwrap();
    fs::create_dir(world.path("bin")).unwrap();
    let entry = "lxc.mount.entry=/nowhere nowhere none bind 0 0";
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] || set -- -s '{entry}' \"$@\"\nexec {} \"$@\"\n",
        Path::new(&real).display()
    );
    fs::write(world.path("bin/lxc-start"), script).unwrap();
    fs::set_permissions(world.path("bin/lxc-start"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    world.set("PATH", &format!("{}:{}", world.at("bin"), std::env::var("PATH").unwrap()));
    let said = world.run(&["--name", "one", "box", "true"]);
    said.refused(125, &["/nowhere"]);
    let id = world.inspect("one", "{{.Id}}");
    let groups = world.shell(&format!("find /sys/fs/cgroup -type d -path '*{id}*'")).ok().text();
    assert_eq!(groups, "");
    assert_eq!(kept(&world), Vec::<String>::new());
}

/// LXC gives what it executes to the container's root, and makes it that user's alone.
#[test]
fn berths_own_file_stays_as_it_is_on_kernels_without_copies_of_it() {
    if kernel::lacks("way into a container of LXC", (3, 8)) {
        return;
    }
    use std::os::unix::fs::MetadataExt;

    let Some(world) = lxc_world() else { return };
    world.set("BERTH_PRETEND_WITHOUT", "mount-api,memfd");
    let before = fs::metadata(program()).unwrap();
    world.start(&["--name", "one"], "sleep 1000");
    assert_eq!(world.berth(&["exec", "one", "echo", "fine"]).ok().text(), "fine");
    let after = fs::metadata(program()).unwrap();
    assert_eq!((after.mode(), after.uid(), after.ctime()), (before.mode(), before.uid(), before.ctime()));
}
