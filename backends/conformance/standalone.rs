//! Containers that one process creates and another one starts, with and without user namespaces; hooks.

use std::fs::{self, File};
use std::os::fd::OwnedFd;

use berth_arch::process::Process;
use berth_backends::{Bundle, Error, Lent, SavedSandbox, Standalone};
use serde_json::{Value, json};

use crate::Test;
use crate::kit::{self, Place};

pub(crate) const TESTS: &[Test] = &[
    (
        "a_container_that_was_left_is_started_by_another_process",
        a_container_that_was_left_is_started_by_another_process,
    ),
    ("a_container_with_users_of_its_own_is_left_too", a_container_with_users_of_its_own_is_left_too),
    ("a_container_that_was_not_left_ends_with_its_creator", a_container_that_was_not_left_ends_with_its_creator),
    ("who_starts_a_container_hears_why_it_does_not_run", who_starts_a_container_hears_why_it_does_not_run),
    ("a_missing_program_is_said_when_the_container_is_made", a_missing_program_is_said_when_the_container_is_made),
    ("programs_have_what_is_preserved_for_them", programs_have_what_is_preserved_for_them),
    ("hooks_run_where_they_belong", hooks_run_where_they_belong),
    ("a_root_that_is_not_pivoted_is_the_root", a_root_that_is_not_pivoted_is_the_root),
];

fn bundle(place: &Place, value: Value) -> Bundle {
    kit::needs_namespaces_of_our_own();
    Bundle {
        standalone: Some(Standalone {
            folder: place.path().to_owned(),
            gate: place.path().join("gate"),
            preserved: Lent::default(),
            keep_keyring: false,
            no_pivot: false,
        }),
        ..kit::bundle(place, value)
    }
}

/// Creates in a process of its own, which leaves the container or is killed before; what it had saved.
fn created_by_another(place: &Place, value: &Value, left: bool) -> SavedSandbox {
    kit::needs_namespaces_of_our_own();
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let creator = crate::raw::fork(|| {
        let (io, _ends) = kit::pipes();
        let mut sandbox = kit::create_in(&bundle(place, value.clone()), io).unwrap();
        if left {
            sandbox.leave().unwrap();
            assert!(sandbox.leave().is_err());
        }
        rustix::io::write(&write, &serde_json::to_vec(&sandbox.saved()).unwrap()).unwrap();
        loop {
            std::thread::park();
        }
    });
    let mut text = [0; 4096];
    let length = rustix::io::read(&read, &mut text).unwrap();
    Process::open(creator, None).unwrap().signal(libc::SIGKILL).unwrap();
    berth_arch::process::wait(creator).unwrap();
    serde_json::from_slice(&text[..length]).unwrap()
}

fn has_ended(saved: &SavedSandbox) -> bool {
    Process::open(saved.pid, Some(saved.start_time)).map_or(true, |process| !process.is_alive())
}

fn is_left_and_started(mut value: Value) {
    let place = Place::new();
    fs::create_dir(place.root().join("out")).unwrap();
    value["root"]["path"] = json!(place.root());
    value["process"]["args"] = json!(["sh", "-c", "echo $$ > /tmp/ran; sleep 60"]);
    let mut open = fs::metadata(place.root().join("tmp")).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut open, 0o777);
    fs::set_permissions(place.root().join("tmp"), open).unwrap();
    let saved = created_by_another(&place, &value, true);
    std::thread::sleep(std::time::Duration::from_millis(30));
    assert!(!has_ended(&saved) && !place.root().join("tmp/ran").exists());
    let spec = kit::spec(value);
    let load = || kit::backend().load(&kit::id(), &saved, Some(&spec)).unwrap();
    let mut sandbox = load();
    sandbox.start().unwrap();
    assert!(matches!(load().start(), Err(Error::InvalidArgument(_))), "it is started once");
    assert!(!place.path().join("gate").exists());
    kit::until("the program runs", || place.root().join("tmp/ran").exists().then_some(()));
    // Further programs, which outlive this process, too.
    let (io, ends) = kit::pipes();
    let mut child =
        sandbox.exec(&kit::process(kit::process_value(&["sh", "-c", "id -u; exit 5"])), io, Vec::new()).unwrap();
    assert_eq!(ends.read().0, "0\n");
    assert_eq!(kit::until("exec ends", || child.try_wait().unwrap()).code, 5);
    sandbox.delete().unwrap();
    kit::until("it ends", || has_ended(&saved).then_some(()));
    assert_eq!(kit::cgroups(), Vec::<std::path::PathBuf>::new());
}

fn a_container_that_was_left_is_started_by_another_process() {
    is_left_and_started(kit::spec_value(&Place::new(), &[]));
}

fn a_container_with_users_of_its_own_is_left_too() {
    let mut value = kit::spec_value(&Place::new(), &[]);
    value["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
    value["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]);
    value["linux"]["gidMappings"] = value["linux"]["uidMappings"].clone();
    is_left_and_started(value);
}

fn a_container_that_was_not_left_ends_with_its_creator() {
    let place = Place::new();
    let saved = created_by_another(&place, &kit::spec_value(&place, &["sleep", "60"]), false);
    kit::until("it ends", || has_ended(&saved).then_some(()));
    let groups = berth_backends::cgroup::Cgroup::load(&saved.cgroups);
    groups.kill_all().unwrap();
    groups.delete().unwrap();
}

fn who_starts_a_container_hears_why_it_does_not_run() {
    let place = Place::new();
    fs::write(place.root().join("bin/broken"), "no program").unwrap();
    let mut open = fs::metadata(place.root().join("bin/broken")).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut open, 0o755);
    fs::set_permissions(place.root().join("bin/broken"), open).unwrap();
    let said = |value: Value| {
        let saved = created_by_another(&place, &value, true);
        let mut sandbox = kit::backend().load(&kit::id(), &saved, Some(&kit::spec(value))).unwrap();
        let error = sandbox.start().unwrap_err();
        sandbox.delete().unwrap();
        kit::until("it ends", || has_ended(&saved).then_some(()));
        error.to_string()
    };
    assert_eq!(said(kit::spec_value(&place, &["broken"])), "exec: \"broken\": exec format error");
    let mut value = kit::spec_value(&place, &["true"]);
    value["process"]["cwd"] = json!("/bin/busybox");
    assert!(said(value).starts_with("enter the working directory /bin/busybox"));
    let mut value = kit::spec_value(&place, &["true"]);
    value["hooks"] = json!({ "startContainer": [{ "path": "/bin/sh", "args": ["sh", "-c", "exit 6"] }] });
    assert_eq!(said(value), "run the startContainer hook /bin/sh: it ended with code 6");
}

fn a_missing_program_is_said_when_the_container_is_made() {
    let place = Place::new();
    for (program, words) in [("nothing", "executable file not found in $PATH"), ("/etc", "permission denied")] {
        let (io, _ends) = kit::pipes();
        let made = kit::create_in(&bundle(&place, kit::spec_value(&place, &[program])), io);
        let error = made.err().expect("a refusal").to_string();
        assert!(error.starts_with("exec: ") && error.ends_with(words), "{error}");
        assert!(!place.path().join("gate").exists());
    }
    kit::assert_no_children_but(&[]);
}

fn programs_have_what_is_preserved_for_them() {
    let place = Place::new();
    let before = kit::descriptors();
    let file = |name: &str| -> OwnedFd {
        let path = place.path().join(name);
        fs::write(&path, format!("{name}\n")).unwrap();
        File::open(path).unwrap().into()
    };
    let script = "cat <&3; cat <&4; for fd in /proc/self/fd/*; do readlink $fd; done | grep -c :";
    let mut made = bundle(&place, kit::spec_value(&place, &["sh", "-c", &format!("{script}; sleep 60")]));
    made.standalone.as_mut().unwrap().preserved = Lent::new(vec![file("one"), file("two")]);
    let (io, mut ends) = kit::pipes();
    let mut sandbox = kit::create_in(&made, io).unwrap();
    sandbox.leave().unwrap();
    sandbox.start().unwrap();
    drop(made);
    // Of pipes and sockets there are the three streams alone.
    let lines: Vec<String> = (0..3).map(|_| kit::line(&mut ends)).collect();
    assert_eq!(lines, ["one", "two", "3"]);
    let (io, ends_of_exec) = kit::pipes();
    let process = kit::process(kit::process_value(&["sh", "-c", "cat <&3"]));
    let mut child = sandbox.exec(&process, io, vec![file("three")]).unwrap();
    assert_eq!(ends_of_exec.read().0, "three\n");
    kit::until("exec ends", || child.try_wait().unwrap());
    sandbox.delete().unwrap();
    drop((sandbox, ends, child));
    assert_eq!(kit::descriptors(), before);
}

fn hooks_run_where_they_belong() {
    let place = Place::new();
    let order = place.path().join("order");
    let hook = |kind: &str, file: &str| {
        let script = format!(
            "cat > /dev/null; echo {kind} $(readlink /proc/self/ns/mnt) >> {file}; ls -l /proc/self/fd | grep -c gate >> {file}.fds; true"
        );
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"] }])
    };
    let outside = order.to_str().unwrap();
    let mut value = kit::spec_value(&place, &["true"]);
    value["hooks"] = json!({
        "prestart": hook("prestart", outside),
        "createRuntime": hook("createRuntime", outside),
        "createContainer": hook("createContainer", outside),
        "startContainer": hook("startContainer", "/tmp/order"),
    });
    let (io, _ends) = kit::pipes();
    let mut sandbox = kit::create_in(&bundle(&place, value.clone()), io).unwrap();
    let own = fs::read_link("/proc/self/ns/mnt").unwrap().display().to_string();
    let theirs = fs::read_link(format!("/proc/{}/ns/mnt", sandbox.pid())).unwrap().display().to_string();
    let expected = format!("prestart {own}\ncreateRuntime {own}\ncreateContainer {theirs}\n");
    assert_eq!(fs::read_to_string(&order).unwrap(), expected);
    assert!(!place.root().join("tmp/order").exists());
    sandbox.leave().unwrap();
    sandbox.start().unwrap();
    kit::wait(sandbox.as_mut());
    assert_eq!(fs::read_to_string(place.root().join("tmp/order")).unwrap(), format!("startContainer {theirs}\n"));
    assert_eq!(fs::read_to_string(place.root().join("tmp/order.fds")).unwrap(), "0\n");
    sandbox.delete().unwrap();

    // One that fails leaves nothing; without a standalone container they are refused.
    value["hooks"]["createContainer"] = json!([{ "path": "/bin/false" }]);
    let (io, _ends) = kit::pipes();
    let error = kit::create_in(&bundle(&place, value.clone()), io).err().expect("a refusal").to_string();
    assert_eq!(error, "run the createContainer hook /bin/false: it ended with code 1");
    let (io, _ends) = kit::pipes();
    let error = kit::create_in(&kit::bundle(&place, value), io).err().expect("a refusal").to_string();
    assert!(error.contains("hooks"), "{error}");
    kit::assert_no_children_but(&[]);
    assert_eq!(kit::cgroups(), Vec::<std::path::PathBuf>::new());
}

fn a_root_that_is_not_pivoted_is_the_root() {
    let place = Place::new();
    let mut made = bundle(&place, kit::spec_value(&place, &["sh", "-c", "ls /; cat /proc/mounts | grep -c ' / '"]));
    made.standalone.as_mut().unwrap().no_pivot = true;
    let (io, ends) = kit::pipes();
    let mut sandbox = kit::create_in(&made, io).unwrap();
    sandbox.leave().unwrap();
    sandbox.start().unwrap();
    assert_eq!(ends.read().0, "bin\ndev\netc\nhome\nproc\nsys\ntmp\n1\n");
    kit::wait(sandbox.as_mut());
    sandbox.delete().unwrap();
}
