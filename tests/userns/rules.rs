//! What goes together with users of its own, what is refused, and that nothing is left.

use super::{FIRST, both_ways, configure, remapped, tables};
use crate::backends::is_out_of_reach;
use crate::support::{Mode, World, find_program, kernel, skip};

/// Layers on the disk, without the places to mount on.
fn layers(world: &World) -> usize {
    let folders =
        ["overlay", "fuse", "btrfs", "vfs"].iter().flat_map(|name| std::fs::read_dir(world.root().join(name)));
    let names = folders.flatten().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| !name.starts_with('.') && name != "mount-points").count()
}

both_ways! {
    fn refusals_are_dockers(world) {
        for (flags, words) in [
            (&["--privileged"][..], "privileged mode is incompatible with user namespaces"),
            (&["--network", "host"], "cannot share the host's network namespace when user namespaces are enabled"),
            (&["--pid", "host"], "cannot share the host PID namespace when user namespaces are enabled"),
            (&["--userns", "keep-id"], "invalid user namespace mode: keep-id"),
            (&["--isolation", "chroot"], "the chroot backend cannot do that"),
        ] {
            world.run(&[&["--rm"], flags, &["box", "true"]].concat()).refused(125, &[words]);
            if !flags.contains(&"keep-id") {
                world.run(&[&["--rm", "--userns", "host"], flags, &["box", "true"]].concat()).ok();
            }
        }
        assert_eq!(world.berth(&["ps", "-aq"]).ok().text(), "");
        world.run(&["--rm", "--ipc", "host", "--uts", "host", "--cgroupns", "host", "box", "true"]).ok();
        assert!(world.berth(&["info"]).ok().text().contains("userns"));
        configure(world, "");
        assert!(!world.berth(&["info"]).ok().text().contains("userns\n"));
    }

    fn containers_with_the_same_users_share_namespaces(world) {
        world.start(&["--name", "one", "--ipc", "shareable", "-p", "127.0.0.1:8089:80"], "httpd -f -p 80 -h /bin");
        let flags = ["--network", "container:one", "--pid", "container:one", "--ipc", "container:one"];
        assert_eq!(world.sh(&flags, "wget -qO- http://127.0.0.1/sh | wc -c | grep -c .; touch /dev/shm/x; ps | grep -c '[h]ttpd'"), "1\n1");
        world.shell("for i in $(seq 50); do busybox wget -qO /dev/null http://127.0.0.1:8089/sh && exit; sleep 0.1; done; exit 1").ok();
        world.start(&["--name", "hosts", "--userns", "host"], "sleep 1000");
        world.run(&["--rm", "--network", "container:hosts", "box", "true"]).refused(125, &["it has other users", "--userns host"]);
        world.berth(&["pause", "one"]).ok();
        world.berth(&["unpause", "one"]).ok();
        world.berth(&["stats", "--no-stream", "one"]).ok();
        world.berth(&["rm", "-f", "one"]).ok();
    }

    fn nothing_is_left_of_images_and_containers(world) {
        world.start(&["--name", "one"], "sleep 1000");
        world.run(&["--rm", "box", "true"]).ok();
        // The image, a copy where there has to be one, and the container's own.
        let before = layers(world);
        assert!(before == 2 || before == 3, "{before}");
        world.berth(&["system", "check"]).ok();
        world.berth(&["rm", "-f", "one"]).ok();
        // A copy stays for the next container, and goes with its image.
        assert_eq!(layers(world), before - 1);
        world.berth(&["rmi", "box"]).ok();
        assert_eq!(layers(world), 0);
        world.berth(&["system", "check"]).ok();
    }

    fn an_image_that_goes_first_takes_its_copy_along_later(world) {
        world.start(&["--name", "one"], "sleep 1000");
        world.berth(&["kill", "one"]).ok();
        world.berth(&["rmi", "-f", "box"]).ok();
        world.berth(&["start", "one"]).ok();
        assert_eq!(world.berth(&["exec", "one", "stat", "-c", "%u", "/bin"]).ok().text(), "0");
        world.berth(&["rm", "-f", "one"]).ok();
        assert_eq!(layers(world), 0);
    }
}

/// One copy is made, by whoever is first.
#[test]
fn many_at_once_share_a_copy() {
    let world = remapped(Mode::Embedded);
    world.set("BERTH_PRETEND_WITHOUT", "idmap");
    let runs: Vec<_> = (0..4).map(|_| world.background(&["run", "--rm", "box", "stat", "-c", "%u", "/bin"])).collect();
    for run in runs {
        assert_eq!(run.wait(crate::support::world::LIMIT).ok().text(), "0");
    }
    assert_eq!(layers(&world), 2);
}

#[test]
fn a_copy_that_was_interrupted_is_made_again() {
    let world = remapped(Mode::Embedded);
    world.set("BERTH_PRETEND_WITHOUT", "idmap");
    for delay in ["0.05", "0.1", "0.2"] {
        world.shell(&format!("timeout -s KILL {delay} berth create box true")).text();
    }
    assert_eq!(world.sh(&[], "stat -c %u /bin /bin/busybox"), "0\n0");
    world.berth(&["system", "check"]).ok();
}

#[test]
fn every_driver_shows_the_files_as_the_containers() {
    for driver in ["overlay", "fuse", "vfs"] {
        let world = World::bare(Mode::Embedded);
        tables(&world, &format!("berth:{FIRST}:65536\n"), &format!("berth:{FIRST}:65536\n"));
        configure(&world, &format!("userns-remap = 'default'\nstorage = '{driver}'\n"));
        let info = world.berth(&["info"]);
        if info.code != 0 {
            skip(&format!("{driver}: {}", info.err().trim()));
            continue;
        }
        world.import_box();
        let script = "chown 5:6 /etc/group; stat -c %u:%g / /bin/sh /etc/group; touch /x; stat -c %u /x";
        assert_eq!(world.sh(&[], script), "0:0\n0:0\n5:6\n0", "{driver}");
        world.run(&["--name", "one", "box", "sh", "-c", "mkdir /d; chown 7 /d"]).ok();
        world.berth(&["commit", "one", "made"]).ok();
        for flags in [&["--userns", "host"][..], &[]] {
            let said = world.run(&[&["--rm"], flags, &["made", "stat", "-c", "%u:%g", "/d"]].concat()).ok().text();
            assert_eq!(said, "7:0", "{driver}");
        }
        world.berth(&["system", "check"]).ok();
    }
}

#[test]
fn other_backends_map_users_too() {
    if kernel::lacks("cgroup v2, of which crun sees what the kernel beneath has", (4, 5)) {
        return;
    }
    let world = remapped(Mode::Embedded);
    for (backend, program) in [("lxc", "lxc-start"), ("crun", "crun"), ("runc", "runc")] {
        if find_program(program).is_none() {
            skip(&format!("{backend}: {program} is not installed"));
            continue;
        }
        if is_out_of_reach(&world, backend) {
            continue;
        }
        let script = "id -u; touch /x; stat -c %u /x /bin; echo out > /dev/stdout; xargs < /proc/self/uid_map";
        let outcome = world.run(&["--rm", "--isolation", backend, "box", "sh", "-c", script]);
        if backend == "lxc" {
            assert_eq!(outcome.ok().text(), format!("0\n0\n0\nout\n0 {FIRST} 65536"), "{backend}");
        } else {
            outcome.refused(125, &["userns-remap", backend, "--userns host"]);
        }
    }
}

#[test]
fn a_daemon_does_the_same() {
    let world = remapped(Mode::Daemon);
    let id = world.start(&["-v", "vol:/data"], "touch /data/x /x; sleep 1000");
    assert_eq!(world.berth(&["exec", &id, "stat", "-c", "%u", "/x", "/data/x"]).ok().text(), "0\n0");
    std::fs::write(world.path("in"), "x").unwrap();
    world.berth(&["cp", &world.at("in"), &format!("{id}:/in")]).ok();
    assert_eq!(world.berth(&["exec", &id, "stat", "-c", "%u", "/in"]).ok().text(), "0");
    world.stop_daemon();
}
