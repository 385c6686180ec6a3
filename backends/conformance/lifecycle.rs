//! Create, start, wait, signal, kill, delete, load.

use berth_backends::Error;
use serde_json::json;

use crate::Test;
use crate::kit::{self, Place};

pub(crate) const TESTS: &[Test] = &[
    ("the_programs_output_and_exit_code_come_back", the_programs_output_and_exit_code_come_back),
    ("a_created_container_waits_for_its_start", a_created_container_waits_for_its_start),
    ("a_signal_ends_with_128_and_its_number", a_signal_ends_with_128_and_its_number),
    ("a_missing_program_is_said_by_start", a_missing_program_is_said_by_start),
    ("a_container_is_limited_paused_and_measured", a_container_is_limited_paused_and_measured),
    ("many_containers_leave_nothing_behind", many_containers_leave_nothing_behind),
];

fn the_programs_output_and_exit_code_come_back() {
    let place = Place::new();
    let outcome = kit::script(&place, kit::spec_value(&place, &[]), "echo out; echo err >&2; exit 3");
    assert_eq!((outcome.output.as_str(), outcome.errors.as_str()), ("out\n", "err\n"));
    assert_eq!((outcome.status.code, outcome.status.signal), (3, None));
    assert_eq!(outcome.warnings, Vec::<String>::new());
}

fn a_created_container_waits_for_its_start() {
    let place = Place::new();
    let (mut sandbox, ends) = kit::create(&place, kit::spec_value(&place, &["touch", "/started"])).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(30));
    assert!(!place.root().join("started").exists());
    assert!(sandbox.try_wait().unwrap().is_none());
    sandbox.delete().unwrap();
    assert_eq!(ends.read(), (String::new(), String::new()));
}

fn a_signal_ends_with_128_and_its_number() {
    let place = Place::new();
    let (mut sandbox, _ends) = kit::create(&place, kit::spec_value(&place, &["sleep", "60"])).unwrap();
    sandbox.start().unwrap();
    let loaded = kit::backend().load(&kit::id(), &sandbox.saved(), None).unwrap();
    loaded.signal(9).unwrap();
    let status = kit::wait(sandbox.as_mut());
    assert_eq!((status.code, status.signal), (137, Some(9)));
    assert!(matches!(sandbox.signal(15), Err(Error::NotFound(_))));
    sandbox.delete().unwrap();
    sandbox.delete().unwrap();
}

fn a_missing_program_is_said_by_start() {
    let place = Place::new();
    let start = |program: &str| {
        let mut value = kit::spec_value(&place, &[program]);
        value["process"]["cwd"] = json!("/home");
        kit::run(&place, value).unwrap_err().to_string()
    };
    assert_eq!(start("nothing"), "exec: \"nothing\": executable file not found in $PATH");
    assert_eq!(start("/bin/nothing"), "exec: \"/bin/nothing\": stat /bin/nothing: no such file or directory");
    assert_eq!(start("/etc"), "exec: \"/etc\": permission denied");
}

fn a_container_is_limited_paused_and_measured() {
    let place = Place::new();
    let mut value =
        kit::spec_value(&place, &["sh", "-c", "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max; cat"]);
    value["linux"]["resources"] = json!({ "pids": { "limit": 7 } });
    let (mut sandbox, mut ends) = kit::create(&place, value).unwrap();
    sandbox.start().unwrap();
    if sandbox.saved().cgroups.is_empty() {
        assert_eq!(sandbox.warnings().len(), 1, "{:?}", sandbox.warnings());
        assert!(sandbox.freezer().is_none() && sandbox.stats().is_none());
        assert!(sandbox.pids().unwrap().contains(&sandbox.pid()));
        return sandbox.delete().unwrap();
    }
    assert_eq!(kit::line(&mut ends), "7");
    assert_eq!(sandbox.stats().unwrap().sample().unwrap().pids_limit, Some(7));
    let freezer = sandbox.freezer().unwrap();
    freezer.freeze().unwrap();
    assert!(freezer.is_frozen().unwrap());
    // A frozen container can be killed.
    sandbox.kill_all().unwrap();
    assert_eq!(kit::wait(sandbox.as_mut()).signal, Some(9));
    sandbox.delete().unwrap();
}

fn many_containers_leave_nothing_behind() {
    let place = Place::new();
    let traces = || {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = std::process::id() as i32;
        (mounts, kit::descriptors(), berth_arch::process::children(own).unwrap(), kit::cgroups())
    };
    let before = traces();
    for round in 0..20 {
        let program = if round % 2 == 0 { "true" } else { "nothing" };
        let _ = kit::run(&place, kit::spec_value(&place, &[program]));
        let mut value = kit::spec_value(&place, &["true"]);
        value["mounts"][0]["type"] = json!("no-such-file-system");
        kit::run(&place, value).unwrap_err();
    }
    assert_eq!(traces(), before);
}
