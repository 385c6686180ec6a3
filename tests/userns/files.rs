//! Whose files are whose, from inside and from outside.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use super::{FIRST, FIRST_GROUP, both_ways, owner};
use crate::support::World;

/// Names and owners of an archive that a command line writes.
fn listed(world: &World, line: &str) -> Vec<String> {
    let lines = world.shell(&format!("{line} | tar -tv --numeric-owner")).ok().lines();
    let fields = |line: String| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        format!("{} {}", fields[1], fields[5])
    };
    lines.into_iter().map(fields).collect()
}

fn has(lines: &[String], wanted: &[&str]) {
    for line in wanted {
        assert!(lines.iter().any(|found| found == line), "{line} is missing in {lines:?}");
    }
}

both_ways! {
    fn root_inside_is_somebody_outside(world) {
        assert_eq!(world.sh(&[], "id -u; id -g; xargs < /proc/self/uid_map"), format!("0\n0\n0 {FIRST} 65536"));
        let id = world.start(&["-u", "1000:29"], "sleep 1000");
        let pid = world.inspect(&id, "{{.State.Pid}}");
        assert_eq!(owner(format!("/proc/{pid}")), (FIRST + 1000, FIRST_GROUP + 29));
        let line = format!("{FIRST} ");
        let top = world.berth(&["exec", "-d", &id, "sleep", "1001"]).ok();
        assert_eq!(top.text(), "");
        assert_eq!(world.berth(&["exec", "-u", "0", &id, "sh", "-c", "id -u; touch /root/x && stat -c %u /root/x"]).ok().text(), "0\n0");
        assert_eq!(world.berth(&["exec", &id, "id", "-u"]).ok().text(), "1000");
        let top = world.berth(&["top", &id, "-eo", "uid,args"]).ok().text();
        assert!(top.contains(&format!("{}", FIRST + 1000)) && !top.contains(&line), "{top}");
        assert_eq!(world.sh(&["--userns", "host"], "xargs < /proc/self/uid_map"), "0 0 4294967295");
    }

    fn the_hosts_files_are_not_root_insides(world) {
        let shared = world.path("shared");
        fs::create_dir(&shared).unwrap();
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).unwrap();
        fs::write(shared.join("secret"), "secret").unwrap();
        fs::set_permissions(shared.join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(shared.join("read"), "read").unwrap();
        let bind = format!("{}:/shared", world.at("shared"));
        let said = world.sh(
            &["-v", &bind],
            "stat -c %u /shared/secret; cat /shared/secret; echo x >> /shared/read; chown 0 /shared/read; cat /shared/read;
             touch /shared/made; cp /bin/busybox /shared/suid; chmod 4755 /shared/suid; mknod /shared/disk b 8 0 || echo held",
        );
        assert_eq!(said, "65534\nreadheld");
        assert_eq!(fs::read(shared.join("read")).unwrap(), b"read");
        // A setuid program of root's inside is nobody's who counts on the host.
        assert_eq!((owner(shared.join("made")), owner(shared.join("suid"))), ((FIRST, FIRST_GROUP), (FIRST, FIRST_GROUP)));
        chown(shared.join("secret"), Some(FIRST), Some(FIRST_GROUP)).unwrap();
        assert_eq!(world.sh(&["-v", &bind], "cat /shared/secret"), "secret");
    }

    fn what_is_made_for_the_container_is_its_roots(world) {
        let script = "stat -c %u:%g / /etc /etc/hosts /etc/resolv.conf /etc/hostname /dev/shm /tmpfs /dev/pts | sort -u;
            echo x >> /etc/hosts; touch /tmpfs/x /dev/shm/x /new; ls /dev/mqueue; cat /proc/sys/net/ipv4/ping_group_range | xargs;
            test -c /dev/null -a -c /dev/urandom && echo devices; cat /proc/sys/kernel/msgmax; echo out > /dev/stdout; echo err > /dev/stderr";
        let flags = ["--tmpfs", "/tmpfs", "--sysctl", "kernel.msgmax=1234"];
        let outcome = world.run(&[&["--rm"], &flags[..], &["box", "sh", "-c", script]].concat()).ok();
        assert_eq!(outcome.text(), "0:0\n0 65535\ndevices\n1234\nout");
        assert_eq!(outcome.err().trim(), "err");
        assert_eq!(world.sh(&["-u", "1000"], "echo out > /dev/stdout; touch /home/x 2>/dev/null || echo no"), "out\nno");
        world.run(&["--rm", "--device", "/dev/zero:/dev/mine", "box", "head", "-c", "3", "/dev/mine"]).ok();
        world.run(&["--rm", "--read-only", "box", "touch", "/x"]).ended(1);
        assert_eq!(world.sh(&["--ipc", "shareable", "-m", "64m", "--init"], "touch /dev/shm/x && stat -c %u /dev/shm"), "0");
        world.shell("echo in | berth run --rm -i box cat").ok();
    }

    fn volumes_are_filled_for_its_users(world) {
        world.shell("berth run --name make box sh -c 'mkdir /data; echo x > /data/f; chown 5:6 /data/f; chown 1000 /data'").ok();
        world.berth(&["commit", "make", "filled"]).ok();
        world.berth(&["rm", "make"]).ok();
        let run = |image: &str, at: &str, script: &str| {
            world.run(&["--rm", "-v", &format!("vol-{image}:{at}"), image, "sh", "-c", script]).ok().text()
        };
        assert_eq!(run("filled", "/data", "stat -c %u:%g /data /data/f; touch /data/new"), "1000:0\n5:6");
        assert_eq!(run("box", "/nothing", "stat -c %u:%g /nothing; touch /nothing/new; stat -c %u /nothing/new"), "0:0\n0");
        let data = |volume: &str, name: &str| world.root().join("volumes").join(volume).join("_data").join(name);
        assert_eq!(owner(data("vol-filled", "")), (FIRST + 1000, FIRST_GROUP));
        assert_eq!(owner(data("vol-filled", "f")), (FIRST + 5, FIRST_GROUP + 6));
        assert_eq!(owner(data("vol-box", "new")), (FIRST, FIRST_GROUP));
        world.berth(&["volume", "create", "empty"]).ok();
        assert_eq!(owner(data("empty", "")), (FIRST, FIRST_GROUP));
    }

    fn files_go_in_and_out_by_the_containers_numbers(world) {
        let make = "mkdir /d; echo x > /d/f; chown 5:6 /d/f; chmod 6755 /d/f; ln /d/f /d/g; ln -s f /d/l; rm /etc/group; sleep 1000";
        let id = world.start(&["--name", "one"], make);
        world.until_status("one", "running");
        world.shell("until berth diff one | grep -q 'D /etc/group'; do sleep 0.1; done").ok();
        let expected = ["0/0 d/", "5/6 d/f", "5/6 d/g", "0/0 d/l"];
        let bytes = "echo from outside > in; chown 1000:29 in; chmod 640 in";
        world.shell(bytes).ok();
        for running in [true, false] {
            has(&listed(world, "berth cp one:/d -"), &expected);
            has(&listed(world, "berth export one"), &expected);
            let (name, archived) = (format!("in-{running}"), format!("kept-{running}"));
            world.berth(&["cp", &world.at("in"), &format!("one:/d/{name}")]).ok();
            world.berth(&["cp", "-a", &world.at("in"), &format!("one:/d/{archived}")]).ok();
            has(&listed(world, "berth cp one:/d -"), &[&format!("0/0 d/{name}"), &format!("1000/29 d/{archived}")]);
            if running {
                let look = format!("stat -c %u:%g /d/{name} /d/{archived}; cat /d/{archived}");
                assert_eq!(world.berth(&["exec", "one", "sh", "-c", &look]).ok().text(), "0:0\n1000:29\nfrom outside");
                world.berth(&["stop", "-t", "0", "one"]).ok();
            }
        }
        // Whom the container does not have cannot own a file in it.
        world.shell("touch far; chown 70000 far").ok();
        let far = world.berth(&["cp", "-a", &world.at("far"), "one:/d/far"]);
        assert!(far.code != 0 && far.err().contains("70000:0"), "{far}");

        let mut changes = world.berth(&["diff", "one"]).ok().lines();
        changes.retain(|line| !line.contains("in-") && !line.contains("kept-"));
        changes.sort();
        assert_eq!(changes, ["A /d", "A /d/f", "A /d/g", "A /d/l", "C /etc", "D /etc/group"]);
        world.berth(&["commit", "one", "made"]).ok();
        // The image is as any other: the host's root sees the numbers of the container's.
        let look = "stat -c %u:%g:%a /d/f /d/kept-false; ls /etc/group 2>&1 | wc -l; stat -c %u /bin/busybox";
        for flags in [&["--userns", "host"][..], &[]] {
            let said = world.run(&[&["--rm"], flags, &["made", "sh", "-c", look]].concat()).ok().text();
            assert_eq!(said, "5:6:6755\n1000:29:640\n1\n0", "{flags:?}");
        }
        world.shell("berth save made | berth load").ok();
        assert!(world.berth(&["inspect", &id]).ok().text().contains(&format!("u:0:{FIRST}:65536")));
        world.berth(&["start", "one"]).ok();
        assert_eq!(world.berth(&["exec", "one", "stat", "-c", "%u", "/d/f"]).ok().text(), "5");
    }

    fn a_file_of_nobody_inside(world) {
        let made = world.run(&["--userns", "host", "--name", "far", "box", "sh", "-c", "touch /far; chown 70000 /far"]);
        made.ok();
        world.berth(&["commit", "far", "far"]).ok();
        let outcome = world.run(&["--rm", "far", "stat", "-c", "%u", "/far"]);
        if outcome.code == 0 {
            assert_eq!(outcome.text(), "65534");
        } else {
            outcome.refused(125, &["far: its owner 70000:0 is not among"]);
        }
        assert_eq!(world.berth(&["ps", "-aq"]).ok().lines().len(), 1);
        world.berth(&["system", "check"]).ok();
    }
}
