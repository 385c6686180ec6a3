//! Programs beside a container's own.

use std::fs;
use std::time::Duration;

use crate::support::{Mode, World, eventually};

both! {
    fn it_runs_inside_with_codes_and_streams(world) {
        world.start(&["--name", "one", "-h", "inner", "-e", "FROM=run"], "sleep 1000");
        let outcome = world.berth(&["exec", "one", "sh", "-c", "hostname; echo err >&2; exit 42"]).ended(42);
        assert_eq!((outcome.out().as_str(), outcome.err().as_str()), ("inner\n", "err\n"));
        assert_eq!(world.feed(&["exec", "-i", "one", "wc", "-c"], &[7; 300_000]).ok().text(), "300000");
        assert_eq!(world.berth(&["exec", "one", "sh", "-c", "echo $FROM"]).ok().text(), "run");
        for kind in ["pid", "mnt", "uts", "ipc", "net", "cgroup"] {
            // Kernels before 3.8 show no links, and none those of namespaces that came later.
            let of = |pid: &str| {
                let link = format!("/proc/{pid}/ns/{kind}");
                let line = format!("readlink {link} 2>/dev/null || true");
                world.berth(&["exec", "one", "sh", "-c", &line]).ok().text()
            };
            assert_eq!(of("self"), of("1"));
            assert!(kind == "cgroup" || !of("self").is_empty() || !world.facility("setns"), "{kind}");
        }
        assert_eq!(
            world.berth(&["exec", "one", "sh", "-c", "cat /proc/self/cgroup"]).ok().text(),
            world.berth(&["exec", "one", "cat", "/proc/1/cgroup"]).ok().text()
        );
    }

    fn its_exit_codes_are_dockers(world) {
        world.start(&["--name", "one"], "sleep 1000");
        // Docker says it on the stream of the program that did not come to be.
        let missing = world.berth(&["exec", "one", "no-such-program"]).ended(127);
        assert!(format!("{missing}").contains("executable file not found"), "{missing}");
        let unfit = world.berth(&["exec", "one", "/etc/not-a-program"]).ended(126);
        assert!(format!("{unfit}").contains("permission denied"), "{unfit}");
        world.berth(&["exec", "one", "sh", "-c", "kill -9 $$"]).ended(137);
        world.berth(&["exec", "nobody", "true"]).refused(1, &["No such container: nobody"]);
        world.berth(&["kill", "one"]).ok();
        world.until_status("one", "exited");
        world.berth(&["exec", "one", "true"]).refused(1, &["is not running"]);
    }

    fn user_environment_and_folder_are_set(world) {
        world.start(&["--name", "one", "-w", "/tmp"], "sleep 1000");
        assert_eq!(world.berth(&["exec", "one", "pwd"]).ok().text(), "/tmp");
        assert_eq!(world.berth(&["exec", "-w", "/etc", "one", "pwd"]).ok().text(), "/etc");
        assert_eq!(
            world.berth(&["exec", "-u", "user", "one", "sh", "-c", "id -u; id -G; echo $HOME"]).ok().text(),
            "1000\n1000 29\n/home/user"
        );
        assert_eq!(world.berth(&["exec", "-e", "A=1", "one", "sh", "-c", "echo $A"]).ok().text(), "1");
        // As of a program that is not there.
        for (flag, value) in [("-u", "stranger"), ("-w", "/nowhere")] {
            let refused = world.berth(&["exec", flag, value, "one", "true"]).ended(126);
            assert!(refused.out().contains(value), "{refused}");
        }
    }

    fn it_is_as_restricted_as_the_container(world) {
        world.start(&["--name", "one", "--cap-drop", "ALL", "--read-only"], "sleep 1000");
        let own = |flags: &[&str], line: &str| {
            world.berth(&[&["exec"], flags, &["one", "sh", "-c", line]].concat()).ok().text()
        };
        let fields = "grep -E 'CapEff|CapBnd|Seccomp:|NoNewPrivs' /proc/PID/status";
        assert_eq!(own(&[], &fields.replace("PID", "self")), own(&[], &fields.replace("PID", "1")));
        world.berth(&["exec", "one", "touch", "/x"]).refused(1, &["Read-only"]);
        let privileged = own(&["--privileged"], "grep CapEff /proc/self/status | cut -f2");
        assert!(!privileged.trim_matches('0').is_empty(), "privileged has capabilities");
        assert_eq!(own(&[], "ls /proc/self/fd | xargs"), "0 1 2 3");
    }

    fn detached_it_goes_on(world) {
        world.start(&["--name", "one"], "sleep 1000");
        let outcome = world.berth(&["exec", "-d", "one", "sh", "-c", "sleep 0.2; echo done > /made"]).ok();
        assert_eq!(outcome.text(), "");
        eventually("it has done its work", Duration::from_secs(10), || {
            world.berth(&["exec", "one", "cat", "/made"]).text() == "done"
        });
        world.berth(&["exec", "-d", "one", "no-such-program"]).ended(127);
    }

    fn its_output_is_not_in_the_log(world) {
        world.start(&["--name", "one"], "echo own; sleep 1000");
        world.berth(&["exec", "one", "echo", "other"]).ok();
        assert_eq!(world.berth(&["logs", "one"]).ok().text(), "own");
    }

    fn it_ends_with_its_container(world) {
        world.start(&["--name", "one"], "sleep 1000");
        let exec = world.background(&["exec", "one", "sh", "-c", "echo up; sleep 1000"]);
        exec.expect("up", Duration::from_secs(20));
        world.berth(&["stop", "-t", "0", "one"]).ok();
        exec.wait(Duration::from_secs(20)).ended(137);
    }

    fn many_at_once_do_not_mix(world) {
        world.start(&["--name", "one"], "sleep 1000");
        std::thread::scope(|scope| {
            for number in 0..8 {
                let mut command = world.command();
                command.args([
                    "exec",
                    "one",
                    "sh",
                    "-c",
                    &format!("seq 1{number}000 1{number}999 | md5sum; exit {number}"),
                ]);
                let expected = world.shell(&format!("seq 1{number}000 1{number}999 | md5sum")).ok().text();
                scope.spawn(move || {
                    let outcome = crate::support::call::call(command, &[], Duration::from_secs(60)).ended(number);
                    assert_eq!(outcome.text(), expected);
                });
            }
        });
    }
}

/// Before Linux 3.8 a process of berth's in the container makes its further programs, and root inside can stop it.
#[test]
fn who_makes_programs_inside_can_be_stopped_and_the_monitor_goes_on() {
    let world = World::new(Mode::Embedded);
    world.set("BERTH_PRETEND_WITHOUT", "setns");
    let script = "while ! test -e /out/go; do sleep 0.1; done; kill -STOP -1; touch /out/stopped; while :; do :; done";
    world.start(&["--name", "one", "-v", &format!("{}:/out", world.at("home"))], script);
    world.berth(&["exec", "one", "true"]).ok();
    fs::write(world.path("home/go"), "").unwrap();
    eventually("all is stopped", Duration::from_secs(10), || world.path("home/stopped").exists());
    let refused = world.berth(&["exec", "one", "true"]).ended(126);
    for words in ["killed or stopped there", "restart the container"] {
        assert!(refused.out().contains(words), "{refused}");
    }
    assert_eq!(world.inspect("one", "{{.State.Status}}"), "running");
    world.berth(&["rm", "-f", "one"]).ok();
}
