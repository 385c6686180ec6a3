//! Further programs in a running container.

use berth_backends::{Error, ExecChild, Sandbox};
use serde_json::{Value, json};

use crate::Test;
use crate::kit::{self, Place};

pub(crate) const TESTS: &[Test] = &[
    ("exec_runs_in_the_containers_namespaces", exec_runs_in_the_containers_namespaces),
    ("exec_takes_user_environment_and_directory", exec_takes_user_environment_and_directory),
    ("exec_reads_its_input_and_gives_its_exit_code", exec_reads_its_input_and_gives_its_exit_code),
    ("exec_of_a_missing_program_is_an_error", exec_of_a_missing_program_is_an_error),
    ("exec_has_a_terminal_of_the_containers", exec_has_a_terminal_of_the_containers),
    ("exec_is_under_the_containers_restrictions", exec_is_under_the_containers_restrictions),
    ("exec_in_a_container_that_has_ended_is_an_error", exec_in_a_container_that_has_ended_is_an_error),
    ("many_execs_leave_nothing_behind", many_execs_leave_nothing_behind),
];

fn sleeping(place: &Place) -> Box<dyn Sandbox> {
    let (mut sandbox, _ends) = kit::create(place, kit::spec_value(place, &["sleep", "60"])).unwrap();
    sandbox.start().unwrap();
    sandbox
}

fn exec(sandbox: &mut dyn Sandbox, process: Value) -> Result<(String, String, i32), Error> {
    let (io, ends) = kit::pipes();
    let mut child = sandbox.exec(&kit::process(process), io, Vec::new())?;
    let (output, errors) = ends.read();
    Ok((output, errors, wait(child.as_mut())))
}

fn wait(child: &mut dyn ExecChild) -> i32 {
    kit::until("the program ends", || child.try_wait().unwrap()).code
}

fn exec_runs_in_the_containers_namespaces() {
    kit::needs("namespaces", |claims| claims.pid && claims.uts);
    let place = Place::new();
    let mut sandbox = sleeping(&place);
    let script = "hostname; ls /; for n in /proc/self/ns/*; do readlink $n; done; ps -o pid,args";
    let (output, errors, code) = exec(sandbox.as_mut(), kit::process_value(&["sh", "-c", script])).unwrap();
    assert_eq!((code, errors.as_str()), (0, ""), "{output}");
    assert!(output.starts_with("berthed\nbin\n"), "{output}");
    let init = format!("/proc/{}/ns", sandbox.pid());
    for kind in ["mnt", "pid", "net", "uts", "ipc", "cgroup"] {
        let namespace = std::fs::read_link(format!("{init}/{kind}")).unwrap();
        assert!(output.contains(namespace.to_str().unwrap()), "{kind}: {output}");
    }
    assert!(output.contains("    1 sleep 60"), "{output}");
    assert!(sandbox.pids().unwrap().contains(&sandbox.pid()));
    sandbox.delete().unwrap();
}

fn exec_takes_user_environment_and_directory() {
    let place = Place::new();
    let mut sandbox = sleeping(&place);
    // runc gives every program the umask of the first one.
    let umask = if kit::backend().runtime().is_some() { "0022" } else { "0027" };
    let mut process = kit::process_value(&["sh", "-c", "id; pwd; echo $COLOUR; umask"]);
    process["user"] = json!({ "uid": 1000, "gid": 1001, "additionalGids": [7, 9] });
    if umask == "0027" {
        process["user"]["umask"] = json!(0o27);
    }
    process["env"] = json!(["PATH=/bin", "COLOUR=blue"]);
    process["cwd"] = json!("/tmp");
    let (output, errors, code) = exec(sandbox.as_mut(), process).unwrap();
    assert_eq!((code, errors.as_str()), (0, ""));
    assert_eq!(output, format!("uid=1000 gid=1001 groups=7,9\n/tmp\nblue\n{umask}\n"));
    sandbox.delete().unwrap();
}

fn exec_reads_its_input_and_gives_its_exit_code() {
    let place = Place::new();
    let mut sandbox = sleeping(&place);
    let (io, mut ends) = kit::pipes();
    let process = kit::process(kit::process_value(&["sh", "-c", "cat; exit 41"]));
    let mut child = sandbox.exec(&process, io, Vec::new()).unwrap();
    ends.write("through\0and through");
    assert_eq!(ends.read().0, "through\0and through");
    assert_eq!(wait(child.as_mut()), 41);
    assert!(matches!(child.signal(15), Err(Error::NotFound(_))));
    sandbox.delete().unwrap();
}

fn exec_of_a_missing_program_is_an_error() {
    let place = Place::new();
    let mut sandbox = sleeping(&place);
    let error = exec(sandbox.as_mut(), kit::process_value(&["nothing"])).unwrap_err();
    assert_eq!(error.to_string(), "exec: \"nothing\": executable file not found in $PATH");
    let mut process = kit::process_value(&["true"]);
    process["cwd"] = json!("/nowhere");
    let error = exec(sandbox.as_mut(), process).unwrap_err();
    assert!(error.to_string().starts_with("enter the working directory /nowhere: "), "{error}");
    kit::assert_no_children_but(&[sandbox.pid()]);
    sandbox.delete().unwrap();
}

fn exec_has_a_terminal_of_the_containers() {
    let place = Place::new();
    let mut sandbox = sleeping(&place);
    // crun's `exec` (1.8) knows no consoleSize: the size comes a moment after the program.
    let size = match kit::selected().0.name() {
        "crun" => "until stty size 2>/dev/null; do sleep 0.1; done",
        _ => "stty size",
    };
    let process = kit::process(kit::process_value(&["sh", "-c", &format!("tty; {size}; echo -n done")]));
    let io = berth_backends::Stdio::Terminal { size: Some((101, 42)) };
    let mut child = sandbox.exec(&process, io, Vec::new()).unwrap();
    let output = kit::read_terminal(child.take_terminal().unwrap());
    assert_eq!(output, "/dev/pts/0\r\n42 101\r\ndone");
    assert_eq!(wait(child.as_mut()), 0);
    sandbox.delete().unwrap();
}

fn exec_is_under_the_containers_restrictions() {
    let place = Place::new();
    let mut sandbox = sleeping(&place);
    let mut process = kit::process_value(&["sh", "-c", "grep -E '^(Cap|NoNewPrivs)' /proc/self/status; ulimit -n"]);
    process["capabilities"] = json!({ "bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"] });
    process["noNewPrivileges"] = json!(true);
    process["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 }]);
    let (output, _, _) = exec(sandbox.as_mut(), process).unwrap();
    let none = "0000000000000000";
    let kill = "0000000000000020";
    let expected = format!(
        "CapInh:\t{none}\nCapPrm:\t{kill}\nCapEff:\t{kill}\nCapBnd:\t{kill}\nCapAmb:\t{none}\nNoNewPrivs:\t1\n100\n"
    );
    assert_eq!(output, expected);
    sandbox.delete().unwrap();
}

fn exec_in_a_container_that_has_ended_is_an_error() {
    let place = Place::new();
    let mut sandbox = sleeping(&place);
    sandbox.kill_all().unwrap();
    kit::wait(sandbox.as_mut());
    let error = exec(sandbox.as_mut(), kit::process_value(&["true"])).unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error}");
    sandbox.delete().unwrap();
}

fn many_execs_leave_nothing_behind() {
    let place = Place::new();
    let mut sandbox = sleeping(&place);
    let descriptors = kit::descriptors();
    for _ in 0..20 {
        assert_eq!(exec(sandbox.as_mut(), kit::process_value(&["true"])).unwrap().2, 0);
        exec(sandbox.as_mut(), kit::process_value(&["nothing"])).unwrap_err();
    }
    assert_eq!(kit::descriptors(), descriptors);
    kit::assert_no_children_but(&[sandbox.pid()]);
    sandbox.delete().unwrap();
    kit::assert_no_children_but(&[]);
}
