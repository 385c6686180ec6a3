use crate::support::image::{Member, archive, file};
use crate::support::user::Given;
use crate::support::{Mode, World, kernel};

/// A file of somebody else's.
fn foreign(owner: &str) -> Vec<u8> {
    let mut bytes = file("foreign", b"x").bytes();
    bytes[108..116].copy_from_slice(format!("{owner}\0").as_bytes());
    bytes[148..156].copy_from_slice(b"        ");
    let sum: u32 = bytes[..512].iter().map(|byte| u32::from(*byte)).sum();
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    bytes.extend_from_slice(&archive(&[] as &[Member<'_>]));
    bytes
}

fn alone(given: Given, why: &str) {
    let Some(world) = World::of_user(Mode::Embedded, given) else { return };
    assert_eq!(world.sh(&[], "id -u; cat /proc/self/gid_map | wc -l; echo $$"), "0\n1\n1");
    world.run(&["--rm", "--user", "1000", "box", "true"]).refused(125, &["user 1000", "/etc/subuid", "uidmap"]);
    world.run(&["--rm", "--group-add", "29", "box", "true"]).refused(125, &["group 29", "/etc/subgid"]);
    // 1000 in octal: what belongs to nobody who is there is root's, and that is said.
    world.feed(&["import", "-", "foreign"], &foreign("0001750")).ok();
    world.start(&["--name", "one"], "exec sleep 1000");
    world.feed(&["cp", "-", "one:/tmp"], &foreign("0001750")).ok();
    assert_eq!(world.berth(&["exec", "one", "stat", "-c", "%u", "/tmp/foreign"]).ok().text(), "0");
    let info = world.berth(&["info"]).ok();
    assert!(info.err().contains(why), "{info}");
    assert!(world.berth(&["doctor"]).err().contains(why));
    assert_eq!(world.berth(&["commit", "one", "again"]).code, 0);
    assert_eq!(world.run(&["--rm", "again", "id", "-u"]).ok().text(), "0");
    // Not even root inside gives a file to others.
    world.run(&["--rm", "box", "chown", "5", "/bin"]).ended(1);
}

#[test]
fn a_user_without_numbers_is_root_alone() {
    if kernel::lacks("file that keeps groups from being set, which the kernel beneath asks for", (3, 19)) {
        return;
    }
    alone(Given::NoRanges, "/etc/subgid has no line for this user");
}

#[test]
fn a_host_without_newuidmap_has_root_alone() {
    if kernel::lacks("file that keeps groups from being set, which the kernel beneath asks for", (3, 19)) {
        return;
    }
    alone(Given::NoPrograms, "newgidmap is not installed");
}

#[test]
fn an_owner_beyond_the_range_is_refused_with_the_remedy() {
    let Some(world) = World::of_user(Mode::Embedded, Given::Ranges) else { return };
    // 70000, where 65537 is the last.
    world.feed(&["import", "-", "foreign"], &foreign("0210560")).refused(1, &["70000", "/etc/subuid"]);
    assert_eq!(world.berth(&["images", "-q"]).ok().lines().len(), 1);
    world.run(&["--rm", "--user", "70000", "box", "true"]).refused(125, &["user 70000", "/etc/subuid"]);
    assert_eq!(world.berth(&["system", "check"]).ok().text(), "nothing is missing or left over");
}

#[test]
fn without_user_namespaces_the_reason_is_said() {
    let Some(world) = World::of_user(Mode::Embedded, Given::Ranges) else { return };
    let without = [("BERTH_PRETEND_WITHOUT", "userns")];
    world.with(&without, &["ps"]).refused(1, &["CAP_SYS_ADMIN", "userns", "BERTH_PRETEND_WITHOUT"]);
    world.with(&without, &["run", "--rm", "box", "true"]).refused(125, &["CAP_SYS_ADMIN", "userns"]);
    world.with(&without, &["serve"]).refused(1, &["CAP_SYS_ADMIN", "userns"]);
    world.with(&without, &["--version"]).ok();
    // Who talks to an engine of others needs none of his own.
    world.start_daemon();
    world.with(&without, &["ps"]).ok();
    world.with(&without, &["run", "--rm", "box", "true"]).ok();
}

#[test]
fn low_ports_are_refused_with_the_remedy() {
    let Some(world) = World::of_user(Mode::Embedded, Given::Ranges) else { return };
    world
        .run(&["--rm", "-p", "81:80", "box", "true"])
        .refused(126, &["permission denied", "net.ipv4.ip_unprivileged_port_start=81"]);
    assert_eq!(world.berth(&["ps", "-aq"]).ok().lines().len(), 0);
}

#[test]
fn a_run_folder_of_somebody_else_is_refused() {
    let Some(world) = World::of_user(Mode::Embedded, Given::Ranges) else { return };
    let foreign = world.path("foreign");
    std::fs::create_dir_all(foreign.join("run/rootless")).unwrap();
    for path in [foreign.join("run/rootless"), foreign.join("run"), foreign.clone()] {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
    }
    world.berth(&["--root", foreign.to_str().unwrap(), "ps"]).refused(1, &["belongs to somebody else", "--root"]);
    assert_eq!(std::fs::read_dir(foreign.join("run/rootless")).unwrap().count(), 0);
}
