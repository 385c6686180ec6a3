//! The life of a container between processes: create, start, state, kill, delete, list, and what is refused.

use std::fs;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use super::{Oci, write};
use crate::support::call::call;
use crate::support::world::LIMIT;
use crate::support::{eventually, kernel};

#[test]
fn a_container_lives_from_create_to_delete() {
    let oci = Oci::new();
    let bundle = oci.bundle("one", "echo yes > /shared/ran; sleep 1000", |_| {});
    let pid_file = oci.world.at("pid");
    oci.leave(&["create", "--bundle", &bundle, "--pid-file", &pid_file, "one"]);
    let state = oci.state("one");
    assert_eq!(state["status"], "created");
    assert_eq!((state["id"].as_str(), state["ociVersion"].as_str()), (Some("one"), Some("1.0.2")));
    assert_eq!(state["bundle"], bundle.as_str());
    assert_eq!(state["annotations"]["made.by"], "tests");
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), state["pid"].to_string());
    // It waits, and nothing of it has run.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!((oci.status("one"), oci.shared("ran")), ("created".into(), None));

    oci.call(&["start", "one"]).ok();
    assert_eq!(oci.status("one"), "running");
    assert_eq!(oci.until_shared("ran"), "yes\n");
    oci.call(&["start", "one"]).refused(1, &["already running"]);
    assert_eq!(oci.status("one"), "running");
    oci.call(&["delete", "one"]).refused(1, &["not stopped", "--force"]);
    oci.call(&["create", "--bundle", &bundle, "one"]).refused(1, &["already exists"]);
    assert_eq!(oci.status("one"), "running");

    oci.call(&["kill", "one", "KILL"]).ok();
    oci.until_status("one", "stopped");
    assert_eq!(oci.state("one")["pid"], 0);
    oci.call(&["kill", "one", "TERM"]).refused(1, &["container not running"]);
    oci.call(&["start", "one"]).refused(1, &["has stopped"]);
    oci.call(&["exec", "one", "true"]).refused(1, &["container not running"]);
    oci.call(&["delete", "one"]).ok();
    oci.call(&["state", "one"]).refused(1, &["container one does not exist"]);
    oci.call(&["delete", "one"]).refused(1, &["does not exist"]);
    oci.call(&["delete", "--force", "one"]).ok();
    assert!(!oci.root().join("one").exists());
}

#[test]
fn the_program_is_a_runtime_by_its_name() {
    let oci = Oci::new();
    let link = oci.world.path("berth-oci");
    kernel::install(None, &link);
    let by_name = |arguments: &[&str]| {
        let mut command = Command::new(&link);
        oci.world.surround(&mut command);
        command.arg("--root").arg(oci.root()).args(arguments);
        call(command, &[], LIMIT)
    };
    assert!(by_name(&["--version"]).ok().out().starts_with("berth-oci version "));
    let bundle = oci.bundle("named", "exit 9", |_| {});
    by_name(&["run", "-b", &bundle, "named"]).ended(9);
}

#[test]
fn a_container_outlives_who_made_it_and_not_who_died_making_it() {
    let oci = Oci::new();
    oci.created("left", "echo yes > /shared/ran; sleep 1000", |_| {});
    // Its creator is gone; somebody else starts it.
    oci.call(&["start", "left"]).ok();
    oci.until_shared("ran");

    // A creator that is killed in a hook has made nothing that stays.
    let bundle = oci.bundle("died", "sleep 1000", |config| {
        config["hooks"] = json!({ "createRuntime": [{ "path": "/bin/sh", "args": ["sh", "-c", "cat > $TOLD; echo $$ > $TOLD.hook; exec sleep 1000"],
            "env": [format!("TOLD={}", oci.world.at("shared/told")), "PATH=/bin:/usr/bin".to_owned()] }] });
    });
    let mut creator = oci.background(&["create", "--bundle", &bundle, "died"]);
    eventually("the hook runs", Duration::from_secs(20), || {
        oci.shared("told.hook").is_some_and(|hook| hook.ends_with('\n'))
    });
    let told: serde_json::Value = serde_json::from_str(&oci.shared("told").unwrap()).unwrap();
    let pid = told["pid"].as_i64().unwrap();
    assert_eq!(oci.status("died"), "creating");
    oci.call(&["list"]).ok();
    assert!(creator.is_running());
    creator.signal(Signal::SIGKILL);
    drop(creator);
    // The hook is nobody's child any more.
    let hook = oci.shared("told.hook").unwrap().trim().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(hook), Signal::SIGKILL).unwrap();
    let gone = || !fs::exists(format!("/proc/{pid}/root")).unwrap_or(false) || zombie(pid);
    eventually("the first process ends with its creator", Duration::from_secs(20), gone);
    assert_eq!(oci.status("died"), "stopped");
    oci.call(&["start", "died"]).refused(1, &["has stopped"]);
    // The ID is free again.
    let again = oci.bundle("again", "exit 4", |_| {});
    oci.call(&["run", "--bundle", &again, "died"]).ended(4);
    oci.call(&["state", "died"]).refused(1, &["does not exist"]);
}

fn zombie(pid: i64) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

#[test]
fn a_start_that_never_comes_to_the_gate_leaves_a_stopped_container() {
    let oci = Oci::new();
    oci.created("gated", "sleep 1000", |_| {});
    let pid = oci.state("gated")["pid"].as_i64().unwrap();
    oci.call(&["kill", "gated", "KILL"]).ok();
    oci.until_status("gated", "stopped");
    oci.call(&["start", "gated"]).refused(1, &["has stopped"]);
    oci.call(&["delete", "gated"]).ok();
    assert!(zombie(pid));
    // A created one has done nothing that could be lost.
    oci.created("gated2", "sleep 1000", |_| {});
    oci.call(&["delete", "gated2"]).ok();
    oci.call(&["state", "gated2"]).refused(1, &["does not exist"]);
}

#[test]
fn the_gate_is_out_of_the_containers_reach() {
    let oci = Oci::new();
    let seen = oci.run("inside", "ls -l /proc/self/fd /proc/1/fd; cat /proc/net/unix", |_| {}).ok().out();
    assert!(!seen.contains("gate"), "{seen}");
    let numbers = |line: &str| line.split_whitespace().rev().nth(2).and_then(|word| word.parse::<u32>().ok());
    let highest = seen.lines().filter(|line| line.contains(" -> ")).filter_map(numbers).max();
    // The third is the folder that `ls` reads.
    assert!(highest <= Some(3), "{seen}");
    // Only its owner may go to the gate.
    oci.created("gate", "sleep 1000", |_| {});
    let folder = fs::metadata(oci.root().join("gate")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&folder.permissions()) & 0o777, 0o700);
    assert!(UnixStream::connect(oci.root().join("gate/gate")).is_err(), "the gate takes no streams");
    assert_eq!(oci.status("gate"), "created");
}

#[test]
fn what_is_wrong_with_a_bundle_is_said_and_leaves_nothing() {
    let oci = Oci::new();
    let refused = |change: &dyn Fn(&mut serde_json::Value), words: &[&str]| {
        let bundle = oci.bundle("bad", "true", |config| change(config));
        oci.call(&["create", "--bundle", &bundle, "bad"]).refused(1, words);
        oci.call(&["run", "--bundle", &bundle, "bad"]).refused(1, words);
        oci.call(&["state", "bad"]).refused(1, &["does not exist"]);
        assert!(!oci.root().join("bad").exists());
        fs::remove_dir_all(bundle).unwrap();
    };
    refused(&|config| config["ociVersion"] = json!("2.0.0"), &["ociVersion", "2.0.0"]);
    refused(&|config| config["root"]["path"] = json!("nowhere"), &["find the root", "nowhere"]);
    refused(&|config| config["root"]["path"] = json!("/"), &["the host's own"]);
    refused(&|config| config["process"]["args"] = json!(["no-such-program"]), &["executable file not found in $PATH"]);
    refused(&|config| config["process"]["args"] = json!(["/bin"]), &["/bin", "permission denied"]);
    refused(&|config| config["process"]["args"] = json!(["/bin/none"]), &["no such file or directory"]);
    // What only shows when the program is run.
    let run = |change: &dyn Fn(&mut serde_json::Value)| oci.run("late", "true", |config| change(config));
    run(&|config| config["process"]["cwd"] = json!("/bin/sh")).refused(1, &["working directory"]);
    refused(&|config| config["process"]["terminal"] = json!("yes"), &["config.json"]);
    refused(&|config| config["linux"]["intelRdt"] = json!({}), &["namespace backend", "intelRdt"]);
    refused(&|config| config["linux"]["namespaces"] = json!([]), &["mount namespace"]);
    refused(&|config| config["linux"]["sysctl"] = json!({ "vm.swappiness": "1" }), &["vm.swappiness", "whole host"]);
    refused(&|config| drop(config.as_object_mut().unwrap().remove("process")), &["no process"]);

    oci.call(&["create", "--bundle", "/nowhere", "bad"]).refused(1, &["find the bundle /nowhere"]);
    let bundle = oci.bundle("good", "true", |_| {});
    for id in ["", "..", "a/b", ".x", "a b"] {
        oci.call(&["create", "--bundle", &bundle, id]).refused(1, &["container ID"]);
    }
    oci.call(&["create", "--bundle", &bundle, "--console-socket", "/nowhere", "bad"]).refused(1, &["no terminal"]);
    oci.call(&["create", "--bundle", &bundle, "--preserve-fds", "2", "bad"]).refused(1, &["descriptor 3 is not open"]);
    oci.call(&["--systemd-cgroup", "run", "--bundle", &bundle, "good"]).ok();
    write(&oci.world.path("good/config.json"), "{");
    oci.call(&["create", "--bundle", &bundle, "bad"]).refused(1, &["parse", "config.json"]);
    assert_eq!(oci.call(&["list", "-q"]).ok().out(), "");
    for verb in ["start", "state", "kill", "exec", "ps", "pause", "resume", "update", "events", "delete"] {
        let mut line = vec![verb, "none"];
        line.extend(match verb {
            "exec" => ["true"].as_slice(),
            "update" => &["--memory", "100000000"],
            _ => &[],
        });
        if verb == "update" {
            line = vec!["update", "--memory", "100000000", "none"];
        }
        oci.call(&line).refused(1, &["container none does not exist"]);
    }
}

#[test]
fn errors_go_to_the_log_in_the_form_that_is_asked_for() {
    let oci = Oci::new();
    let log = oci.world.at("log");
    oci.call(&["--log", &log, "--log-format", "json", "state", "none"]).ended(1);
    let line: serde_json::Value = serde_json::from_str(&fs::read_to_string(&log).unwrap()).unwrap();
    assert_eq!((line["level"].as_str(), line["msg"].as_str()), (Some("error"), Some("container none does not exist")));
    assert!(line["time"].as_str().unwrap().ends_with('Z'));
    fs::remove_file(&log).unwrap();
    oci.call(&["--log", &log, "state", "none"]).ended(1);
    let text = fs::read_to_string(&log).unwrap();
    assert!(
        text.starts_with("time=\"") && text.contains("level=error msg=\"container none does not exist\""),
        "{text}"
    );
}

#[test]
fn containers_are_listed() {
    let oci = Oci::new();
    assert_eq!(oci.call(&["list", "--format", "json"]).ok().json(), json!([]));
    oci.created("b", "true", |_| {});
    oci.started("a", "sleep 1000", |_| {});
    assert_eq!(oci.call(&["list", "-q"]).ok().out(), "a\nb\n");
    let listed = oci.call(&["list", "--format", "json"]).ok().json();
    assert_eq!((&listed[0]["status"], &listed[1]["status"]), (&json!("running"), &json!("created")));
    let table = oci.call(&["list"]).ok().lines();
    assert!(table[0].starts_with("ID") && table[1].starts_with("a ") && table[1].contains("running"), "{table:?}");
}

#[test]
fn a_template_is_a_bundle_that_runs() {
    if kernel::lacks("no_new_privs", (3, 5)) {
        return;
    }
    let oci = Oci::new();
    let bundle = oci.bundle("template", "true", |_| {});
    fs::remove_file(oci.world.path("template/config.json")).unwrap();
    oci.call(&["spec", "--bundle", &bundle]).ok();
    oci.call(&["spec", "--bundle", &bundle]).refused(1, &["config.json", "not overwritten"]);
    let path = oci.world.path("template/config.json");
    let mut config: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(config["process"]["terminal"], true);
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["/bin/echo", "from a template"]);
    write(&path, &config.to_string());
    assert_eq!(oci.call(&["run", "--bundle", &bundle, "template"]).ok().text(), "from a template");
}

fn kernel_has(namespace: &serde_json::Value) -> bool {
    let file = match namespace.as_str().unwrap() {
        // Older than its file (3.8).
        "mount" => return true,
        "network" => "net",
        other => other,
    };
    kernel::shows(&format!("/proc/self/ns/{file}"))
}

#[test]
fn features_name_what_the_backend_takes() {
    let oci = Oci::new();
    let features = oci.call(&["features"]).ok().json();
    let linux = &features["linux"];
    assert_eq!(features["hooks"].as_array().unwrap().len(), 6);
    assert!(linux["capabilities"].as_array().unwrap().contains(&json!("CAP_SYS_ADMIN")));
    assert!(linux["seccomp"]["actions"].as_array().unwrap().contains(&json!("SCMP_ACT_ERRNO")));
    // Each namespace that is named can be made where the kernel has it.
    let namespaces = linux["namespaces"].as_array().unwrap();
    let listed: Vec<_> =
        namespaces.iter().filter(|one| *one != "user" && kernel_has(one)).map(|one| json!({ "type": one })).collect();
    oci.run("all", "true", |config| config["linux"]["namespaces"] = json!(listed)).ok();
    // And each mount option that is named is none of a file system's.
    let words = features["mountOptions"].as_array().unwrap();
    // Those aside that need more than a tmpfs.
    let others = ["bind", "rbind", "remount", "mand", "rro", "idmap", "ridmap"];
    for word in words.iter().filter(|word| !others.contains(&word.as_str().unwrap())) {
        oci.run("option", "true", |config| {
            let mount = json!({ "destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": [word] });
            config["mounts"].as_array_mut().unwrap().push(mount);
        })
        .ok();
    }
}
