//! Containers that mean harm to the host or to the runtime.

use std::fs;
use std::process::Command;

use serde_json::json;

use super::Oci;
use crate::support::call::{Background, call};
use crate::support::world::LIMIT;
use crate::support::{kernel, program};

/// A container whose program is berth's own file, by the name that the kernel has for it (CVE-2019-5736).
fn running_berth(oci: &Oci, id: &str, without: &str) -> Background {
    let bundle = oci.bundle(id, "true", |config| {
        // Reads standard input, which stays open.
        config["process"]["args"] = json!(["/proc/self/exe", "oci", "update", "--resources", "-", "none"]);
    });
    let mut command = oci.command(&["run", "--bundle", &bundle, id]);
    command.env("BERTH_PRETEND_WITHOUT", without);
    let running = Background::start(command);
    oci.until_status(id, "running");
    running
}

#[test]
fn berths_own_file_cannot_be_written_from_inside() {
    if kernel::lacks("file in memory that can be sealed", (3, 17)) {
        return;
    }
    let oci = Oci::new();
    let before = fs::read(program()).unwrap();
    // What is shown instead is read-only in itself, not only while it runs; where it cannot be mounted, it is a copy.
    let mounted = ("mounted", "", "Read-only file system");
    let sealed = ("sealed", "mount-api", "Text file busy");
    for (id, without, words) in [mounted, sealed].into_iter().skip(usize::from(!oci.world.facility("mount-api"))) {
        let running = running_berth(&oci, id, without);
        let said = oci.call(&["exec", id, "sh", "-c", "echo harm > /proc/1/exe"]);
        said.refused(1, &[words]);
        let shown = oci.call(&["exec", id, "readlink", "/proc/1/exe"]).ok().text();
        assert_eq!(shown.starts_with("/memfd:"), id == "sealed", "{shown}");
        oci.call(&["kill", id, "KILL"]).ok();
        running.wait(LIMIT).ended(137);
    }
    assert_eq!(fs::read(program()).unwrap(), before);
}

#[test]
fn links_in_a_root_lead_nowhere_outside() {
    let oci = Oci::new();
    let target = oci.world.path("outside");
    fs::create_dir(&target).unwrap();
    let bundle = oci.bundle("links", "cat /etc/made; ls /tmp", |config| {
        for place in ["/etc", "/tmp/deep/er"] {
            let mount = json!({ "destination": place, "type": "tmpfs", "source": "tmpfs" });
            config["mounts"].as_array_mut().unwrap().push(mount);
        }
    });
    let root = oci.world.path("links/rootfs");
    for name in ["etc", "tmp"] {
        fs::remove_dir_all(root.join(name)).unwrap();
        std::os::unix::fs::symlink(&target, root.join(name)).unwrap();
    }
    oci.call(&["run", "--bundle", &bundle, "links"]);
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains("links/rootfs") && !mounts.contains("outside"), "{mounts}");
}

#[test]
fn a_program_in_a_hostile_container_is_not_misled() {
    if kernel::lacks("way into a container", (3, 8)) {
        return;
    }
    let oci = Oci::new();
    oci.started("hostile", "busybox mount -t tmpfs none /proc; busybox ln -s / /proc/self; busybox mkdir /proc/1; echo up > /shared/up; sleep 1000", |config| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set].as_array_mut().unwrap().push(json!("CAP_SYS_ADMIN"));
        }
    });
    oci.until_shared("up");
    let said = oci.call(&["exec", "hostile", "sh", "-c", "echo fine; id -u"]).ok().out();
    assert_eq!(said, "fine\n0\n");
    oci.call(&["exec", "--cwd", "/proc/self/root/proc/1/root", "hostile", "true"]);
    assert_eq!(oci.status("hostile"), "running");
}

#[test]
fn hundreds_of_orphans_are_gone_with_their_container() {
    let oci = Oci::new();
    let script =
        "i=0; while [ $i -lt 300 ]; do (sh -c 'sleep 1000' &) ; i=$((i+1)); done; echo up > /shared/up; sleep 1000";
    oci.started("many", script, |_| {});
    oci.until_shared("up");
    let pids: Vec<i64> = serde_json::from_value(oci.call(&["ps", "--format", "json", "many"]).ok().json()).unwrap();
    assert!(pids.len() > 300, "{}", pids.len());
    oci.call(&["delete", "--force", "many"]).ok();
    let alive = |pid: &&i64| {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.starts_with("sleep\0")
    };
    assert_eq!(pids.iter().filter(alive).count(), 0);
}

#[test]
fn a_user_namespaces_root_runs_containers() {
    if crate::support::find_program("unshare").is_none() {
        return crate::support::skip("there is no unshare here");
    }
    let oci = Oci::new();
    let bundle = oci.bundle("mapped", "id -u; cat /proc/self/uid_map", |_| {});
    let run = || {
        let mut command = Command::new("unshare");
        oci.world.surround(&mut command);
        command
            .args(["--user", "--map-root-user"])
            .arg(program())
            .arg("oci")
            .arg("--root")
            .arg(oci.world.path("users"));
        command.args(["run", "--bundle", &bundle, "mapped"]);
        call(command, &[], LIMIT)
    };
    let outcome = run();
    if outcome.err().contains("unshare") {
        return crate::support::skip("this host makes no user namespaces");
    }
    let said = outcome.ok().lines();
    assert_eq!(said[0], "0");
    assert_eq!(said[1].split_whitespace().collect::<Vec<_>>(), ["0", "0", "1"]);
}
