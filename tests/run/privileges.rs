//! Capabilities, seccomp, no new privileges, and what privileged means.

use std::fs;

use crate::support::{World, kernel, skip};

const NET_RAW: u64 = 1 << 13;
const SYS_ADMIN: u64 = 1 << 21;

fn capabilities(world: &World, flags: &[&str]) -> u64 {
    u64::from_str_radix(&world.sh(flags, "grep CapEff /proc/self/status | cut -f2"), 16).unwrap()
}

fn own() -> u64 {
    u64::from_str_radix(&kernel::status("CapPrm:").unwrap(), 16).unwrap()
}

/// How a process shows that no filter is its own: what is around berth, and what berth puts around itself (`berth doctor` says so).
fn unfiltered(world: &World) -> String {
    let report = world.berth(&["doctor", "--format", "json"]).ok().json();
    if report["warnings"].to_string().contains("run under a filter") {
        return "2".to_owned();
    }
    kernel::status("Seccomp:").unwrap_or_default()
}

both! {
    fn the_default_capabilities_are_dockers(world) {
        // Docker's fourteen, as far as this host's root has them.
        assert_eq!(capabilities(world, &[]), 0xa804_25fb & own());
        assert_eq!(
            world.sh(&[], "grep -c '^CapBnd:.*a80425fb' /proc/self/status"),
            if own() & 0xa804_25fb == 0xa804_25fb { "1" } else { "0" }
        );
    }

    fn capabilities_are_dropped_and_added(world) {
        assert_eq!(capabilities(world, &["--cap-drop", "ALL"]), 0);
        assert_eq!(capabilities(world, &["--cap-drop", "all", "--cap-add", "NET_RAW"]), NET_RAW);
        assert_eq!(capabilities(world, &["--cap-drop", "CAP_NET_RAW"]), 0xa804_25fb & own() & !NET_RAW);
        assert_eq!(capabilities(world, &["--cap-add", "sys_admin"]) & SYS_ADMIN, SYS_ADMIN);
        assert_eq!(capabilities(world, &["-u", "1000"]), 0, "an ordinary user has none in force");
        world.run(&["--rm", "--cap-add", "NONSENSE", "box", "true"]).refused(125, &["NONSENSE"]);
        world.run(&["--rm", "--cap-drop", "ALL", "box", "chown", "1", "/etc"]).refused(1, &["not permitted"]);
    }

    fn privileged_has_everything(world) {
        assert_eq!(capabilities(world, &["--privileged"]), own());
        let seen = world.sh(&["--privileged"], "grep Seccomp: /proc/self/status | cut -f2; mkdir /m && mount -t tmpfs none /m && echo mounted; test -w /proc/sys/kernel/hostname && echo open");
        assert_eq!(seen, format!("{}\nmounted\nopen", unfiltered(world)).trim_start());
        let devices = fs::read_dir("/dev").unwrap().count();
        let inside: usize = world.sh(&["--privileged"], "ls /dev | wc -l").parse().unwrap();
        assert!(inside + 10 > devices, "{inside} of {devices} device files");
    }

    fn the_default_filter_blocks_and_unconfined_does_not(world) {
        if !world.isolates("seccomp") {
            return;
        }
        let shown = kernel::status("Seccomp:");
        assert_eq!(world.sh(&[], "grep Seccomp: /proc/self/status | cut -f2"), if shown.is_some() { "2" } else { "" });
        // unshare(CLONE_NEWUSER) needs no capability, so that only the filter can refuse it.
        let line = "unshare -U true 2>/dev/null && echo made || echo refused";
        assert_eq!(world.sh(&[], line), "refused");
        assert_eq!(
            world.sh(&["--security-opt", "seccomp=unconfined"], "grep Seccomp: /proc/self/status | cut -f2"),
            unfiltered(world)
        );
        let outside = world.shell("unshare -U true").code == 0;
        assert_eq!(world.sh(&["--security-opt", "seccomp=unconfined"], line) == "made", outside);
    }

    fn a_profile_of_ones_own_is_applied(world) {
        if !world.isolates("seccomp") {
            return;
        }
        let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":95}]}"#;
        fs::write(world.path("profile.json"), profile).unwrap();
        let option = format!("seccomp={}", world.at("profile.json"));
        world.run(&["--rm", "--security-opt", &option, "box", "mkdir", "/x"]).refused(1, &["Operation not supported"]);
        world.run(&["--rm", "--security-opt", &option, "box", "touch", "/x"]).ok();
        fs::write(world.path("bad.json"), "{").unwrap();
        let bad = format!("seccomp={}", world.at("bad.json"));
        world.run(&["--rm", "--security-opt", &bad, "box", "true"]).refused(125, &["seccomp"]);
        world.run(&["--rm", "--security-opt", "seccomp=/no/such/file", "box", "true"]).refused(125, &["/no/such/file"]);
        world.run(&["--rm", "--security-opt", "nonsense=1", "box", "true"]).refused(125, &["nonsense"]);
    }

    /// berth's own process inside asks the kernel whether calls are there: what the profile answers is no reason to change it.
    fn the_init_adds_no_filter_to_a_profile_that_refuses_calls(world) {
        if !world.isolates("seccomp") || kernel::status("Seccomp_filters:").is_none() {
            return skip("there is no seccomp, or a process does not show how many filters it has (Linux 5.9)");
        }
        let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":1}]}"#;
        fs::write(world.path("profile.json"), profile).unwrap();
        let option = format!("seccomp={}", world.at("profile.json"));
        let filters = |flags: &[&str]| {
            let all = [flags, &["--cap-add", "SYS_ADMIN", "--security-opt", &option]].concat();
            world.sh(&all, "grep Seccomp_filters /proc/self/status | cut -f2")
        };
        assert_eq!(filters(&["--init"]), filters(&[]));
    }

    fn no_new_privileges_is_set_on_request(world) {
        if !world.isolates("no_new_privileges") {
            return;
        }
        if kernel::status("NoNewPrivs:").is_none() {
            return skip("before Linux 4.10 a process does not show that it gets no new privileges");
        }
        assert_eq!(world.sh(&[], "grep NoNewPrivs /proc/self/status | cut -f2"), "0");
        assert_eq!(
            world.sh(&["--security-opt", "no-new-privileges"], "grep NoNewPrivs /proc/self/status | cut -f2"),
            "1"
        );
    }

    fn nothing_of_the_engine_is_open_inside(world) {
        // 3 is ls's own.
        assert_eq!(world.sh(&[], "ls /proc/self/fd | xargs"), "0 1 2 3");
        assert_eq!(world.sh(&["-i"], "ls -l /proc/1/fd | grep -c -e '/var/tmp' -e berth; true"), "0");
    }
}
