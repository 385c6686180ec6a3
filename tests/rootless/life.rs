use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use crate::support::screen::Screen;
use crate::support::user::{FIRST, Given, NUMBER};
use crate::support::{Mode, World, eventually};

/// With embedded engines, and through a daemon of the user's.
fn both(body: fn(&World)) {
    for mode in [Mode::Embedded, Mode::Daemon] {
        if let Some(world) = World::of_user(mode, Given::Ranges) {
            body(&world);
        }
    }
}

#[test]
fn containers_live_and_are_looked_into() {
    both(|world| {
        let info = world.berth(&["info", "--format", "json"]).ok().json();
        let options = info["SecurityOptions"].as_array().unwrap();
        assert!(options.iter().any(|option| option == "name=rootless"), "{info}");
        assert_eq!(world.sh(&[], "id -u; echo $$"), "0\n1");
        assert_eq!(world.sh(&["--user", "1000:1000", "--network", "none"], "id -u; id -g"), "1000\n1000");
        world.start(&["--name", "one"], "trap 'exit 6' TERM; echo up; while :; do sleep 0.05; done");
        eventually("it is up", Duration::from_secs(20), || world.berth(&["logs", "one"]).text() == "up");
        assert_eq!(world.berth(&["exec", "one", "sh", "-c", "echo inside > /new; id -u"]).ok().text(), "0");
        world.berth(&["exec", "-u", "user", "one", "sh", "-c", "test $(id -u) = 1000 && exit 9"]).ended(9);
        assert_eq!(world.feed(&["exec", "-i", "one", "wc", "-c"], &[1; 100_000]).ok().text(), "100000");
        assert!(world.berth(&["diff", "one"]).ok().text().contains("A /new"));
        assert!(world.berth(&["top", "one"]).ok().text().contains("while"));
        world.berth(&["stop", "one"]).ok();
        assert_eq!(world.inspect("one", "{{.State.ExitCode}}"), "6");
        world.berth(&["start", "one"]).ok();
        assert_eq!(world.berth(&["exec", "one", "cat", "/new"]).ok().text(), "inside");
        world.berth(&["restart", "-t", "1", "one"]).ok();
        world.until_status("one", "running");
        world.berth(&["kill", "one"]).ok();
        assert_eq!(world.berth(&["wait", "one"]).ok().text(), "137");
        world.berth(&["rm", "-f", "one"]).ok();
        world.run(&["--rm", "box", "no-such-program"]).ended(127);
        assert_eq!(world.berth(&["system", "check"]).ok().text(), "nothing is missing or left over");
    });
}

#[test]
fn images_are_made_saved_and_loaded() {
    both(|world| {
        world.start(&["--name", "one"], "echo kept > /kept; chown 1000:29 /kept; exec sleep 1000");
        let made = || world.berth(&["exec", "one", "stat", "-c", "%u:%g", "/kept"]).text() == "1000:29";
        eventually("the file is there", Duration::from_secs(20), made);
        world.berth(&["commit", "one", "mine"]).ok();
        world.berth(&["commit", "--pause", "one", "paused"]).refused(1, &["pause", "--pause=false"]);
        world.berth(&["rm", "-f", "one"]).ok();
        world.berth(&["save", "-o", &world.at("mine.tar"), "mine"]).ok();
        world.berth(&["rmi", "mine"]).ok();
        world.berth(&["load", "-i", &world.at("mine.tar")]).ok();
        let kept = world.run(&["--rm", "mine", "stat", "-c", "%u:%g %s", "/kept"]).ok();
        assert_eq!(kept.text(), "1000:29 5");
        let flat = world.shell(&format!("tar xOf {} --wildcards '*.json' | head -c 1 | wc -c", world.at("mine.tar")));
        assert_eq!(flat.ok().text(), "1");
    });
}

#[test]
fn what_is_shared_belongs_to_the_user() {
    both(|world| {
        let shared = world.path("shared");
        world.shell(&format!("mkdir {}", shared.display())).ok();
        let bound = format!("{}:/shared", shared.display());
        world.sh(&["-v", &bound], "echo x > /shared/own; echo y > /shared/others; chown 1000 /shared/others");
        let owner = |name: &str| std::fs::metadata(shared.join(name)).unwrap().uid();
        assert_eq!((owner("own"), owner("others")), (NUMBER, FIRST + 999));
        world.sh(&["-v", "kept:/kept"], "echo z > /kept/z");
        assert_eq!(
            world.sh(&["-v", "kept:/kept:ro"], "cat /kept/z; touch /kept/no 2>/dev/null || echo read-only"),
            "z\nread-only"
        );
        world.berth(&["volume", "rm", "kept"]).ok();
        std::fs::write(world.path("in"), "copied").unwrap();
        world.start(&["--name", "one"], "exec sleep 1000");
        world.berth(&["cp", &world.at("in"), "one:/tmp/in"]).ok();
        world.berth(&["cp", "one:/tmp/in", &world.at("out")]).ok();
        assert_eq!(std::fs::read_to_string(world.path("out")).unwrap(), "copied");
        assert_eq!(std::fs::metadata(world.path("out")).unwrap().uid(), NUMBER);
        world.berth(&["rm", "-f", "one"]).ok();
    });
}

#[test]
fn a_terminal_is_the_containers() {
    let Some(world) = World::of_user(Mode::Embedded, Given::Ranges) else { return };
    let mut screen = Screen::berth(&world, &["run", "--rm", "-it", "-e", "PS1=ready> ", "box", "sh"]);
    screen.expect("ready> ");
    assert!(screen.ask("tty").contains("/dev/pts/0"));
    screen.expect("ready> ");
    screen.line("exit 3");
    assert_eq!(screen.end(), 3);
}

#[test]
fn the_host_is_seen_where_it_was_asked_for() {
    let Some(world) = World::of_user(Mode::Embedded, Given::Ranges) else { return };
    assert_eq!(world.sh(&["--pid", "host"], "test -d /proc/1 && test $$ -ne 1 && echo seen"), "seen");
    assert_eq!(world.sh(&["--network", "host", "--ipc", "host", "--uts", "host"], "ip -o link | wc -l"), "1");
    world.start(&["--name", "one"], "exec sleep 1000");
    assert_eq!(world.sh(&["--network", "container:one", "--pid", "container:one"], "ps | grep -c 'sleep 1000$'"), "1");
    // Rights over namespaces that are the container's own, and over nothing of the host's.
    let power = "mount -t tmpfs none /mnt && echo mounted; mknod /dev/disk b 8 0 2>/dev/null || echo no disk";
    assert_eq!(world.sh(&["--privileged"], power), "mounted\nno disk");
    assert_eq!(world.sh(&["--privileged"], "cat /proc/sys/kernel/core_pattern > /dev/null && echo x > /proc/sys/kernel/core_pattern || echo refused").lines().last(), Some("refused"));
    let limited = world.run(&["--rm", "--memory", "64m", "box", "true"]).ok();
    assert!(limited.err().contains("memory"), "{limited}");
}

#[test]
fn folders_are_the_users_own() {
    let Some(world) = World::of_user(Mode::Embedded, Given::Ranges) else { return };
    let run = world.path("runtime");
    world.shell(&format!("mkdir -m 700 {}", run.display())).ok();
    let mut command = world.command();
    command.env_remove("BERTH_ROOT").env("XDG_RUNTIME_DIR", &run).args(["info", "--format", "json"]);
    let info = crate::support::call::call(command, &[], Duration::from_secs(60)).ok().json();
    let home = world.at("home/.local/share/berth");
    assert_eq!(info["DockerRootDir"].as_str(), Some(home.as_str()));
    eventually("the namespaces' keeper ends", Duration::from_secs(10), || {
        !run.join("berth/rootless/holder.json").exists()
    });
    assert_eq!(std::fs::metadata(run.join("berth")).unwrap().uid(), NUMBER);
}
