//! The namespace backend beneath, with busybox for a root.

use berth_monitor::protocol::{FromMonitor, RefusalKind};

use crate::driver::Container;

crate::tests![a_container_of_namespaces_runs_and_leaves_nothing, a_missing_program_inside_is_127];

fn container(args: &[&str]) -> Option<Container> {
    if !rustix::process::geteuid().is_root() || !std::path::Path::new("/bin/busybox").exists() {
        println!("skipped: this takes root and a static /bin/busybox");
        return None;
    }
    let mut container = Container::new(args);
    let root = container.config.folder.join("rootfs");
    for folder in ["bin", "proc", "dev", "sys", "tmp"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    std::fs::create_dir_all(&container.config.mount_point).unwrap();
    let namespaces: Vec<_> =
        ["pid", "mount", "uts", "ipc", "network"].iter().map(|kind| serde_json::json!({ "type": kind })).collect();
    let spec = serde_json::json!({
        "ociVersion": "1.0.2",
        "process": {"args": args, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
        "root": {"path": root},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": namespaces},
    });
    std::fs::write(container.config.folder.join("config.json"), spec.to_string()).unwrap();
    container.config.backend = "namespace".to_owned();
    Some(container)
}

fn a_container_of_namespaces_runs_and_leaves_nothing() {
    let script = "busybox echo I am $$; busybox sleep 100 & exit 3";
    let Some(container) = container(&["/bin/busybox", "sh", "-c", script]) else { return };
    let (out, err, end) = container.start_attached(&[]).rest();
    assert_eq!((String::from_utf8_lossy(&out), String::from_utf8_lossy(&err)), ("I am 1\n".into(), "".into()));
    assert!(matches!(end, Some(FromMonitor::Exited { code: 3 })), "{end:?}");
    container.until("the state is written", || container.state().exit_code == 3);
    assert_eq!(std::fs::read_dir(&container.config.run_folder).unwrap().count(), 0);
}

fn a_missing_program_inside_is_127() {
    let Some(container) = container(&["foo"]) else { return };
    let refusal = container.start_refused();
    assert_eq!(refusal.kind, RefusalKind::ProgramNotFound, "{refusal:?}");
    assert_eq!(refusal.message, "exec: \"foo\": executable file not found in $PATH");
}
