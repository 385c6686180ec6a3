//! The local driver's options.

use crate::support::kernel;
use std::fs;

both! {
    fn a_folder_of_the_host_can_be_a_volume(world) {
        fs::create_dir(world.path("host")).unwrap();
        fs::write(world.path("host/f"), "host").unwrap();
        let device = format!("device={}", world.at("host"));
        world.berth(&["volume", "create", "-o", "type=none", "-o", &device, "-o", "o=bind", "vv"]).ok();
        assert_eq!(world.sh(&["-v", "vv:/x"], "cat /x/f; echo new > /x/new"), "host");
        assert!(world.path("host/new").exists());
        assert_eq!(world.berth(&["volume", "inspect", "-f", "{{.Options.o}}", "vv"]).ok().text(), "bind");
        // Filled like any other while it is empty.
        fs::create_dir(world.path("empty")).unwrap();
        let device = format!("volume-opt=device={}", world.at("empty"));
        let mount = format!("src=ww,dst=/etc,volume-opt=type=none,\"volume-opt=o=bind\",{device}");
        world.sh(&["--mount", &mount], "true");
        assert!(world.path("empty/passwd").is_file());
        assert!(!fs::read_dir(world.path("empty")).unwrap().flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(".berth")));
        // Removing the volume leaves the folder.
        world.berth(&["volume", "rm", "vv", "ww"]).ok();
        assert!(world.path("host/f").exists() && world.path("empty/passwd").exists());
        let gone = format!("device={}", world.at("gone"));
        world.berth(&["volume", "create", "-o", "type=none", "-o", &gone, "-o", "o=bind", "gg"]).ok();
        world.run(&["--rm", "-v", "gg:/x", "box", "true"]).ended(125);
    }

    fn a_tmpfs_is_mounted_with_its_options_and_ends_with_the_container(world) {
        world.berth(&["volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,uid=1000", "tt"]).ok();
        let seen = world.sh(&["-v", "tt:/x"], "grep ' /x ' /proc/mounts; stat -c %u /x; touch /x/f");
        assert!(seen.contains("tmpfs") && seen.contains("size=1024k") && seen.ends_with("1000"), "{seen}");
        assert_eq!(world.sh(&["-v", "tt:/x"], "ls /x"), "");
        world.run(&["--rm", "-v", "tt:/x:ro", "box", "touch", "/x/f"]).refused(1, &["Read-only"]);
        // The host sees nothing of it, and a running container's is reached.
        world.start(&["--name", "cc", "-v", "tt:/x"], "echo live > /x/f; sleep 100");
        crate::support::eventually("cp finds the file", crate::support::world::LIMIT, || {
            world.berth(&["cp", "cc:/x/f", "-"]).out().contains("live")
        });
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(world.root().to_str().unwrap()), "{mounts}");
    }

    fn any_file_system_is_filled_looked_into_and_mounted_in_part(world) {
        if kernel::lacks("overlay", (3, 18)) {
            return;
        }
        for name in ["low", "up", "work"] {
            fs::create_dir(world.path(name)).unwrap();
        }
        let layers = format!("o=lowerdir={},upperdir={},workdir={}", world.at("low"), world.at("up"), world.at("work"));
        world.berth(&["volume", "create", "-o", "type=overlay", "-o", "device=overlay", "-o", &layers, "lay"]).ok();
        assert!(world.sh(&["-v", "lay:/etc"], "cat /etc/passwd; grep -c ' /etc overlay' /proc/mounts").ends_with("\n1"));
        assert!(world.path("up/passwd").is_file());
        assert!(!fs::read_dir(world.path("up")).unwrap().flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(".berth")));
        world.sh(&["-v", "lay:/x"], "mkdir /x/part; echo deep > /x/part/f; ln -s /etc /x/out");
        assert_eq!(world.sh(&["--mount", "src=lay,dst=/x,volume-subpath=part"], "ls /x; cat /x/f"), "f\ndeep");
        world.run(&["--rm", "--mount", "src=lay,dst=/x,volume-subpath=out", "box", "true"]).ended(125);
        world.run(&["--name", "cc", "--mount", "src=lay,dst=/x,volume-subpath=part", "-v", "lay:/whole", "box", "true"]).ok();
        assert!(world.berth(&["cp", "cc:/x/f", "-"]).ok().out().contains("deep"));
        assert!(world.berth(&["cp", "cc:/whole/part/f", "-"]).ok().out().contains("deep"));
        // A restart mounts it again.
        assert_eq!(world.berth(&["start", "-a", "cc"]).ok().code, 0);
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(world.root().to_str().unwrap()), "{mounts}");
    }

    fn a_file_system_that_cannot_be_mounted_is_named(world) {
        world.berth(&["volume", "create", "-o", "type=ext4", "-o", "device=/dev/no-such", "bad"]).ok();
        world.run(&["-d", "--name", "cc", "-v", "bad:/x", "box", "true"]).refused(125, &["/dev/no-such"]);
        world.berth(&["volume", "create", "-o", "type=nfs", "-o", "device=:/x", "-o", "o=addr=no-such-host.invalid", "nfs"]).ok();
        world.run(&["--rm", "-v", "nfs:/x:nocopy", "box", "true"]).refused(125, &["error resolving passed in network volume address"]);
    }

    fn options_that_mean_nothing_are_refused(world) {
        let create = |options: &[&str]| {
            let words: Vec<&str> = options.iter().flat_map(|option| ["-o", *option]).collect();
            world.berth(&[&["volume", "create"], words.as_slice(), &["vv"]].concat())
        };
        create(&["colour=red"]).refused(1, &["create vv: invalid option: \"colour\""]);
        create(&["type=tmpfs"]).refused(1, &["missing required option: \"device\""]);
        create(&["o=bind"]).refused(1, &["missing required option"]);
        create(&["size=1g"]).refused(1, &["no quota support"]);
        assert_eq!(world.berth(&["volume", "ls", "-q"]).ok().text(), "");
    }
}
