//! Several engines at once, and engines that die at any moment.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use berth_api::models::HostConfig;
use berth_core::{Error, ListOptions, RemoveOptions};
use berth_monitor::Status;

use crate::machine::{self, Machine, body};

const ALL: fn() -> ListOptions = || ListOptions { all: true, ..ListOptions::default() };

/// Makes and removes containers until it is killed or has done enough.
pub(crate) fn churn(root: &Path, seed: u64) {
    let engine = machine::open(root);
    for number in 0..20 {
        let name = format!("c-{seed}-{number}");
        let id = engine.create(Some(&name), None, body(&[], HostConfig::default())).unwrap().id;
        if number % 2 == 0 {
            engine.remove(&id, RemoveOptions { force: true, ..RemoveOptions::default() }).unwrap();
        }
    }
}

fn engine(root: &Path, seed: u64) -> std::process::Child {
    Command::new("/proc/self/exe").arg(root).args(["churn", &seed.to_string()]).stdin(Stdio::null()).spawn().unwrap()
}

/// What is on disk agrees with what is recorded, and all of it can be removed.
fn check_and_clear(machine: &Machine) {
    let root = machine.folder.path();
    let engine = machine::open(root);
    engine.sweep().unwrap();
    let list = engine.list(&ALL()).unwrap();
    let count = |name: &str| std::fs::read_dir(root.join(name)).map_or(0, |entries| entries.flatten().count());
    assert_eq!(count("containers"), list.len(), "a folder a container");
    for container in &list {
        engine.remove(container.id.as_deref().unwrap(), RemoveOptions::default()).unwrap();
    }
    assert_eq!((count("containers"), count("locks")), (0, 0));
    let layers: i64 = engine
        .store()
        .read(|connection| Ok::<_, Error>(connection.query_row("SELECT count(*) FROM layers", [], |row| row.get(0))?))
        .unwrap();
    assert_eq!(layers, 1, "only the image's layer is left");
    let mut on_disk = engine.driver().list().unwrap();
    on_disk.retain(|id| id.as_str() != "mount-points");
    assert_eq!(on_disk.len(), 1);
}

pub(crate) fn engines_side_by_side_make_and_remove_without_errors() {
    let machine = Machine::new();
    let engines: Vec<_> = (0..10).map(|seed| engine(machine.folder.path(), seed)).collect();
    for mut engine in engines {
        assert!(engine.wait().unwrap().success());
    }
    assert_eq!(machine.engine.list(&ALL()).unwrap().len(), 100);
    check_and_clear(&machine);
}

pub(crate) fn a_killed_engine_leaves_what_the_next_one_cleans_up() {
    let machine = Machine::new();
    for round in 0..40u64 {
        let mut engine = engine(machine.folder.path(), round);
        std::thread::sleep(Duration::from_micros(3000 + round * 700));
        engine.kill().unwrap();
        engine.wait().unwrap();
    }
    check_and_clear(&machine);
}

/// A power cut can take the record of a layer whose files had reached the disk.
pub(crate) fn after_a_boot_layers_without_a_record_are_removed() {
    let machine = Machine::new();
    let root = machine.folder.path();
    let stray: berth_fs_drivers::LayerId = "zzz".parse().unwrap();
    machine.engine.driver().prepare(&stray, &[], &Default::default()).unwrap();
    let layers = || machine.engine.driver().list().unwrap();
    machine::open(root);
    assert!(layers().contains(&stray), "nobody booted");
    let reboot = "UPDATE meta SET value = 'another' WHERE key = 'boot'";
    let rows = machine.engine.store().write(|transaction| Ok::<_, Error>(transaction.execute(reboot, [])?)).unwrap();
    assert_eq!(rows, 1);
    let before = layers().len();
    machine::open(root);
    assert_eq!((layers().contains(&stray), layers().len()), (false, before - 1));
}

pub(crate) fn a_container_without_monitor_is_recorded_as_killed() {
    let machine = Machine::new();
    let id = machine.create(&[], HostConfig::default());
    let folder = machine.engine.paths().container(&id);
    std::fs::write(folder.join("state.json"), running_state()).unwrap();
    let state = machine.engine.inspect(&id, false).unwrap().state.unwrap();
    assert_eq!((state.exit_code, state.running), (Some(137), Some(false)));
    assert_eq!(state.error.as_deref(), Some("the monitor was killed"));
    machine.engine.remove(&id, RemoveOptions::default()).unwrap();
}

pub(crate) fn a_loss_that_cannot_be_noted_is_told() {
    let machine = Machine::new();
    let id = machine.create(&[], HostConfig::default());
    std::fs::write(machine.engine.paths().container(&id).join("state.json"), running_state()).unwrap();
    // As on a file system that has become read-only, no lock can be made.
    let locks = machine.engine.paths().locks();
    std::fs::remove_dir_all(&locks).unwrap();
    std::fs::write(&locks, "").unwrap();
    let state = machine.engine.inspect(&id, false).unwrap().state.unwrap();
    assert_eq!((state.exit_code, state.running), (Some(137), Some(false)));
    assert_eq!(machine.engine.list(&ALL()).unwrap().len(), 1);
    std::fs::remove_file(&locks).unwrap();
    machine.engine.remove(&id, RemoveOptions::default()).unwrap();
}

fn running_state() -> Vec<u8> {
    state_of(Status::Running, "")
}

fn state_of(status: Status, boot: &str) -> Vec<u8> {
    let state = berth_monitor::State { status, started_at: 1, boot: boot.to_owned(), ..Default::default() };
    serde_json::to_vec(&state).unwrap()
}

pub(crate) fn a_reboot_is_told_from_a_killed_monitor() {
    let machine = Machine::new();
    let present = berth_monitor::state::boot_id();
    assert_eq!(present.len(), 36);
    for (boot, code, words) in [("of another day", 255, "host was restarted"), (present.as_str(), 137, "killed")] {
        let id = machine.create(&[], HostConfig::default());
        let path = machine.engine.paths().container(&id).join("state.json");
        std::fs::write(path, state_of(Status::Running, boot)).unwrap();
        let state = machine.engine.inspect(&id, false).unwrap().state.unwrap();
        assert_eq!((state.exit_code, state.running), (Some(code), Some(false)));
        assert!(state.error.as_deref().unwrap().contains(words), "{state:?}");
    }
}

/// Its state goes with the run folder; that it had been started does not.
pub(crate) fn a_reboot_ends_a_throwaway_container_that_ran_and_keeps_one_that_did_not() {
    let machine = Machine::new();
    let throwaway = || HostConfig { auto_remove: Some(true), ..HostConfig::default() };
    let (ran, fresh) = (machine.create(&["/bin/sleep", "60"], throwaway()), machine.create(&[], throwaway()));
    machine.engine.start(&ran).unwrap();
    let container = machine.engine.find(&ran).unwrap();
    let pid = machine.engine.state(&container).unwrap().monitor_pid;
    let monitor = machine.engine.paths().container(&ran).join("monitor.json");
    let boot = berth_monitor::state::boot_id();
    let text = std::fs::read_to_string(&monitor).unwrap().replace(&boot, "of another day");
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
    // The test's own child: it has to be gone before its lock's file is.
    machine.engine.wait(&ran, Default::default()).unwrap().finish(&|| false).unwrap();
    std::fs::write(&monitor, text).unwrap();
    std::fs::remove_dir_all(machine.engine.paths().container_run(&ran)).unwrap();
    let state = machine.engine.state(&container).unwrap();
    assert_eq!((state.status, state.exit_code), (Status::Exited, 255), "{state:?}");
    machine.engine.sweep().unwrap();
    assert!(matches!(machine.engine.find(&ran), Err(Error::NotFound(_))));
    machine.engine.remove(&fresh, RemoveOptions::default()).unwrap();
}

pub(crate) fn whoever_lists_removes_what_nobody_lived_to_remove() {
    let machine = Machine::new();
    let throwaway = HostConfig { auto_remove: Some(true), ..HostConfig::default() };
    let made = machine.engine.create(Some("left"), None, body(&[], throwaway.clone())).unwrap();
    let end = |id: &str| {
        let folder = machine.engine.paths().container_run(id);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("state.json"), state_of(Status::Exited, "")).unwrap();
    };
    end(&made.id);
    assert!(machine.engine.list(&ListOptions::default()).unwrap().is_empty());
    assert!(matches!(machine.engine.find("left"), Err(Error::NotFound(_))));
    // And whoever wants its name.
    let made = machine.engine.create(Some("left"), None, body(&[], throwaway.clone())).unwrap();
    end(&made.id);
    machine.engine.create(Some("left"), None, body(&[], throwaway)).unwrap();
}

pub(crate) fn a_lost_container_is_restarted_if_its_policy_says_so() {
    use berth_api::models::{RestartPolicy, RestartPolicyNameEnum};
    let machine = Machine::new();
    let policy = RestartPolicy { name: Some(RestartPolicyNameEnum::UNLESS_STOPPED), maximum_retry_count: None };
    let id =
        machine.create(&["/bin/sleep", "60"], HostConfig { restart_policy: Some(policy), ..HostConfig::default() });
    machine.engine.start(&id).unwrap();
    let container = machine.engine.find(&id).unwrap();
    let state = || machine.engine.state(&container).unwrap();
    let kill = |pid| {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    };
    kill(state().monitor_pid);
    machine.engine.wait(&id, Default::default()).unwrap().finish(&|| false).unwrap();
    machine.engine.look_after(&id).unwrap();
    assert_eq!(state().status, Status::Running);
    machine.engine.stop(&id, None, Some(0)).unwrap();
    machine.engine.look_after(&id).unwrap();
    machine.engine.autostart().unwrap();
    assert_eq!(state().status, Status::Exited, "the user stopped it");
    machine.engine.remove(&id, RemoveOptions::default()).unwrap();
}

pub(crate) fn a_lost_monitor_is_noticed() {
    let machine = Machine::new();
    let id = machine.create(&["/bin/sleep", "60"], HostConfig::default());
    machine.engine.start(&id).unwrap();
    let container = machine.engine.find(&id).unwrap();
    let state = machine.engine.state(&container).unwrap();
    let pid = rustix::process::Pid::from_raw(state.monitor_pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let waited = machine.engine.wait(&id, Default::default()).unwrap();
    assert_eq!(waited.finish(&|| false).unwrap().0, 137);
    let gone = || !Path::new(&format!("/proc/{}/root", state.pid)).join("bin").exists();
    let end = std::time::Instant::now() + Duration::from_secs(5);
    while !gone() {
        assert!(std::time::Instant::now() < end, "the container's program still runs");
        std::thread::sleep(Duration::from_millis(5));
    }
    machine.engine.start(&id).unwrap();
    machine.engine.remove(&id, RemoveOptions { force: true, ..RemoveOptions::default() }).unwrap();
}
