//! Exit codes: the program's own, and Docker's for what went wrong.

use std::time::Duration;

use nix::sys::signal::Signal;

both! {
    fn the_programs_own_code_comes_out(world) {
        for code in [0, 1, 3, 42, 124, 125, 255] {
            world.run(&["--rm", "box", "sh", "-c", &format!("exit {code}")]).ended(code);
        }
    }

    fn a_death_by_signal_is_128_and_its_number(world) {
        world.run(&["--rm", "--init", "box", "sh", "-c", "kill -TERM $$"]).ended(143);
        world.run(&["--rm", "--init", "box", "sh", "-c", "kill -KILL $$"]).ended(137);
        world.run(&["--rm", "--init", "box", "sh", "-c", "kill -SEGV $$"]).ended(139);
    }

    fn a_missing_program_is_127_and_leaves_a_created_container(world) {
        world.run(&["--name", "lost", "box", "no-such-program"]).refused(127, &["no-such-program", "not found"]);
        assert_eq!(world.inspect("lost", "{{.State.Status}} {{.State.ExitCode}}"), "created 127");
        assert!(world.inspect("lost", "{{.State.Error}}").contains("no-such-program"));
        world.run(&["--rm", "box", "/no/such/program"]).refused(127, &["no such file or directory"]);
        assert_eq!(world.berth(&["ps", "-aq"]).ok().lines().len(), 1, "--rm removes what could not start");
    }

    fn a_program_that_cannot_run_is_126(world) {
        world.run(&["--rm", "box", "/etc/not-a-program"]).refused(126, &["permission denied"]);
        world.run(&["--rm", "box", "/etc"]).refused(126, &["/etc"]);
        world.feed(&["run", "-i", "--name", "maker", "box", "sh", "-c", "cat > /odd; chmod +x /odd"], b"\0\0").ok();
        world.berth(&["commit", "maker", "odd"]).ok();
        world.run(&["--rm", "odd", "/odd"]).refused(126, &["exec format error"]);
    }

    fn what_the_engine_refuses_is_125(world) {
        world.run(&["--rm", "--no-such-flag", "box", "true"]).refused(125, &["--no-such-flag"]);
        world.run(&["--rm", "no-such-image", "true"]).refused(125, &["no-such-image"]);
        world.run(&["--rm", "--memory", "1", "box", "true"]).refused(125, &["memory"]);
        world.run(&["--rm", "BAD NAME", "true"]).refused(125, &["invalid reference format"]);
        world.run(&["--rm", "--name", "x y", "box", "true"]).refused(125, &["Invalid container name"]);
        assert_eq!(world.berth(&["ps", "-aq"]).ok().text(), "");
    }

    fn a_signal_to_the_command_reaches_the_program(world) {
        let call = world.background(&[
            "run",
            "--rm",
            "box",
            "sh",
            "-c",
            "trap 'echo got; exit 9' TERM; echo up; while :; do sleep 0.1; done",
        ]);
        call.expect("up", Duration::from_secs(20));
        call.signal(Signal::SIGTERM);
        let outcome = call.wait(Duration::from_secs(20)).ended(9);
        assert_eq!(outcome.text(), "up\ngot");
    }

    fn without_sig_proxy_only_the_command_ends(world) {
        let call =
            world.background(&["run", "--sig-proxy=false", "--name", "one", "box", "sh", "-c", "echo up; sleep 100"]);
        call.expect("up", Duration::from_secs(20));
        call.signal(Signal::SIGINT);
        call.wait(Duration::from_secs(20));
        assert_eq!(world.inspect("one", "{{.State.Running}}"), "true");
    }
}
