//! What a user does with one container.

use std::io::{BufRead, BufReader, Read};

use berth_api::models::{
    ContainerUpdateBody, ExecConfig, ExecStartConfig, HostConfig, ResourcesUlimits, RestartPolicy,
    RestartPolicyNameEnum,
};
use berth_core::{AttachOptions, Error, ListOptions, RemoveOptions, WaitCondition};

use crate::machine::{Machine, body};

pub(crate) fn a_container_is_created_listed_and_removed() {
    let machine = Machine::new();
    let engine = &machine.engine;
    let made = engine.create(Some("web"), None, body(&[], HostConfig::default())).unwrap();
    assert!(made.warnings.is_empty(), "{:?}", made.warnings);
    let all = ListOptions { all: true, ..ListOptions::default() };
    let list = engine.list(&all).unwrap();
    assert_eq!((list.len(), list[0].status.as_deref()), (1, Some("Created")));
    assert_eq!(list[0].image.as_deref(), Some("box"));
    assert!(engine.list(&ListOptions::default()).unwrap().is_empty());

    let shown = engine.inspect("web", true).unwrap();
    assert_eq!(shown.path.as_deref(), Some("/bin/true"));
    assert_eq!(shown.config.unwrap().env.unwrap(), ["COLOUR=blue"]);
    assert!(shown.graph_driver.unwrap().data.contains_key("UpperDir"));
    let missing = engine.inspect("nope", false).unwrap_err();
    assert!(matches!(missing, Error::NotFound(_)));

    engine.remove(&made.id[..12], RemoveOptions::default()).unwrap();
    assert!(engine.list(&all).unwrap().is_empty());
    let left =
        |name: &str| std::fs::read_dir(machine.folder.path().join(name)).map_or(0, |entries| entries.flatten().count());
    assert_eq!((left("containers"), left("run/containers"), left("locks")), (0, 0, 0));
}

pub(crate) fn a_name_has_one_owner() {
    let machine = Machine::new();
    let id = machine.engine.create(Some("web"), None, body(&[], HostConfig::default())).unwrap().id;
    let error = machine.engine.create(Some("web"), None, body(&[], HostConfig::default())).unwrap_err();
    assert!(matches!(error, Error::Conflict(_)));
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("Conflict. The container name \"/web\" is already in use by container \"{id}\".")),
        "{text}"
    );
    machine.engine.create(Some("db"), None, body(&[], HostConfig::default())).unwrap();
    assert!(matches!(machine.engine.rename("db", "web"), Err(Error::Conflict(_))));
    machine.engine.rename("db", "cache").unwrap();
    assert!(machine.engine.find("cache").is_ok() && machine.engine.find("db").is_err());
}

pub(crate) fn a_program_runs_and_its_exit_code_is_told() {
    let machine = Machine::new();
    assert_eq!(machine.run(&["/bin/sh", "-c", "echo hello; exit 3"], HostConfig::default()), (3, "hello\n".to_owned()));
}

pub(crate) fn a_program_that_is_not_there_is_127() {
    let machine = Machine::new();
    for (words, expected) in [(["/bin/nope"], 127), (["/etc/passwd"], 126)] {
        let id = machine.create(&words, HostConfig::default());
        match machine.engine.start(&id) {
            Err(Error::Program { code, .. }) => assert_eq!(code, expected),
            other => panic!("{other:?}"),
        }
        let state = machine.engine.inspect(&id, false).unwrap().state.unwrap();
        assert_eq!(state.exit_code, Some(i64::from(expected)));
        assert_ne!(state.error.as_deref(), Some(""));
        machine.engine.remove(&id, RemoveOptions::default()).unwrap();
    }
}

pub(crate) fn an_attached_stream_misses_no_output() {
    let machine = Machine::new();
    let id = machine.create(&["/bin/echo", "hello"], HostConfig::default());
    let options = AttachOptions { stdout: true, stderr: true, ..AttachOptions::default() };
    let stream = machine.engine.attach(&id, &options).unwrap();
    assert!(stream.pending);
    machine.engine.start(&id).unwrap();
    let mut reader = BufReader::new(stream.socket);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert!(line.contains("done"), "{line}");
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert!(rest.windows(6).any(|part| part == b"hello\n"), "{rest:?}");
    machine.engine.remove(&id, RemoveOptions { force: true, ..RemoveOptions::default() }).unwrap();
}

fn handles_sigterm(pid: i64) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << 14) != 0
}

pub(crate) fn a_container_is_stopped_started_and_removed_by_force() {
    let machine = Machine::new();
    let engine = &machine.engine;
    let id =
        machine.create(&["/bin/sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.05; done"], HostConfig::default());
    engine.start(&id).unwrap();
    assert!(matches!(engine.start(&id), Err(Error::NotModified(_))));
    let error = engine.remove(&id, RemoveOptions::default()).unwrap_err();
    assert!(
        error.to_string().contains("container is running: stop the container before removing or force remove"),
        "{error}"
    );
    assert_eq!(engine.list(&ListOptions::default()).unwrap().len(), 1);
    // A first process without a handler does not hear of it.
    let pid = engine.inspect(&id, false).unwrap().state.unwrap().pid.unwrap();
    while !handles_sigterm(pid) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    engine.stop(&id, None, Some(10)).unwrap();
    assert_eq!(engine.inspect(&id, false).unwrap().state.unwrap().exit_code, Some(5));
    assert!(matches!(engine.stop(&id, None, None), Err(Error::NotModified(_))));
    engine.restart(&id, None, Some(10)).unwrap();
    engine.pause(&id).unwrap();
    assert_eq!(engine.inspect(&id, false).unwrap().state.unwrap().paused, Some(true));
    assert!(matches!(engine.pause(&id), Err(Error::Conflict(_))));
    engine.unpause(&id).unwrap();
    engine.remove(&id, RemoveOptions { force: true, ..RemoveOptions::default() }).unwrap();
    assert!(matches!(engine.find(&id), Err(Error::NotFound(_))));
}

pub(crate) fn a_throwaway_container_is_gone_when_its_end_is_told() {
    let machine = Machine::new();
    let host = HostConfig { auto_remove: Some(true), ..HostConfig::default() };
    let id = machine.create(&["/bin/sh", "-c", "exit 7"], host.clone());
    let waited = machine.engine.wait(&id, WaitCondition::Removed).unwrap();
    machine.engine.start(&id).unwrap();
    assert_eq!(waited.finish(&|| false).unwrap().0, 7);
    assert!(matches!(machine.engine.find(&id), Err(Error::NotFound(_))));

    // Nobody waits: the monitor sees to it.
    let id = machine.create(&["/bin/true"], host);
    machine.engine.start(&id).unwrap();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while machine.engine.find(&id).is_ok() {
        assert!(std::time::Instant::now() < end, "it is still there");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

pub(crate) fn a_second_program_runs_inside() {
    let machine = Machine::new();
    let engine = &machine.engine;
    let id = machine.create(&["/bin/sleep", "60"], HostConfig::default());
    engine.start(&id).unwrap();
    let config = ExecConfig {
        cmd: Some(["/bin/sh", "-c", "id -u; echo $COLOUR$MORE; pwd; exit 4"].map(str::to_owned).into()),
        user: Some("web".to_owned()),
        env: Some(vec!["MORE=sky".to_owned()]),
        working_dir: Some("/etc".to_owned()),
        attach_stdout: Some(true),
        ..ExecConfig::default()
    };
    let exec = engine.exec_create(&id, &config).unwrap();
    let stream = engine.exec_start(&exec, &ExecStartConfig::default()).unwrap().unwrap();
    let text = until_exit(stream.socket);
    assert!(text.contains("33\n") && text.contains("bluesky\n") && text.contains("/etc\n"), "{text:?}");
    let shown = engine.exec_inspect(&exec).unwrap();
    assert_eq!((shown.running, shown.exit_code), (Some(false), Some(4)));
    assert!(matches!(engine.exec_start(&exec, &ExecStartConfig::default()), Err(Error::Conflict(_))));

    let missing = ExecConfig { cmd: Some(vec!["/bin/nope".to_owned()]), ..ExecConfig::default() };
    let exec = engine.exec_create(&id, &missing).unwrap();
    let detached = ExecStartConfig { detach: Some(true), ..ExecStartConfig::default() };
    let refused = engine.exec_start(&exec, &detached);
    assert!(matches!(refused, Err(Error::Program { code: 127, .. })), "{refused:?}");
    engine.remove(&id, RemoveOptions { force: true, ..RemoveOptions::default() }).unwrap();
}

/// All that frames carry before the one that tells the exit.
fn until_exit(mut socket: std::os::unix::net::UnixStream) -> String {
    let mut text = String::new();
    loop {
        let mut header = [0; 8];
        socket.read_exact(&mut header).unwrap();
        let mut body = vec![0; u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize];
        socket.read_exact(&mut body).unwrap();
        if header[0] == berth_monitor::protocol::frame::CONTROL {
            return text;
        }
        text.push_str(&String::from_utf8_lossy(&body));
    }
}

pub(crate) fn settings_reach_the_program() {
    let machine = Machine::new();
    let folder = machine.folder.path().join("shared folder");
    let host = HostConfig {
        binds: Some(vec![format!("{}:/mnt/in:ro", folder.display())]),
        tmpfs: Some([("/scratch".to_owned(), "size=1m".to_owned())].into()),
        group_add: Some(vec!["adm".to_owned()]),
        extra_hosts: Some(vec!["db:10.1.2.3".to_owned()]),
        ulimits: Some(vec![ResourcesUlimits { name: Some("nofile".to_owned()), soft: Some(64), hard: Some(64) }]),
        readonly_rootfs: Some(true),
        ..HostConfig::default()
    };
    let script = "id -G; ulimit -n; grep db /etc/hosts; hostname; ls -d /data/here; echo $HOME; \
        echo x 2>/dev/null >/x || echo readonly; echo x 2>/dev/null >/mnt/in/x || echo readonly; \
        echo x >/scratch/x && cat /scratch/x; cat /proc/self/status | grep CapEff";
    let mut request = body(&["/bin/sh", "-c", script], host);
    request.hostname = Some("boxer".to_owned());
    let id = machine.engine.create(None, None, request).unwrap().id;
    assert!(folder.is_dir(), "-v makes the folder");
    let waited = machine.engine.wait(&id, WaitCondition::NextExit).unwrap();
    machine.engine.start(&id).unwrap();
    waited.finish(&|| false).unwrap();
    let container = machine.engine.find(&id).unwrap();
    let log = std::fs::read_to_string(machine.engine.log_path(&container)).unwrap();
    for words in ["0 4\\n", "64\\n", "10.1.2.3", "boxer\\n", "/data/here\\n", "/root\\n", "00000000a80425fb"] {
        assert!(log.contains(words), "{words}: {log}");
    }
    assert_eq!(log.matches("readonly").count(), 2, "{log}");
    machine.engine.remove(&id, RemoveOptions::default()).unwrap();
}

pub(crate) fn limits_and_names_change_while_it_runs() {
    let machine = Machine::new();
    let engine = &machine.engine;
    let id = machine.create(&["/bin/sleep", "60"], HostConfig { memory: Some(64 << 20), ..HostConfig::default() });
    engine.start(&id).unwrap();
    let body = ContainerUpdateBody {
        memory: Some(32 << 20),
        memory_swap: Some(64 << 20),
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::ALWAYS), maximum_retry_count: None }),
        ..ContainerUpdateBody::default()
    };
    engine.update(&id, body).unwrap();
    let host = engine.inspect(&id, false).unwrap().host_config.unwrap();
    assert_eq!(host.memory, Some(32 << 20));
    assert_eq!(host.restart_policy.unwrap().name, Some(RestartPolicyNameEnum::ALWAYS));
    let bundle = std::fs::read_to_string(engine.paths().container(&id).join("config.json")).unwrap();
    assert!(bundle.contains(&format!("\"limit\":{}", 32 << 20)), "a restart has the new limits: {bundle}");
    assert!(bundle.contains("\"devices\""));
    engine.rename(&id, "renamed").unwrap();
    engine.stop("renamed", Some("KILL"), None).unwrap();
    assert_eq!(engine.inspect("renamed", false).unwrap().state.unwrap().exit_code, Some(137));
    engine.remove("renamed", RemoveOptions::default()).unwrap();
}
