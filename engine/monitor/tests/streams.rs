//! Bytes, both ways, through pipes and terminals.

use std::time::{Duration, Instant};

use berth_monitor::protocol::{FromClient, FromMonitor, Request, Response, frame as kinds};

use crate::driver::{Client, Container};

crate::tests![
    nothing_of_a_short_run_is_lost,
    a_hundred_mebibytes_pass_both_ways,
    input_waits_for_a_program_that_does_not_read,
    a_background_process_with_the_pipe_does_not_delay_the_end_for_ever,
    a_terminal_detaches_and_attaches_again,
    a_terminal_has_its_size,
    executions_have_streams_of_their_own,
];

fn nothing_of_a_short_run_is_lost() {
    let container = Container::sh("echo out; echo err >&2; printf last; exit 4");
    let (out, err, end) = container.start_attached(&[]).rest();
    assert_eq!((out.as_slice(), err.as_slice()), (&b"out\nlast"[..], &b"err\n"[..]));
    assert!(matches!(end, Some(FromMonitor::Exited { code: 4 })), "{end:?}");
    container.wait();
    let log = container.log();
    assert!(log.contains(r#"{"log":"last","stream":"stdout","time":""#), "{log}");
    assert_eq!(container.events()[..2], ["attach", "start"]);
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn a_hundred_mebibytes_pass_both_ways() {
    let container = Container::sh("exec cat").interactive();
    let client = container.start_attached(&[]);
    let sent = noise(100 << 20);
    let started = Instant::now();
    let (out, _, end) = std::thread::scope(|scope| {
        scope.spawn(|| {
            sent.chunks(60_001).for_each(|chunk| client.type_in(chunk));
            client.end_input();
        });
        client.rest()
    });
    assert!(out == sent, "{} of {} bytes", out.len(), sent.len());
    assert!(matches!(end, Some(FromMonitor::Exited { code: 0 })));
    println!("100 MiB both ways, logged: {:.2?}", started.elapsed());
}

fn input_waits_for_a_program_that_does_not_read() {
    let container = Container::sh("sleep 0.5; exec wc -c").interactive();
    let client = container.start_attached(&[]);
    for _ in 0..100 {
        client.type_in(&[b'x'; 50_000]);
    }
    client.end_input();
    assert_eq!(String::from_utf8(client.rest().0).unwrap().trim(), "5000000");
}

fn a_background_process_with_the_pipe_does_not_delay_the_end_for_ever() {
    let container = Container::sh("sleep 8 & echo x; exit 2");
    let started = Instant::now();
    let (out, _, end) = container.start_attached(&[]).rest();
    assert_eq!(out, b"x\n");
    assert!(matches!(end, Some(FromMonitor::Exited { code: 2 })));
    assert!(started.elapsed() < Duration::from_secs(5));
}

fn a_terminal_detaches_and_attaches_again() {
    let mut container = Container::sh("while read line; do echo got $line; done").interactive();
    container.config.terminal = true;
    let first = container.start_attached(&[16, 17]);
    first.type_in(b"one\n");
    first.expect("got one");
    let second = container.attach();
    second.type_in(b"two\n");
    first.expect("got two");
    second.expect("got two");
    // Held back, then forwarded; then the keys in two packets.
    first.type_in(b"\x10");
    first.type_in(b"x\n");
    second.expect("got \x10x");
    first.type_in(b"\x10");
    std::thread::sleep(Duration::from_millis(50));
    first.type_in(b"\x11");
    assert!(matches!(first.rest().2, Some(FromMonitor::Detached)));
    second.type_in(b"three\n");
    second.expect("got three");
    second.type_in(b"\x04");
    assert!(matches!(second.rest().2, Some(FromMonitor::Exited { code: _ })));
    assert_eq!(container.events(), ["attach", "start", "attach", "detach", "die"]);
}

fn a_terminal_has_its_size() {
    let mut container = Container::sh("stty size; read x; stty size; read x; stty size").interactive();
    container.config.terminal = true;
    container.config.size = Some((100, 30));
    let client = container.start_attached(&[]);
    client.expect("30 100");
    let resize = Request::Resize { exec: None, columns: 90, rows: 20 };
    assert!(matches!(container.ask(&resize), Response::Done));
    client.type_in(b"\n");
    client.expect("20 90");
    let resize = serde_json::to_vec(&FromClient::Resize { columns: 70, rows: 10 }).unwrap();
    client.send(kinds::CONTROL, &resize);
    client.type_in(b"\n");
    client.expect("10 70");
}

fn executions_have_streams_of_their_own() {
    let container = Container::sh("exec sleep 100");
    container.start();
    let exec = |id: &str, script: &str| {
        let process = serde_json::json!({"args": ["/bin/sh", "-c", script], "cwd": "/", "user": {"uid": 0, "gid": 0}});
        let request = Request::Exec {
            id: id.to_owned(),
            process: Box::new(serde_json::from_value(process).unwrap()),
            stdin: true,
            stdout: true,
            stderr: true,
            detach: false,
            detach_keys: Vec::new(),
            size: None,
        };
        let (stream, response) = container.open(&request);
        assert!(matches!(response, Response::Executing { .. }), "{response:?}");
        Client(stream)
    };
    let cat = exec("cat", "cat; exit 9");
    let other = exec("other", "echo hello >&2; exit 8");
    let (_, err, end) = other.rest();
    assert_eq!(err, b"hello\n");
    assert!(matches!(end, Some(FromMonitor::Exited { code: 8 })));
    cat.type_in(b"abc");
    cat.end_input();
    let (out, _, end) = cat.rest();
    assert_eq!(out, b"abc");
    assert!(matches!(end, Some(FromMonitor::Exited { code: 9 })));
    let saved = std::fs::read_to_string(container.config.run_folder.join("exec/cat.json")).unwrap();
    assert!(saved.contains("\"exit_code\":9") && saved.contains("\"running\":false"), "{saved}");
    assert_eq!(container.log(), "");
}
