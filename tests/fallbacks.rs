//! Every facility that can be pretended away, one at a time and together: the same scenario gives the same answers.

use berth_arch::pretend::FACILITIES;

use crate::support::user::Given;
use crate::support::{Mode, World, eventually, skip};
use std::time::Duration;

/// Those without which not all is the same: one protects, without the other the backend is another one (its tests are in
/// `backends`), without veth there are no networks (`networks::outside`), and the others have tests of their own
/// (`emulation`, `checkpoint`).
const UNLIKE: &[&str] = &["seccomp", "mount-namespace", "veth", "binfmt-misc", "compat", "criu", "qemu"];

/// What of the scenario needs control groups.
fn try_groups(world: &World, absent: &str) {
    let without = |name: &str| absent.split(',').any(|absent| absent == name);
    if without("cgroup") {
        world.berth(&["pause", "one"]).refused(1, &["cannot freeze"]);
        let warned = world.run(&["--rm", "--memory", "64m", "box", "true"]).ok();
        assert!(warned.err().contains("memory"), "{warned}");
    } else if !without("cgroup-v1") && !without("cgroup-v2") {
        world.berth(&["pause", "one"]).ok();
        world.berth(&["unpause", "one"]).ok();
        let count = world.berth(&["stats", "--no-stream", "--format", "{{.PIDs}}", "one"]).ok().text();
        assert!(count.parse::<u32>().unwrap() >= 1, "{count}");
    } else if world.berth(&["pause", "one"]).code == 0 {
        // What the other version gives depends on the host.
        world.berth(&["unpause", "one"]).ok();
    }
}

/// A life with everything that touches the kernel's newer calls.
fn scenario(world: &World, absent: &str) {
    world.set("BERTH_PRETEND_WITHOUT", absent);
    world.import_box();
    std::fs::write(world.path("in"), "from outside").unwrap();
    assert_eq!(
        world.sh(
            &["-e", "A=1", "-h", "inner", "--tmpfs", "/t", "--read-only"],
            "echo $A; hostname; echo $$; touch /t/x && ls /t"
        ),
        "1\ninner\n1\nx"
    );
    world.start(
        &["--name", "one", "-v", &format!("{}:/bound:ro", world.at("in")), "-w", "/tmp"],
        "trap 'exit 6' TERM; echo up; while :; do sleep 0.05; done",
    );
    eventually("it is up", Duration::from_secs(10), || world.berth(&["logs", "one"]).text() == "up");
    assert_eq!(world.berth(&["exec", "one", "sh", "-c", "cat /bound; pwd"]).ok().text(), "from outside/tmp");
    world.berth(&["exec", "one", "sh", "-c", "echo x > /bound"]).ended(1);
    world.berth(&["exec", "one", "no-such-program"]).ended(127);
    world.run(&["--rm", "box", "no-such-program"]).ended(127);
    assert_eq!(world.feed(&["exec", "-i", "one", "wc", "-c"], &[1; 100_000]).ok().text(), "100000");
    world.berth(&["cp", &world.at("in"), "one:/tmp/copied"]).ok();
    world
        .berth(&[
            "exec",
            "one",
            "sh",
            "-c",
            "mkdir /made; ln -s /etc /made/link; rm /etc/group; truncate -s 1M /made/sparse",
        ])
        .ok();
    assert_eq!(world.shell("berth cp one:/tmp/copied - | tar -xO").ok().text(), "from outside");
    let mut changes = world.berth(&["diff", "one"]).ok().lines();
    // Another test says what the engine's own files have to look like here.
    changes.retain(|line| !["/bound", "/etc/host", "/etc/resolv.conf"].iter().any(|name| line.contains(name)));
    changes.sort();
    assert_eq!(
        changes,
        ["A /made", "A /made/link", "A /made/sparse", "A /tmp/copied", "C /etc", "C /tmp", "D /etc/group"]
    );
    try_groups(world, absent);
    try_port(world);
    assert!(world.berth(&["top", "one"]).ok().lines().len() >= 2);
    world.berth(&["stop", "one"]).ok();
    assert_eq!(world.inspect("one", "{{.State.ExitCode}}"), "6");
    world.berth(&["commit", "one", "made"]).ok();
    assert_eq!(
        world
            .run(&[
                "--rm",
                "made",
                "sh",
                "-c",
                "readlink /made/link; cat /tmp/copied; ls /etc/group 2>/dev/null; stat -c %s /made/sparse"
            ])
            .ended(0)
            .text(),
        "/etc\nfrom outside1048576"
    );
    world.shell("berth save made > made.tar && berth rmi made && berth load < made.tar && berth export one | tar -t > /dev/null").ok();
    world.start(&["--name", "deaf"], "trap '' TERM; setsid sleep 1000 & while :; do sleep 0.05; done");
    world.berth(&["rm", "-f", "deaf"]).ok();
    world.run(&["--rm", "box", "sh", "-c", "sleep 1000 & setsid sleep 1000 & exit 3"]).ended(3);
    world.run(&["--rm", "box", "sh", "-c", "unshare -U true 2>/dev/null"]).ended(1);
}

/// A published port answers, whichever way packets go.
fn try_port(world: &World) {
    let serve = "mkdir /www && echo hello > /www/index.html && exec httpd -f -p 80 -h /www";
    world.start(&["--name", "web", "-p", "127.0.0.1:8080:80", "-p", "8081:80"], serve);
    for port in [8080, 8081] {
        let got = format!(
            "for i in $(seq 50); do busybox wget -qO- http://127.0.0.1:{port}/ && exit; sleep 0.1; done; exit 1"
        );
        assert_eq!(world.shell(&got).ok().text(), "hello", "{port}");
    }
    world.berth(&["rm", "-f", "web"]).ok();
}

fn try_without(absent: &str) {
    let world = World::bare(Mode::Embedded);
    // Only vfs copies files.
    let copies = ["copy_file_range", "reflink"].contains(&absent);
    scenario(&world, &if copies { format!("{absent},overlay,fuse") } else { absent.to_owned() });
}

/// The same of an ordinary user, who has no groups to begin with.
#[test]
fn without_root_too() {
    for absent in [
        "cgroup",
        "cgroup,clone3,pidfd,close_range,openat2",
        "cgroup,mount-api,pivot_root",
        "cgroup,overlay,fuse,reflink,copy_file_range",
        "cgroup,overlay-lowerdir+,overlay-multi-lower",
        "cgroup,splice,mmsg,memfd,nowait",
    ] {
        let Some(world) = World::bare_of_user(Mode::Embedded, Given::Ranges) else { return };
        scenario(&world, absent);
    }
}

macro_rules! without {
    ($($name:ident: $facility:literal)*) => {
        /// The facilities that have a test here.
        const TESTED: &[&str] = &[$($facility),*];
        $(#[test] fn $name() { try_without($facility); })*
    };
}

without! {
    no_aufs: "aufs"
    no_btrfs: "btrfs"
    no_btrfs_search: "btrfs-search"
    no_cgroups: "cgroup"
    no_cgroup_v1: "cgroup-v1"
    no_cgroup_v2: "cgroup-v2"
    no_cgroup_kill: "cgroup-kill"
    no_clone3: "clone3"
    no_close_range: "close_range"
    no_copy_file_range: "copy_file_range"
    no_deferred_removal: "deferred-remove"
    no_nodes_of_the_kernel: "devtmpfs"
    no_fuse: "fuse"
    no_fuse_passthrough: "fuse-passthrough"
    no_mapped_owners: "idmap"
    no_iptables_legacy: "iptables-legacy"
    no_iptables_over_nf_tables: "iptables-nft"
    no_lvm: "lvm"
    no_files_in_memory: "memfd"
    no_messages_in_groups: "mmsg"
    no_mount_api: "mount-api"
    no_nf_tables: "nft"
    no_reads_without_waiting: "nowait"
    no_openat2: "openat2"
    no_overlay: "overlay"
    no_layers_one_by_one: "overlay-lowerdir+"
    no_second_lower_layer: "overlay-multi-lower"
    no_packet_socket: "packet-socket"
    no_pidfd: "pidfd"
    no_pivot_root: "pivot_root"
    no_reflink: "reflink"
    no_way_into_namespaces: "setns"
    no_splice: "splice"
    no_statx: "statx"
    no_userns: "userns"
    no_wal: "wal"
    no_zfs: "zfs"
}

/// What comes after overlay, one by one.
#[test]
fn no_overlay_and_less_and_less_besides() {
    for absent in ["overlay,fuse-passthrough", "overlay,fuse"] {
        scenario(&World::bare(Mode::Embedded), absent);
    }
}

#[test]
fn every_facility_has_a_test() {
    let known = |name: &&str| TESTED.contains(name) || UNLIKE.contains(name);
    let missing: Vec<&str> = FACILITIES.iter().copied().filter(|name| !known(name)).collect();
    assert!(missing.is_empty(), "no test pretends these away: {missing:?}");
}

#[test]
fn everything_newer_at_once() {
    let all: Vec<&str> = TESTED.iter().copied().filter(|name| *name != "cgroup-v1").collect();
    try_without(&all.join(","));
}

#[test]
fn an_old_kernel_with_control_groups() {
    try_without(
        "cgroup-v2,cgroup-kill,clone3,close_range,copy_file_range,mount-api,openat2,overlay-multi-lower,pidfd,reflink,\
         statx,userns",
    );
}

#[test]
fn what_protects_is_missed_aloud_and_refused_when_asked_for() {
    let world = World::bare(Mode::Embedded);
    world.set("BERTH_PRETEND_WITHOUT", "seccomp");
    world.import_box();
    // As Docker does, it runs without the default policy; it says so.
    let outcome = world.run(&["--rm", "--network", "none", "box", "true"]).ok();
    assert!(outcome.err().contains("WARNING") && outcome.err().contains("seccomp"), "{outcome}");
    world.run(&["--rm", "--network", "none", "--security-opt", "seccomp=unconfined", "box", "true"]).ok();
    std::fs::write(world.path("profile.json"), r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#).unwrap();
    let option = format!("seccomp={}", world.at("profile.json"));
    world.run(&["--rm", "--security-opt", &option, "box", "true"]).refused(125, &["seccomp"]);
    let config = world.at("berth.toml");
    std::fs::write(&config, "strict = true\n").unwrap();
    world.berth(&["--config", &config, "run", "--rm", "box", "true"]).refused(125, &["seccomp"]);
    assert_eq!(world.berth(&["ps", "-aq"]).ok().text(), "");
}

#[test]
fn unknown_names_are_refused() {
    let world = World::bare(Mode::Embedded);
    let outcome = world.with(&[("BERTH_PRETEND_WITHOUT", "openat2,nonsense")], &["info"]);
    outcome.refused(1, &["nonsense", "openat2", "clone3"]);
}

#[test]
fn an_old_state_is_read_with_and_without() {
    // What one engine wrote with everything there, another reads without, and the other way round.
    let world = World::new(Mode::Embedded);
    world.run(&["--name", "one", "box", "sh", "-c", "echo x > /x"]).ok();
    let old = "clone3,close_range,copy_file_range,mount-api,openat2,pidfd,reflink,statx,wal";
    let without = |arguments: &[&str]| world.with(&[("BERTH_PRETEND_WITHOUT", old)], arguments).ok();
    without(&["commit", "one", "made"]);
    without(&["start", "one"]);
    assert_eq!(world.run(&["--rm", "made", "cat", "/x"]).ok().text(), "x");
    let id = world.start(&["--name", "two"], "sleep 1000");
    assert_eq!(without(&["exec", "two", "cat", "/proc/1/cmdline"]).text().replace('\0', " ").trim(), "sleep 1000");
    without(&["stop", "-t", "0", &id]);
    let asked = without(&["--storage-driver", "overlay", "info"]).text();
    if asked.is_empty() {
        skip("no information");
    }
}
