//! Restart policies: how often, how soon, and when not.

use std::time::Duration;

use crate::support::eventually;

both! {
    fn on_failure_tries_as_often_as_said_with_growing_pauses(world) {
        world.start(&["--name", "one", "--restart", "on-failure:3"], "cut -d' ' -f1 /proc/uptime; exit 9");
        world.until_status("one", "exited");
        assert_eq!(world.inspect("one", "{{.RestartCount}} {{.State.ExitCode}}"), "3 9");
        let times: Vec<f64> =
            world.berth(&["logs", "one"]).ok().lines().iter().map(|line| line.parse().unwrap()).collect();
        assert_eq!(times.len(), 4);
        let pauses: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses[0] >= 0.09 && pauses[1] >= 0.19 && pauses[2] >= 0.39 && pauses[2] < 5.0, "{pauses:?}");
    }

    fn on_failure_lets_a_success_be(world) {
        world.start(&["--name", "one", "--restart", "on-failure"], "exit 0");
        world.until_status("one", "exited");
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(world.inspect("one", "{{.RestartCount}} {{.State.Status}}"), "0 exited");
    }

    fn always_runs_again_until_it_is_stopped(world) {
        for policy in ["always", "unless-stopped"] {
            world.start(&["--name", policy, "--restart", policy], "sleep 0.01; exit 0");
            eventually("it was restarted twice", Duration::from_secs(10), || {
                world.inspect(policy, "{{.RestartCount}}").parse::<u32>().unwrap() >= 2
            });
            world.berth(&["stop", policy]).ok();
            let count = world.inspect(policy, "{{.RestartCount}}");
            std::thread::sleep(Duration::from_millis(1500));
            assert_eq!(world.inspect(policy, "{{.RestartCount}} {{.State.Status}}"), format!("{count} exited"));
        }
    }

    fn a_kill_from_outside_the_engine_is_a_failure(world) {
        world.start(&["--name", "one", "--restart", "always"], "sleep 1000");
        let pid = world.inspect("one", "{{.State.Pid}}");
        world.shell(&format!("kill -9 {pid}")).ok();
        eventually("it runs anew", Duration::from_secs(10), || {
            world.inspect("one", "{{.State.Running}} {{.RestartCount}}") == "true 1"
        });
        assert_ne!(world.inspect("one", "{{.State.Pid}}"), pid);
    }

    fn a_policy_can_be_changed_while_it_restarts(world) {
        world.start(&["--name", "one", "--restart", "always"], "exit 1");
        world.berth(&["update", "--restart", "no", "one"]).ok();
        world.until_status("one", "exited");
        assert_eq!(world.inspect("one", "{{.HostConfig.RestartPolicy.Name}}"), "no");
    }

    fn removing_what_restarts_works(world) {
        // Whatever it is about: running, ended a moment ago, or waiting for its next start.
        for delay in (0..20).map(|step| Duration::from_millis(step * 10)) {
            world.start(&["--name", "one", "--restart", "always"], "exit 1");
            std::thread::sleep(delay);
            world.berth(&["rm", "-f", "one"]).ok();
        }
        assert_eq!(world.berth(&["ps", "-aq"]).ok().text(), "");
    }
}
