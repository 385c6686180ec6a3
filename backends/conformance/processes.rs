//! That a container's end is the end of every process of it, whatever that has done to be forgotten.

use serde_json::json;

use crate::Test;
use crate::kit::{self, Place};

pub(crate) const TESTS: &[Test] = &[
    ("daemons_end_with_their_container", daemons_end_with_their_container),
    ("daemons_outlive_the_first_process_not_the_container", daemons_outlive_the_first_process_not_the_container),
    ("stopped_processes_and_zombies_end_with_their_container", stopped_processes_and_zombies_end_with_their_container),
    ("a_fork_bomb_ends_with_its_container", a_fork_bomb_ends_with_its_container),
    ("daemons_of_a_killed_creator_are_found", daemons_of_a_killed_creator_are_found),
    ("a_container_of_the_hosts_own_root_is_refused", a_container_of_the_hosts_own_root_is_refused),
    ("daemons_of_exec_end_with_the_container", daemons_of_exec_end_with_the_container),
];

/// Forks twice, takes a session, an environment and a directory of its own.
const DAEMONS: &str = "for i in 1 2 3 4 5; do (cd /tmp; env -i setsid sh -c 'env -i sleep 1000 >/dev/null 2>&1 & \
                       env -i setsid sh -c \"trap : HUP INT TERM; while :; do sleep 1000; done\" >/dev/null 2>&1 &' &); done; ";

fn assert_none(place: &Place) {
    // What has been killed may still be leaving.
    kit::until("every process has ended", || place.processes().is_empty().then_some(()));
    assert!(!kit::is_mounted(&place.mount_point()));
}

/// A container that has printed that its processes are there.
fn started(place: &Place, value: serde_json::Value, script: &str) -> (Box<dyn berth_backends::Sandbox>, kit::Ends) {
    let mut value = value;
    value["process"]["args"] = json!(["sh", "-c", script]);
    let (mut sandbox, mut ends) = kit::create(place, value).unwrap();
    sandbox.start().unwrap();
    assert_eq!(kit::line(&mut ends), "up");
    (sandbox, ends)
}

fn daemons_end_with_their_container() {
    let place = Place::new();
    let (mut sandbox, _ends) = started(&place, kit::spec_value(&place, &[]), &format!("{DAEMONS} echo up; sleep 1000"));
    kit::until("the daemons are there", || (place.processes().len() >= 16).then_some(()));
    let before = place.processes();
    let listed = sandbox.pids().unwrap();
    // What was there before and after was there in between: the shells that start the daemons may still be leaving.
    let after = place.processes();
    for pid in before.iter().filter(|pid| after.contains(pid)) {
        assert!(listed.contains(pid), "{pid} of {before:?} and {after:?} is not in {listed:?}");
    }
    sandbox.kill_all().unwrap();
    kit::wait(sandbox.as_mut());
    sandbox.delete().unwrap();
    assert_none(&place);
}

fn daemons_outlive_the_first_process_not_the_container() {
    let place = Place::new();
    let (mut sandbox, _ends) = started(&place, kit::spec_value(&place, &[]), &format!("{DAEMONS} echo up; sleep 0.3"));
    assert_eq!(kit::wait(sandbox.as_mut()).code, 0);
    if kit::selected().1.pid {
        assert_none(&place);
    }
    sandbox.delete().unwrap();
    sandbox.delete().unwrap();
    assert_none(&place);
}

fn stopped_processes_and_zombies_end_with_their_container() {
    let place = Place::new();
    // `exec` makes children of what does not wait for them.
    let script = "for i in 1 2 3 4 5 6 7 8 9; do (sleep 1000 & kill -STOP $!; exec sleep 1000) & done; \
                  for i in 1 2 3 4 5 6 7 8 9; do (true & true & exec sleep 1000) & done; sleep 0.2; echo up; sleep 1000";
    let (mut sandbox, _ends) = started(&place, kit::spec_value(&place, &[]), script);
    sandbox.delete().unwrap();
    assert_none(&place);
}

fn a_fork_bomb_ends_with_its_container() {
    let place = Place::new();
    let mut value = kit::spec_value(&place, &[]);
    // A user of this test's own: how many processes it may have is counted for all of them on the host, zombies too.
    let (first, count) = kit::others();
    let user = first + std::process::id() % count;
    value["process"]["user"] = json!({ "uid": user, "gid": user });
    value["process"]["rlimits"] = json!([{ "type": "RLIMIT_NPROC", "soft": 300, "hard": 300 }]);
    place.add_probe();
    let (mut sandbox, _ends) = started(&place, value, "echo up; probe --bomb & exec sleep 1000");
    kit::until("it has gone off", || (place.processes().len() >= 200).then_some(()));
    sandbox.delete().unwrap();
    assert_none(&place);
}

fn daemons_of_a_killed_creator_are_found() {
    let place = Place::new();
    let mut value = kit::spec_value(&place, &[]);
    value["process"]["args"] = json!(["sh", "-c", format!("{DAEMONS} sleep 1000")]);
    let saved = kit::value_of_a_killed_creator(&place, value, || place.processes().len() >= 16);
    kit::backend().clear(&kit::id(), &saved).unwrap();
    assert_none(&place);
    kit::backend().clear(&kit::id(), &saved).unwrap();
}

/// Guards against an end of a container that is the host's: without processes of its own it is told by its root.
fn a_container_of_the_hosts_own_root_is_refused() {
    let (backend, claims) = kit::selected();
    if backend.name() != "chroot" || !claims.mount {
        println!("another backend, or a place of its own for each root");
        std::process::exit(kit::SKIPPED.into());
    }
    let place = Place::new();
    let mut value = kit::spec_value(&place, &["true"]);
    value["root"]["path"] = json!("/");
    value["mounts"] = json!([]);
    let error = kit::run(&place, value).unwrap_err().to_string();
    assert!(error.contains("cannot be told from the host's"), "{error}");
    kit::assert_no_children_but(&[]);
}

fn daemons_of_exec_end_with_the_container() {
    let place = Place::new();
    let (mut sandbox, _ends) = started(&place, kit::spec_value(&place, &[]), "echo up; sleep 1000");
    let (io, ends) = kit::pipes();
    let process = kit::process(kit::process_value(&["sh", "-c", DAEMONS]));
    let mut child = sandbox.exec(&process, io, Vec::new()).unwrap();
    ends.read();
    kit::until("the program ends", || child.try_wait().unwrap());
    kit::until("the daemons are there", || (place.processes().len() >= 16).then_some(()));
    sandbox.delete().unwrap();
    assert_none(&place);
}
