//! Limits: what the control groups' files say, and that they bite.

use std::fs;

use crate::support::{World, host, skip};

/// The controller's file of a container, in whichever hierarchy has it.
fn group_file(id: &str, names: &[&str]) -> Option<String> {
    let mine = host::cgroups().into_iter().filter(|path| path.file_name().is_some_and(|name| *name == *id));
    let mut files = mine.flat_map(|path| names.iter().map(move |name| path.join(name)).collect::<Vec<_>>());
    files.find_map(|file| fs::read_to_string(file).ok()).map(|text| text.trim().to_owned())
}

fn has_controller(world: &World, name: &str) -> bool {
    let report = world.berth(&["doctor", "--format", "json"]).ok().json();
    let there = report["isolation"]["candidates"][0]["detail"]["controllers"]
        .as_array()
        .is_some_and(|list| list.iter().any(|found| found == name));
    if !there {
        skip(&format!("this host has no {name} controller"));
    }
    there
}

both! {
    fn too_much_memory_kills_and_is_said(world) {
        if has_controller(world, "memory") {
            // It keeps the last line in memory, and this one has no end.
            let outcome =
                world.run(&["--name", "one", "--memory", "16m", "--memory-swap", "16m", "box", "tail", "/dev/zero"]);
            assert_eq!(outcome.ended(137).out(), "");
            assert_eq!(world.inspect("one", "{{.State.OOMKilled}} {{.State.ExitCode}}"), "true 137");
            let events = world
                .berth(&["events", "--since", "0", "--until", "0s", "--filter", "event=oom", "--format", "{{.Action}}"])
                .ok();
            assert_eq!(events.text(), "oom");
            world.run(&["--name", "two", "--memory", "64m", "box", "sh", "-c", "exit 137"]).ended(137);
            assert_eq!(world.inspect("two", "{{.State.OOMKilled}}"), "false");
        }
    }

    fn the_memory_limit_stands_in_the_kernels_file(world) {
        if has_controller(world, "memory") {
            let id = world.start(&["--memory", "32m", "--memory-reservation", "16m"], "sleep 100");
            assert_eq!(group_file(&id, &["memory.limit_in_bytes", "memory.max"]).as_deref(), Some("33554432"));
            assert_eq!(group_file(&id, &["memory.soft_limit_in_bytes", "memory.low"]).as_deref(), Some("16777216"));
            assert_eq!(world.inspect(&id, "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}}"), "33554432 67108864");
            world.berth(&["update", "--memory", "48m", "--memory-swap", "-1", &id]).ok();
            assert_eq!(group_file(&id, &["memory.limit_in_bytes", "memory.max"]).as_deref(), Some("50331648"));
        }
    }

    fn the_number_of_processes_is_limited(world) {
        if has_controller(world, "pids") {
            let outcome = world.run(&[
                "--rm",
                "--pids-limit",
                "5",
                "box",
                "sh",
                "-c",
                "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait",
            ]);
            assert!(outcome.err().contains("fork"), "{outcome}");
            let id = world.start(&["--pids-limit", "7"], "sleep 100");
            assert_eq!(group_file(&id, &["pids.max"]).as_deref(), Some("7"));
            world.berth(&["update", "--pids-limit", "9", &id]).ok();
            assert_eq!(group_file(&id, &["pids.max"]).as_deref(), Some("9"));
        }
    }

    fn processor_limits_stand_in_the_kernels_files(world) {
        if has_controller(world, "cpu") {
            let id = world.start(&["--cpus", "0.5", "--cpu-shares", "512"], "sleep 100");
            match group_file(&id, &["cpu.max"]) {
                Some(max) => assert_eq!(max, "50000 100000"),
                None => {
                    assert_eq!(group_file(&id, &["cpu.cfs_quota_us"]).as_deref(), Some("50000"));
                    assert_eq!(group_file(&id, &["cpu.shares"]).as_deref(), Some("512"));
                }
            }
            world.berth(&["update", "--cpus", "0.25", &id]).ok();
            let now = group_file(&id, &["cpu.max", "cpu.cfs_quota_us"]).unwrap();
            assert!(now.starts_with("25000"), "{now}");
        }
        if has_controller(world, "cpuset") {
            let id = world.start(&["--cpuset-cpus", "0"], "sleep 100");
            assert_eq!(group_file(&id, &["cpuset.cpus"]).as_deref(), Some("0"));
            assert_eq!(world.berth(&["exec", &id, "nproc"]).ok().text(), "1");
        }
        world.run(&["--rm", "--cpus", "4000", "box", "true"]).ended(125);
    }

    fn resource_limits_are_set(world) {
        assert_eq!(world.sh(&["--ulimit", "nofile=100:200"], "ulimit -n; ulimit -Hn"), "100\n200");
        assert_eq!(world.sh(&["--ulimit", "core=0"], "ulimit -c"), "0");
        world.run(&["--rm", "--ulimit", "nofile=300:200", "box", "true"]).ended(125);
        world.run(&["--rm", "--ulimit", "nonsense=1", "box", "true"]).refused(125, &["nonsense"]);
    }

    fn sysctls_are_set_inside_only(world) {
        let before = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
        assert_eq!(
            world.sh(
                &["--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.msgmax=9000"],
                "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax"
            ),
            "1\n9000"
        );
        assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(), before);
        world.run(&["--rm", "--sysctl", "kernel.panic=1", "box", "true"]).refused(125, &["kernel.panic"]);
        world
            .run(&["--rm", "--network", "host", "--sysctl", "net.ipv4.ip_forward=1", "box", "true"])
            .refused(125, &["net.ipv4.ip_forward"]);
    }

    fn the_out_of_memory_score_is_set(world) {
        assert_eq!(world.sh(&["--oom-score-adj", "500"], "cat /proc/self/oom_score_adj"), "500");
        world.run(&["--rm", "--oom-score-adj", "5000", "box", "true"]).ended(125);
    }

    fn impossible_limits_are_refused(world) {
        for flags in [
            ["--memory", "-5"],
            ["--memory", "nonsense"],
            ["--cpu-shares", "-1"],
            ["--cpuset-cpus", "900"],
            ["--blkio-weight", "5"],
        ] {
            world.run(&["--rm", flags[0], flags[1], "box", "true"]).ended(125);
        }
        world.run(&["--rm", "--memory", "20m", "--memory-swap", "10m", "box", "true"]).refused(125, &["swap"]);
        assert_eq!(world.berth(&["ps", "-aq"]).ok().text(), "");
    }
}
