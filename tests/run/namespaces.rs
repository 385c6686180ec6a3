//! What is a container's own, and what it shares when asked to.

use std::fs;

use crate::support::World;

fn own(kind: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string()
}

/// Of a container that runs, as it is seen from outside: kernels before 3.8 show no such names inside.
fn of(world: &World, name: &str, kind: &str) -> String {
    let pid = world.inspect(name, "{{.State.Pid}}");
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().display().to_string()
}

both! {
    fn everything_is_its_own_by_default(world) {
        world.start(&["--name", "one"], "sleep 1000");
        for kind in ["pid", "mnt", "uts", "ipc", "net"] {
            assert_ne!(of(world, "one", kind), own(kind), "{kind}");
        }
        assert_eq!(world.sh(&[], "echo $$; ls /sys/class/net | xargs"), "1\neth0 lo");
    }

    fn network_none_has_loopback_only_and_it_is_up(world) {
        let seen = world.sh(
            &["--network", "none"],
            "ls /sys/class/net; ip -o addr show lo; ping -c1 -W2 127.0.0.1 >/dev/null && echo answers",
        );
        assert!(seen.starts_with("lo\n") && seen.contains("127.0.0.1/8") && seen.ends_with("answers"), "{seen}");
    }

    fn network_host_is_the_hosts(world) {
        let hosts = world.net().within(|| fs::read_link("/proc/thread-self/ns/net").unwrap());
        world.start(&["--name", "one", "--network", "host"], "sleep 1000");
        assert_eq!(of(world, "one", "net"), hosts.display().to_string());
        assert_eq!(
            world.sh(&["--network=host"], "hostname"),
            fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim()
        );
    }

    fn containers_share_namespaces_on_request(world) {
        world.start(&["--name", "first", "--ipc", "shareable", "-h", "one"], "touch /dev/shm/shared; sleep 100");
        let mut shared = vec![("--network", "net"), ("--ipc", "ipc")];
        if world.facility("setns") {
            shared.push(("--pid", "pid"));
            assert!(world.sh(&["--pid", "container:first"], "ps").contains("sleep 100"));
        } else {
            let refused = world.run(&["--rm", "--pid", "container:first", "box", "true"]);
            refused.refused(125, &["pid namespace", "3.8"]);
        }
        for (flag, name) in shared {
            world.start(&["--name", name, flag, "container:first"], "sleep 1000");
            assert_eq!(of(world, name, name), of(world, "first", name));
        }
        assert_eq!(world.sh(&["--ipc", "container:first"], "ls /dev/shm"), "shared");
        world.run(&["--rm", "--pid", "container:nobody", "box", "true"]).refused(125, &["nobody"]);
        world.berth(&["stop", "-t", "0", "first"]).ok();
        world.run(&["--rm", "--network", "container:first", "box", "true"]).refused(125, &["non running container"]);
    }

    fn pid_host_sees_the_hosts_processes(world) {
        world.start(&["--name", "one", "--pid", "host"], "sleep 1000");
        assert_eq!(of(world, "one", "pid"), own("pid"));
        let seen = world.sh(&["--pid", "host"], "cat /proc/[0-9]*/comm | wc -l");
        assert!(seen.parse::<usize>().unwrap() > 5, "{seen}");
    }

    fn uts_and_ipc_host(world) {
        world.start(&["--name", "one", "--uts", "host", "--ipc", "host"], "sleep 1000");
        assert_eq!((of(world, "one", "uts"), of(world, "one", "ipc")), (own("uts"), own("ipc")));
    }

    fn a_child_that_outlives_its_container_does_not_exist(world) {
        world
            .run(&[
                "--rm",
                "box",
                "sh",
                "-c",
                "setsid sleep 1234.5 & setsid sh -c 'sleep 1234.5 & sleep 1234.5' & exit 0",
            ])
            .ok();
        let outside = world
            .shell(
                "for f in /proc/[0-9]*; do tr '\\0' ' ' < $f/cmdline 2>/dev/null | grep -x 'sleep 1234.5 '; done; true",
            )
            .ok();
        assert_eq!(outside.text(), "");
    }
}
