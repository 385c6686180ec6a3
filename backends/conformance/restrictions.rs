//! What a program may not do, and what it must not see.

use std::fs;

use serde_json::json;

use crate::Test;
use crate::kit::{self, Place};

pub(crate) const TESTS: &[Test] = &[
    ("a_program_has_its_streams_and_no_other_descriptor", a_program_has_its_streams_and_no_other_descriptor),
    ("capabilities_are_those_that_were_asked_for", capabilities_are_those_that_were_asked_for),
    ("ambient_capabilities_survive_a_user", ambient_capabilities_survive_a_user),
    ("an_unknown_system_call_is_not_implemented", an_unknown_system_call_is_not_implemented),
    ("a_refused_limit_is_a_warning", a_refused_limit_is_a_warning),
    ("signals_and_umask_are_the_usual_ones", signals_and_umask_are_the_usual_ones),
    ("sysctls_are_set_in_the_namespace", sysctls_are_set_in_the_namespace),
    ("a_container_sees_its_own_processes_only", a_container_sees_its_own_processes_only),
    ("the_network_is_empty_or_the_hosts", the_network_is_empty_or_the_hosts),
    ("another_containers_namespaces_can_be_joined", another_containers_namespaces_can_be_joined),
    ("a_user_namespace_maps_root_to_nobody", a_user_namespace_maps_root_to_nobody),
    ("exec_enters_a_user_namespace", exec_enters_a_user_namespace),
    ("the_end_of_the_creator_ends_the_container", the_end_of_the_creator_ends_the_container),
    ("a_working_directory_that_leads_out_is_refused", a_working_directory_that_leads_out_is_refused),
    ("a_terminal_is_the_console_and_controls", a_terminal_is_the_console_and_controls),
    ("what_is_not_supported_is_refused_clearly", what_is_not_supported_is_refused_clearly),
];

fn a_program_has_its_streams_and_no_other_descriptor() {
    let place = Place::new();
    // Opened without close-on-exec, as a careless library might.
    let leaked = fs::File::open("/etc/passwd").unwrap();
    let _inherited = kit::inheritable(&leaked);
    // The shell's own listing is its fourth.
    let outcome = kit::script(&place, kit::spec_value(&place, &[]), "ls /proc/$$/fd; ls /proc/self/fd | wc -l");
    assert_eq!(outcome.output, "0\n1\n2\n4\n");
}

fn capabilities_are_those_that_were_asked_for() {
    kit::needs("capabilities", |claims| claims.capabilities);
    let place = Place::new();
    let mut value = kit::spec_value(&place, &[]);
    value["process"]["noNewPrivileges"] = json!(true);
    let outcome = kit::script(&place, value, "grep -E '^(Cap|NoNewPrivs)' /proc/self/status");
    // CAP_SYS_CHROOT leads out where there are no mounts of the container's own.
    let docker = if kit::selected().1.mount { "00000000a80425fb" } else { "00000000a80025fb" };
    let none = "0000000000000000";
    let expected = format!(
        "CapInh:\t{none}\nCapPrm:\t{docker}\nCapEff:\t{docker}\nCapBnd:\t{docker}\nCapAmb:\t{none}\nNoNewPrivs:\t1\n"
    );
    assert_eq!(outcome.output, expected);
}

fn ambient_capabilities_survive_a_user() {
    kit::needs("capabilities", |claims| claims.capabilities);
    let place = Place::new();
    let mut value = kit::spec_value(&place, &[]);
    value["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    let kill = ["CAP_KILL"];
    value["process"]["capabilities"] = json!({
        "bounding": kill, "effective": kill, "permitted": kill, "inheritable": kill, "ambient": kill
    });
    let outcome = kit::script(&place, value, "id -u; grep -E '^Cap(Eff|Amb)' /proc/self/status");
    assert_eq!(outcome.output, "1000\nCapEff:\t0000000000000020\nCapAmb:\t0000000000000020\n", "{}", outcome.errors);
    let mut value = kit::spec_value(&place, &[]);
    value["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    let outcome = kit::script(&place, value, "grep -E '^Cap(Prm|Eff)' /proc/self/status; echo hi > /dev/stdout");
    assert_eq!(outcome.output, "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nhi\n", "{}", outcome.errors);
}

fn an_unknown_system_call_is_not_implemented() {
    let place = Place::new();
    place.add_probe();
    for strict in [false, true] {
        let mut value = kit::spec_value(&place, &["probe", "--call", "1000"]);
        let bounding = kit::spec(value.clone()).process().clone().unwrap().capabilities().clone().unwrap();
        let policy = berth_backends::seccomp::docker_default(&bounding.bounding().clone().unwrap());
        value["linux"]["seccomp"] = serde_json::to_value(policy).unwrap();
        value["process"]["noNewPrivileges"] = json!(strict);
        if berth_arch::pretend::without("seccomp") {
            let error = kit::run(&place, value).unwrap_err().to_string();
            assert!(error.contains("seccomp=unconfined"), "{error}");
            continue;
        }
        let outcome = kit::run(&place, value).unwrap();
        // Other runtimes leave to libseccomp what a system call is that it does not know: the policy's usual answer, EPERM.
        let others = kit::backend().runtime().is_some() && outcome.output == format!("{}\n", libc::EPERM);
        assert!(others || outcome.output == format!("{}\n", libc::ENOSYS), "{} {}", outcome.output, outcome.errors);
    }
}

fn a_refused_limit_is_a_warning() {
    let place = Place::new();
    let mut value = kit::spec_value(&place, &[]);
    value["process"]["rlimits"] = json!([
        { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
        { "type": "RLIMIT_NOFILE", "soft": 1u64 << 40, "hard": 1u64 << 40 }
    ]);
    value["process"]["oomScoreAdj"] = json!(300);
    let outcome = kit::script(&place, value, "ulimit -c; cat /proc/self/oom_score_adj");
    assert_eq!(outcome.output, "0\n300\n", "{}", outcome.errors);
    assert_eq!(outcome.warnings.len(), 1, "{:?}", outcome.warnings);
    assert!(outcome.warnings[0].starts_with("set the limit Nofile to "), "{:?}", outcome.warnings);
}

fn signals_and_umask_are_the_usual_ones() {
    let place = Place::new();
    // The program leads a group and a session.
    let script = "umask; grep -E '^Sig(Blk|Ign)' /proc/self/status; \
                  ps -o pid,pgid,sid,args | grep \"^ *$$ *$$ *$$ sh\" | wc -l";
    let outcome = kit::script(&place, kit::spec_value(&place, &[]), script);
    let none = "0000000000000000";
    assert_eq!(outcome.output, format!("0022\nSigBlk:\t{none}\nSigIgn:\t{none}\n1\n"), "{}", outcome.errors);
}

fn sysctls_are_set_in_the_namespace() {
    kit::needs("network and IPC namespaces", |claims| claims.network && claims.ipc);
    let place = Place::new();
    let mut value = kit::spec_value(&place, &[]);
    value["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1", "kernel/msgmax": "4242" });
    let outcome = kit::script(&place, value, "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax");
    assert_eq!(outcome.output, "1\n4242\n", "{}", outcome.errors);
    assert_ne!(fs::read_to_string("/proc/sys/kernel/msgmax").unwrap(), "4242\n");
    let mut value = kit::spec_value(&place, &["true"]);
    value["linux"]["sysctl"] = json!({ "net.nothing": "1" });
    let error = kit::run(&place, value.clone()).unwrap_err().to_string();
    assert!(error.starts_with("write \"1\" to /proc/sys/net/nothing: "), "{error}");
    value["linux"]["sysctl"] = json!({ "kernel.panic": "1" });
    let error = kit::run(&place, value.clone()).unwrap_err().to_string();
    assert!(error.ends_with("sysctl kernel.panic: it belongs to the whole host"), "{error}");
    value["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1" });
    value["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != "network");
    let error = kit::run(&place, value).unwrap_err().to_string();
    assert!(error.contains("without a network namespace"), "{error}");
}

fn a_container_sees_its_own_processes_only() {
    kit::needs("processes of its own", |claims| claims.pid);
    let place = Place::new();
    let outcome = kit::script(&place, kit::spec_value(&place, &[]), "echo $$; ls /proc | grep -E '^[0-9]+$' | wc -l");
    let mut lines = outcome.output.lines();
    assert_eq!(lines.next(), Some("1"));
    assert!(lines.next().unwrap().parse::<u32>().unwrap() <= 4, "{}", outcome.output);
}

fn the_network_is_empty_or_the_hosts() {
    kit::needs("a network of its own", |claims| claims.network);
    let place = Place::new();
    let outcome = kit::script(&place, kit::spec_value(&place, &[]), "ls /sys/class/net; readlink /proc/self/ns/net");
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    assert!(
        outcome.output.starts_with("lo\n") && !outcome.output.contains(own.to_str().unwrap()),
        "{}",
        outcome.output
    );
    let mut value = kit::spec_value(&place, &[]);
    let namespaces = value["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "network");
    let outcome = kit::script(&place, value, "readlink /proc/self/ns/net");
    assert_eq!(outcome.output.trim_end(), own.to_str().unwrap());
}

fn another_containers_namespaces_can_be_joined() {
    kit::needs("namespaces", |claims| claims.pid && claims.network && claims.ipc);
    let place = Place::new();
    let (mut first, _ends) = kit::create(&place, kit::spec_value(&place, &["sleep", "60"])).unwrap();
    first.start().unwrap();
    let other = Place::new();
    let mut value = kit::spec_value(&other, &[]);
    for namespace in value["linux"]["namespaces"].as_array_mut().unwrap() {
        let kind = namespace["type"].as_str().unwrap().to_owned();
        if let Some(name) = [("pid", "pid"), ("network", "net"), ("ipc", "ipc")].iter().find(|pair| pair.0 == kind) {
            namespace["path"] = json!(format!("/proc/{}/ns/{}", first.pid(), name.1));
        }
    }
    value["linux"]["cgroupsPath"] = json!(format!("/berth/conformance-second-{}", std::process::id()));
    value["process"]["args"] = json!(["sh", "-c", "ps -o pid,args; readlink /proc/self/ns/net"]);
    let outcome = match kit::run(&other, value) {
        Err(berth_backends::Error::Unavailable(words)) if words.contains("always makes a new one") => {
            println!("{words}");
            return first.delete().unwrap();
        }
        outcome => outcome.unwrap(),
    };
    assert!(outcome.output.contains("    1 sleep 60"), "{} {}", outcome.output, outcome.errors);
    let network = fs::read_link(format!("/proc/{}/ns/net", first.pid())).unwrap();
    assert!(outcome.output.contains(network.to_str().unwrap()), "{}", outcome.output);
    assert!(first.try_wait().unwrap().is_none());
    first.delete().unwrap();
    kit::assert_no_children_but(&[]);
}

fn user_spec(place: &Place, script: &str) -> serde_json::Value {
    let mut value = kit::spec_value(place, &["sh", "-c", script]);
    value["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
    let (first, count) = kit::others();
    let map = json!([{ "containerID": 0, "hostID": first, "size": count }]);
    value["linux"]["uidMappings"] = map.clone();
    value["linux"]["gidMappings"] = map;
    kit::chown(&place.root(), first);
    value
}

fn a_user_namespace_maps_root_to_nobody() {
    kit::needs("users of its own", |claims| claims.user);
    let place = Place::new();
    let secret = place.path().join("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("file"), "text").unwrap();
    kit::make_private(place.path());
    let script = "id -u; cat /proc/self/uid_map; touch /file /dev/shm/file && echo made; cat /folder/file; \
                  echo x > /dev/null && echo null; hostname other && hostname; cat /proc/kcore | wc -c; ls /dev/pts; \
                  ls -ld /dev/shm | grep -c 'root\\| 0 '";
    let mut value = user_spec(&place, script);
    value["process"]["capabilities"] = kit::capabilities(&["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]);
    value["mounts"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "destination": "/folder", "type": "bind", "source": secret, "options": ["rbind", "ro"] }));
    let outcome = kit::run(&place, value).unwrap();
    let lines: Vec<_> = outcome.output.split_whitespace().collect();
    let (first, count) = kit::others();
    let expected = format!("0 0 {first} {count} made textnull other 0 ptmx 1");
    assert_eq!(lines.join(" "), expected, "{} {:?}", outcome.errors, outcome.warnings);
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(place.root().join("file")).unwrap().uid(), first);
}

fn exec_enters_a_user_namespace() {
    kit::needs("users of its own", |claims| claims.user);
    let place = Place::new();
    let (mut sandbox, _ends) = kit::create(&place, user_spec(&place, "sleep 60")).unwrap();
    sandbox.start().unwrap();
    let (io, ends) = kit::pipes();
    let process =
        kit::process(kit::process_value(&["sh", "-c", "id -u; readlink /proc/self/ns/user; touch /x; stat -c %u /x"]));
    let mut child = sandbox.exec(&process, io, Vec::new()).unwrap();
    let (output, errors) = ends.read();
    kit::until("the program ends", || child.try_wait().unwrap());
    let user = fs::read_link(format!("/proc/{}/ns/user", sandbox.pid())).unwrap();
    assert_eq!(output, format!("0\n{}\n0\n", user.display()), "{errors}");
    sandbox.delete().unwrap();
}

fn the_end_of_the_creator_ends_the_container() {
    let place = Place::new();
    for started in [false, true] {
        let saved = kit::container_of_a_killed_creator(&place, started);
        kit::until("the container ends", || {
            berth_arch::process::Process::open(saved.pid, Some(saved.start_time))
                .map_or(true, |process| !process.is_alive())
                .then_some(())
        });
        // What is left without a creator is found by what it saved.
        kit::backend().clear(&kit::id(), &saved).unwrap();
        kit::backend().clear(&kit::id(), &saved).unwrap();
        assert!(!kit::is_mounted(&place.mount_point()));
        assert_eq!(kit::cgroups(), Vec::<std::path::PathBuf>::new());
    }
}

/// Guards against CVE-2024-21626: a working directory below /proc/self/fd that is a folder of the host.
fn a_working_directory_that_leads_out_is_refused() {
    let place = Place::new();
    let host = fs::File::open("/etc").unwrap();
    let _inherited = kit::inheritable(&host);
    for number in 3..20 {
        let mut value = kit::spec_value(&place, &["cat", "./passwd"]);
        value["process"]["cwd"] = json!(format!("/proc/self/fd/{number}"));
        let error = kit::run(&place, value).unwrap_err().to_string();
        assert!(error.starts_with("enter the working directory /proc/self/fd/"), "{error}");
    }
}

fn a_terminal_is_the_console_and_controls() {
    let place = Place::new();
    let mut bundle_value = kit::spec_value(
        &place,
        &[
            "sh",
            "-c",
            "tty; stty size; ls -l /dev/console | grep -c '^c'; echo > /dev/tty; read line; echo got $line; exit 5",
        ],
    );
    bundle_value["process"]["terminal"] = json!(true);
    let io = berth_backends::Stdio::Terminal { size: Some((80, 24)) };
    let mut sandbox = kit::create_in(&kit::bundle(&place, bundle_value), io).unwrap();
    let terminal = sandbox.take_terminal().unwrap();
    assert!(sandbox.take_terminal().is_none());
    sandbox.start().unwrap();
    rustix::io::write(&terminal, b"typed\n").unwrap();
    let output = kit::read_terminal(terminal);
    let output = output.replace("typed\r\n", "");
    assert_eq!(output, "/dev/pts/0\r\n24 80\r\n1\r\n\r\ngot typed\r\n".replace("got typed\r\n", "got "), "{output:?}");
    assert_eq!(kit::wait(sandbox.as_mut()).code, 5);
    sandbox.delete().unwrap();
}

fn what_is_not_supported_is_refused_clearly() {
    kit::needs_namespaces_of_our_own();
    let place = Place::new();
    let mut value = kit::spec_value(&place, &["true"]);
    value["linux"]["intelRdt"] = json!({});
    let error = kit::run(&place, value).unwrap_err().to_string();
    assert!(error.contains("does not do linux.intelRdt"), "{error}");
    let mut value = kit::spec_value(&place, &["true"]);
    value["hooks"] = json!({ "prestart": [{ "path": "/bin/true" }] });
    let error = kit::run(&place, value).unwrap_err().to_string();
    assert!(error.contains("does not do hooks"), "{error}");
}
