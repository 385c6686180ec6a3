//! Several clients of one container, of which some are slow.

use std::io::Read;
use std::time::{Duration, Instant};

use berth_monitor::protocol::{FromMonitor, Request, Response};

use crate::driver::{Client, Container};

crate::tests![
    a_stopped_client_blocks_nobody_and_loses_nothing,
    a_slow_client_outlives_the_container_and_gets_everything,
    a_client_gets_only_the_streams_it_asked_for,
    a_client_that_vanishes_ends_nothing,
];

const SIZE: usize = 40_000_000;

fn a_stopped_client_blocks_nobody_and_loses_nothing() {
    let container = Container::sh("read x; seq 1 5000000 | head -c 40000000; echo done; sleep 100").interactive();
    let fast = container.start_attached(&[]);
    let stopped = container.attach();
    fast.type_in(b"go\n");
    let started = Instant::now();
    let seen = fast.expect("done\n");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert!(seen.len() >= 30_000_000);
    assert_eq!(stopped.expect("done\n"), seen);
}

fn a_slow_client_outlives_the_container_and_gets_everything() {
    let container = Container::sh("read x; head -c 40000000 /dev/zero; exit 6").interactive();
    let slow = container.start_attached(&[]);
    slow.type_in(b"go\n");
    let started = Instant::now();
    assert_eq!(container.wait(), 6);
    assert!(started.elapsed() < Duration::from_secs(10));
    // The container can be started again while the last output of its former run is still on its way.
    assert_eq!(container.state().exit_code, 6);
    container.start();
    let (out, _, end) = slow.rest();
    assert_eq!(out.len(), SIZE);
    assert!(matches!(end, Some(FromMonitor::Exited { code: 6 })), "{end:?}");
}

fn a_client_gets_only_the_streams_it_asked_for() {
    let container = Container::sh(
        "read x; i=0; while [ $i -lt 3000 ]; do echo out; echo err >&2; i=$((i+1)); done; head -c 3000000 /dev/zero",
    )
    .interactive();
    let both = container.start_attached(&[]);
    let (stream, answer) =
        container.open(&Request::Attach { stdin: false, stdout: false, stderr: true, detach_keys: Vec::new() });
    assert!(matches!(answer, Response::Done));
    let errors = Client(stream);
    both.type_in(b"\n");
    let (out, err, _) = both.rest();
    assert_eq!((out.len(), err.len()), (3000 * 4 + 3_000_000, 3000 * 4));
    let (out, err, end) = errors.rest();
    assert_eq!((out.len(), err.len()), (0, 3000 * 4));
    assert!(end.is_some());
}

fn a_client_that_vanishes_ends_nothing() {
    let container = Container::sh("seq 1 300000; sleep 100");
    for _ in 0..5 {
        let mut client = container_client(&container);
        let mut some = [0; 1000];
        let _ = client.0.read(&mut some);
    }
    let last = container.attach();
    assert!(matches!(container.ask(&Request::Signal { signal: libc::SIGKILL }), Response::Done));
    let (_, _, end) = last.rest();
    assert!(matches!(end, Some(FromMonitor::Exited { code: 137 })), "{end:?}");
}

fn container_client(container: &Container) -> Client {
    if !berth_monitor::client::is_alive(&container.config.run_folder) {
        return container.start_attached(&[]);
    }
    container.attach()
}
