//! Start, exit, stop, restart, and the monitor's own end.

use std::time::{Duration, Instant};

use berth_monitor::config::RestartPolicy;
use berth_monitor::protocol::{RefusalKind, Request, Response, WaitCondition};
use berth_monitor::{Status, client};

use crate::driver::Container;

crate::tests![
    an_exit_is_recorded_and_leaves_only_the_state,
    a_program_that_is_not_there_is_refused_with_127,
    a_program_that_cannot_run_is_refused_with_126,
    a_second_monitor_is_refused,
    a_program_that_ignores_the_stop_signal_is_killed,
    restarts_back_off_and_end_with_a_stop,
    on_failure_gives_up,
    killing_the_monitor_kills_the_container,
    a_terminated_monitor_stops_its_container_in_order,
    removal_is_left_to_the_monitor_when_nobody_promised_it,
    a_promise_to_remove_that_dies_with_its_giver_is_kept_by_the_monitor,
    private_memory_is_small,
    hostile_requests_are_refused,
];

fn an_exit_is_recorded_and_leaves_only_the_state() {
    let container = Container::sh("sleep 0.1; exit 3");
    let pid = container.start();
    assert!(client::is_alive(&container.config.run_folder));
    let state = container.state();
    assert_eq!((state.status, state.pid), (Status::Running, pid));
    assert_eq!(container.wait(), 3);
    let state = container.state();
    assert_eq!((state.status, state.exit_code, state.pid), (Status::Exited, 3, 0));
    assert!(state.started_at > 0 && state.finished_at > state.started_at);
    assert!(!client::is_alive(&container.config.run_folder));
    assert_eq!(std::fs::read_dir(&container.config.run_folder).unwrap().count(), 0);
    assert_eq!(container.events(), ["start", "die"]);
}

fn a_program_that_is_not_there_is_refused_with_127() {
    let container = Container::new(&["no-such-program"]);
    let refusal = container.start_refused();
    assert_eq!(refusal.kind, RefusalKind::ProgramNotFound);
    assert_eq!(refusal.message, "exec: \"no-such-program\": executable file not found in $PATH");
    let state = container.state();
    assert_eq!((state.status, state.exit_code), (Status::Created, 127));
    assert_eq!(std::fs::read_dir(&container.config.run_folder).unwrap().count(), 0);
}

fn a_program_that_cannot_run_is_refused_with_126() {
    let container = Container::new(&["/etc/passwd"]);
    assert_eq!(container.start_refused().kind, RefusalKind::CannotExecute);
    assert_eq!(container.state().exit_code, 126);
}

fn a_second_monitor_is_refused() {
    let container = Container::sh("sleep 100");
    container.start();
    let before = container.state();
    assert_eq!(container.start_refused().kind, RefusalKind::Conflict);
    assert_eq!(container.state().pid, before.pid);
}

fn a_program_that_ignores_the_stop_signal_is_killed() {
    let container = Container::sh("trap '' TERM; while :; do sleep 0.05; done");
    container.start();
    std::thread::sleep(Duration::from_millis(100));
    let started = Instant::now();
    let answer = container.ask(&Request::Stop { signal: None, timeout: Some(1) });
    assert!(matches!(answer, Response::Done), "{answer:?}");
    assert!((1000..4000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    let state = container.state();
    assert_eq!((state.exit_code, state.stopped_by_user), (137, true));
    assert_eq!(container.events(), ["start", "kill", "kill", "die", "stop"]);
}

fn restarts_back_off_and_end_with_a_stop() {
    let mut container = Container::sh("echo run; exit 1");
    container.config.restart = RestartPolicy::Always;
    container.start();
    container.until("it has run four times", || container.log().lines().count() >= 4);
    container.until("it waits", || container.state().status == Status::Restarting);
    assert!(container.state().restart_count >= 3);
    assert!(matches!(container.ask(&Request::Stop { signal: None, timeout: None }), Response::Done));
    assert!(!client::is_alive(&container.config.run_folder));
    assert_eq!(container.state().status, Status::Exited);
}

fn on_failure_gives_up() {
    let mut container = Container::sh("exit 7");
    container.config.restart = RestartPolicy::OnFailure { maximum: 2 };
    container.start();
    assert_eq!(container.wait(), 7);
    assert_eq!(container.state().restart_count, 2);
    assert_eq!(container.events(), ["start", "die", "start", "die", "start", "die"]);
}

fn killing_the_monitor_kills_the_container() {
    let container = Container::sh("sleep 100");
    let pid = container.start();
    let monitor = container.state().monitor_pid;
    rustix::process::kill_process(rustix::process::Pid::from_raw(monitor).unwrap(), rustix::process::Signal::KILL)
        .unwrap();
    container.until("the lock is free", || !client::is_alive(&container.config.run_folder));
    let ended = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    };
    container.until("the program is dead", ended);
    assert_eq!(container.state().status, Status::Running);
    assert!(matches!(
        client::request(&container.config.run_folder, &Request::Pause),
        Err(berth_monitor::Error::NotFound(_))
    ));
    // What a dead monitor leaves does not hinder the next.
    container.start();
}

fn a_terminated_monitor_stops_its_container_in_order() {
    let mut container = Container::sh("trap 'echo bye; exit 5' TERM; while :; do sleep 0.05; done");
    container.config.restart = RestartPolicy::Always;
    container.start();
    std::thread::sleep(Duration::from_millis(200));
    let monitor = rustix::process::Pid::from_raw(container.state().monitor_pid).unwrap();
    rustix::process::kill_process(monitor, rustix::process::Signal::TERM).unwrap();
    container.until("the monitor is gone", || !client::is_alive(&container.config.run_folder));
    let state = container.state();
    assert_eq!((state.status, state.exit_code, state.stopped_by_user), (Status::Exited, 5, false));
    assert!(container.log().contains("bye"));
}

fn removal_is_left_to_the_monitor_when_nobody_promised_it() {
    let (container, mark) = removed_by_a_command();
    container.start();
    let answer = container.ask(&Request::Wait { condition: WaitCondition::NotRunning, removes: false });
    assert!(matches!(answer, Response::Exited { code: 0, .. }), "{answer:?}");
    container.until("it is removed", || std::fs::read_to_string(&mark).is_ok_and(|text| text == "/\n"));
}

fn a_promise_to_remove_that_dies_with_its_giver_is_kept_by_the_monitor() {
    let (container, mark) = removed_by_a_command();
    container.start();
    let (promise, answer) = container.open(&Request::Wait { condition: WaitCondition::NotRunning, removes: true });
    assert!(matches!(answer, Response::Exited { code: 0, .. }), "{answer:?}");
    std::thread::sleep(Duration::from_millis(200));
    assert!(!mark.exists(), "removed under the hands of who promised it");
    drop(promise);
    container.until("it is removed", || mark.exists());
}

fn removed_by_a_command() -> (Container, std::path::PathBuf) {
    let mut container = Container::sh("sleep 0.2");
    let mark = container.config.folder.join("removed");
    container.config.auto_remove = true;
    container.config.remove_command = vec!["/bin/sh".to_owned(), "-c".to_owned(), format!("pwd > {}", mark.display())];
    (container, mark)
}

fn private_memory_is_small() {
    let container = Container::sh("cat").interactive();
    let attached = container.start_attached(&[]);
    attached.type_in(&vec![b'x'; 60_000]);
    attached.expect("x");
    let path = format!("/proc/{}/smaps_rollup", container.state().monitor_pid);
    let rollup = std::fs::read_to_string(path).unwrap();
    let dirty: u64 = rollup
        .lines()
        .find_map(|l| l.strip_prefix("Private_Dirty:"))
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    println!("private memory: {dirty} KiB");
    assert!(dirty < 1500, "{rollup}");
}

fn hostile_requests_are_refused() {
    use std::io::Write;
    let container = Container::sh("sleep 100");
    container.start();
    for text in [&b"nonsense\n"[..], b"{\"signal\":{\"signal\":100}}\n", b"{\"exec\":{}}\n", b"\xff\xfe\n", b"\n"] {
        let mut stream = client::connect(&container.config.run_folder).unwrap();
        stream.write_all(text).unwrap();
        let answer = client::receive(&stream).unwrap();
        assert!(matches!(&answer, Response::Refused(r) if r.kind == RefusalKind::InvalidArgument), "{answer:?}");
    }
    let mut stream = client::connect(&container.config.run_folder).unwrap();
    let _ = stream.write_all(&vec![b'['; 5 << 20]);
    drop(client::receive(&stream));
    let mut stream = client::connect(&container.config.run_folder).unwrap();
    stream.write_all(&vec![b'['; 1 << 20]).unwrap();
    stream.write_all(b"\n").unwrap();
    assert!(matches!(client::receive(&stream).unwrap(), Response::Refused(_)));
    let attached = container.attach();
    (&attached.0).write_all(&[0, 0, 0, 0, 255, 255, 255, 255, 1, 2, 3]).unwrap();
    assert!(attached.frame().is_none());
    assert_eq!(container.state().status, Status::Running);
    assert!(client::is_alive(&container.config.run_folder));
}
