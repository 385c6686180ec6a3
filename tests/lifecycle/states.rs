//! Created, running, paused, exited, removed: every way between them and each refusal.

use std::time::{Duration, Instant};

use crate::support::{eventually, kernel};

const FOREVER: &str = "trap 'exit 0' TERM; while :; do sleep 0.05; done";

both! {
    fn create_start_wait_and_remove(world) {
        let id = world.berth(&["create", "--name", "one", "box", "sh", "-c", "sleep 0.2; exit 4"]).ok().text();
        assert_eq!(world.inspect("one", "{{.State.Status}} {{.State.Running}} {{.State.Pid}}"), "created false 0");
        assert_eq!(world.berth(&["start", "one"]).ok().text(), "one");
        let wait = world.background(&["wait", "one"]);
        assert_eq!(wait.wait(Duration::from_secs(20)).ok().text(), "4");
        assert_eq!(world.inspect("one", "{{.State.Status}} {{.State.ExitCode}} {{.State.Pid}}"), "exited 4 0");
        assert_eq!(world.berth(&["wait", "one"]).ok().text(), "4", "of a container that has ended already");
        assert_eq!(world.berth(&["start", "-a", "one"]).code, 4);
        assert_eq!(world.berth(&["rm", "one"]).ok().text(), "one");
        world.berth(&["inspect", &id]).refused(1, &["No such"]);
        world.berth(&["rm", "one"]).refused(1, &["No such container: one"]);
        world.berth(&["start", "one"]).refused(1, &["No such container: one"]);
    }

    fn starting_what_runs_changes_nothing(world) {
        world.start(&["--name", "one"], FOREVER);
        let pid = world.inspect("one", "{{.State.Pid}}");
        world.berth(&["start", "one"]).ok();
        assert_eq!(world.inspect("one", "{{.State.Pid}}"), pid);
        assert!(world.shell(&format!("kill -0 {pid}")).code == 0);
    }

    fn stop_asks_and_then_kills(world) {
        world.start(&["--name", "polite"], "trap 'exit 5' TERM; echo up; while :; do sleep 0.05; done");
        eventually("it is up", Duration::from_secs(10), || world.berth(&["logs", "polite"]).text() == "up");
        world.berth(&["stop", "polite"]).ok();
        assert_eq!(world.inspect("polite", "{{.State.ExitCode}}"), "5");
        world.start(&["--name", "deaf"], "trap '' TERM; echo up; while :; do sleep 0.05; done");
        eventually("it is up", Duration::from_secs(10), || world.berth(&["logs", "deaf"]).text() == "up");
        let begin = Instant::now();
        world.berth(&["stop", "-t", "1", "deaf"]).ok();
        assert!((900..8000).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
        assert_eq!(world.inspect("deaf", "{{.State.ExitCode}}"), "137");
        world.berth(&["stop", "deaf"]).ok();
        world.start(
            &["--name", "own", "--stop-signal", "USR1", "--stop-timeout", "20"],
            "trap 'exit 6' USR1; echo up; while :; do sleep 0.05; done",
        );
        eventually("it is up", Duration::from_secs(10), || world.berth(&["logs", "own"]).text() == "up");
        world.berth(&["stop", "own"]).ok();
        assert_eq!(world.inspect("own", "{{.State.ExitCode}}"), "6");
    }

    fn kill_sends_any_signal(world) {
        world.start(&["--name", "one"], "trap 'echo usr1' USR1; echo up; while :; do sleep 0.05; done");
        eventually("it is up", Duration::from_secs(10), || world.berth(&["logs", "one"]).text() == "up");
        for name in ["USR1", "SIGUSR1", "10"] {
            world.berth(&["kill", "-s", name, "one"]).ok();
            std::thread::sleep(Duration::from_millis(200));
        }
        eventually("it heard three", Duration::from_secs(10), || {
            world.berth(&["logs", "one"]).text() == "up\nusr1\nusr1\nusr1"
        });
        world.berth(&["kill", "-s", "NONSENSE", "one"]).refused(1, &["NONSENSE"]);
        world.berth(&["kill", "one"]).ok();
        world.until_status("one", "exited");
        assert_eq!(world.inspect("one", "{{.State.ExitCode}}"), "137");
        world.berth(&["kill", "one"]).refused(1, &["is not running"]);
    }

    fn a_running_container_is_removed_by_force_only(world) {
        world.start(&["--name", "one"], FOREVER);
        world.berth(&["rm", "one"]).refused(1, &["one", "stop the container before"]);
        assert_eq!(world.inspect("one", "{{.State.Running}}"), "true");
        world.berth(&["rm", "-f", "one"]).ok();
        assert_eq!(world.berth(&["ps", "-aq"]).ok().text(), "");
        world.berth(&["rm", "-f", "one"]).ended(0);
    }

    fn restart_makes_it_run_anew(world) {
        world.start(&["--name", "one"], "echo up; trap 'exit 0' TERM; while :; do sleep 0.05; done");
        let first = world.inspect("one", "{{.State.Pid}} {{.State.StartedAt}}");
        world.berth(&["restart", "-t", "5", "one"]).ok();
        let second = world.inspect("one", "{{.State.Pid}} {{.State.StartedAt}}");
        assert_ne!(first, second);
        eventually("both runs are in the log", Duration::from_secs(10), || {
            world.berth(&["logs", "one"]).text() == "up\nup"
        });
        world.berth(&["stop", "one"]).ok();
        world.berth(&["restart", "one"]).ok();
        assert_eq!(world.inspect("one", "{{.State.Status}}"), "running");
    }

    fn the_files_of_a_container_survive_its_runs(world) {
        world.run(&["--name", "one", "box", "sh", "-c", "echo x >> /count; wc -l < /count"]).ok();
        assert_eq!(world.berth(&["start", "-a", "one"]).ok().text(), "2");
        assert_eq!(world.berth(&["start", "-a", "one"]).ok().text(), "3");
    }

    fn paused_processes_stand_still(world) {
        world.start(&["--name", "one"], "i=0; while :; do i=$((i+1)); echo $i > /n; sleep 0.02; done");
        eventually("it counts", Duration::from_secs(10), || world.berth(&["exec", "one", "cat", "/n"]).code == 0);
        let paused = world.berth(&["pause", "one"]);
        if paused.err().contains("freezer") {
            return crate::support::skip("this host has no freezer");
        }
        paused.ok();
        assert_eq!(world.inspect("one", "{{.State.Status}} {{.State.Paused}}"), "paused true");
        let count = || world.shell(&format!("cat /proc/{}/root/n", world.inspect("one", "{{.State.Pid}}"))).ok().text();
        let before = count();
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(count(), before);
        world.berth(&["pause", "one"]).refused(1, &["already paused"]);
        world.berth(&["exec", "one", "true"]).refused(1, &["paused"]);
        world.berth(&["unpause", "one"]).ok();
        eventually("it goes on", Duration::from_secs(10), || count() != before);
        world.berth(&["unpause", "one"]).refused(1, &["not paused"]);
        world.berth(&["pause", "one"]).ok();
        world.berth(&["stop", "-t", "1", "one"]).ok();
        world.berth(&["start", "one"]).ok();
        world.berth(&["pause", "one"]).ok();
        world.berth(&["rm", "-f", "one"]).ok();
    }

    fn names_can_be_changed(world) {
        world.start(&["--name", "old"], FOREVER);
        world.berth(&["create", "--name", "taken", "box", "true"]).ok();
        world.berth(&["rename", "old", "taken"]).refused(1, &["taken", "in use"]);
        world.berth(&["rename", "old", "b@d"]).refused(1, &["Invalid container name"]);
        world.berth(&["rename", "old", "new"]).ok();
        world.berth(&["inspect", "old"]).ended(1);
        assert_eq!(world.inspect("new", "{{.Name}} {{.State.Running}}"), "/new true");
        world.berth(&["create", "--name", "old", "box", "true"]).ok();
    }

    fn many_are_handled_in_one_call(world) {
        for name in ["a1", "b1", "c1"] {
            world.start(&["--name", name], FOREVER);
        }
        let stopped = world.berth(&["stop", "a1", "nobody", "b1"]);
        assert_eq!((stopped.code, stopped.text().as_str()), (1, "a1\nb1"));
        assert!(stopped.err().contains("No such container: nobody"), "{stopped}");
        assert_eq!(world.berth(&["rm", "-f", "a1", "b1", "c1"]).ok().text(), "a1\nb1\nc1");
    }

    fn rm_of_a_detached_run_happens_by_itself(world) {
        world.start(&["--rm", "--name", "one"], "sleep 0.2");
        eventually("it is gone", Duration::from_secs(20), || world.berth(&["ps", "-aq"]).ok().text().is_empty());
        world.start(&["--rm", "--name", "one"], "sleep 1000");
        world.berth(&["stop", "-t", "0", "one"]).ok();
        eventually("it is gone", Duration::from_secs(20), || world.berth(&["ps", "-aq"]).ok().text().is_empty());
    }

    fn prune_removes_what_does_not_run(world) {
        world.start(&["--name", "runs"], FOREVER);
        world.run(&["--name", "done", "box", "true"]).ok();
        world.berth(&["create", "--name", "never", "-l", "keep=1", "box", "true"]).ok();
        world.berth(&["container", "prune", "-f", "--filter", "label!=keep"]).ok();
        assert_eq!(world.berth(&["ps", "-a", "--format", "{{.Names}}"]).ok().lines(), ["never", "runs"]);
        let said = world.berth(&["system", "prune", "-f"]).ok();
        assert!(said.out().contains("Total reclaimed space"), "{said}");
        assert_eq!(world.berth(&["ps", "-a", "--format", "{{.Names}}"]).ok().text(), "runs");
    }

    fn ports_top_and_stats_tell(world) {
        world.start(&["--name", "one"], "sleep 1000 & sleep 1000 & wait");
        assert_eq!(world.berth(&["port", "one"]).ok().text(), "");
        let top = world.berth(&["top", "one"]).ok();
        assert!(top.out().starts_with("UID") && top.out().matches("sleep 1000").count() >= 2, "{top}");
        let top = world.berth(&["top", "one", "-o", "pid,args"]).ok().lines();
        // Where namespaces cannot be entered, what waits for `exec` is a process more.
        let lines = 4 + usize::from(!world.facility("setns"));
        assert_eq!((top.len(), top[0].split_whitespace().collect::<Vec<_>>()), (lines, vec!["PID", "COMMAND"]));
        let stats =
            world.berth(&["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}} {{.MemUsage}}", "one"]).ok().text();
        // Counted by a controller.
        let processes = if kernel::is_at_least(4, 3) { "one 3 " } else { "one 0 " };
        assert!(stats.starts_with(processes) && stats.contains('/') && !stats.contains(" 0B /"), "{stats}");
        world.berth(&["stop", "-t", "0", "one"]).ok();
        world.berth(&["top", "one"]).refused(1, &["is not running"]);
    }
}
