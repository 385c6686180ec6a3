//! Attached clients without a terminal: several, slow ones, late ones.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

both! {
    fn all_attached_clients_see_the_output_and_the_code(world) {
        world.berth(&["create", "-i", "--name", "one", "box", "sh", "-c", "read line; echo got $line; exit 8"]).ok();
        world.berth(&["start", "one"]).ok();
        let mut first = world.background(&["attach", "one"]);
        let second = world.background(&["attach", "--no-stdin", "one"]);
        std::thread::sleep(Duration::from_millis(500));
        first.write(b"hello\n");
        assert_eq!(second.wait(Duration::from_secs(20)).ended(8).text(), "got hello");
        assert_eq!(first.wait(Duration::from_secs(20)).ended(8).text(), "got hello");
    }

    fn a_stopped_client_blocks_neither_container_nor_others(world) {
        world
            .berth(&[
                "create",
                "--name",
                "one",
                // Small disks' logs are bounded by default.
                "--log-opt",
                "max-size=-1",
                "box",
                "sh",
                "-c",
                "sleep 0.7; seq 300000; echo done > /done; sleep 1000",
            ])
            .ok();
        world.berth(&["start", "one"]).ok();
        let stopped = world.background(&["attach", "--no-stdin", "one"]);
        let reading = world.background(&["attach", "--no-stdin", "one"]);
        std::thread::sleep(Duration::from_millis(300));
        stopped.signal(Signal::SIGSTOP);
        reading.expect("\n300000\n", Duration::from_secs(30));
        let begin = Instant::now();
        crate::support::eventually("the container went on", Duration::from_secs(20), || {
            world.berth(&["exec", "one", "cat", "/done"]).text() == "done"
        });
        assert!(begin.elapsed() < Duration::from_secs(20));
        let lines = world.berth(&["logs", "one"]).ok().lines();
        assert_eq!(lines.len(), 300_000);
        stopped.signal(Signal::SIGCONT);
        world.berth(&["kill", "one"]).ok();
        reading.wait(Duration::from_secs(20)).ended(137);
    }

    fn start_with_a_gives_output_input_and_code(world) {
        world.berth(&["create", "-i", "--name", "one", "box", "sh", "-c", "cat; exit 5"]).ok();
        let outcome = world.feed(&["start", "-ai", "one"], b"through\n");
        assert_eq!((outcome.code, outcome.out().as_str()), (5, "through\n"));
    }

    fn attaching_to_what_does_not_run_is_refused(world) {
        world.run(&["--name", "one", "box", "true"]).ok();
        world.berth(&["attach", "one"]).refused(1, &["cannot attach to a stopped container"]);
        world.berth(&["attach", "nobody"]).refused(1, &["No such container: nobody"]);
    }

    fn a_client_that_is_killed_harms_nothing(world) {
        let mut call = world.background(&[
            "run",
            "-i",
            "--name",
            "one",
            "box",
            "sh",
            "-c",
            "while read line; do echo got $line; done; sleep 1000",
        ]);
        call.write(b"one\n");
        call.expect("got one", Duration::from_secs(20));
        call.signal(Signal::SIGKILL);
        drop(call);
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(world.inspect("one", "{{.State.Running}}"), "true");
        assert_eq!(world.berth(&["logs", "one"]).ok().text(), "got one");
    }
}
