//! Logs: Docker's json-file format on disk, and every way to read them.

use std::fs;
use std::time::Duration;

use crate::support::eventually;

both! {
    fn the_file_is_dockers_json_lines(world) {
        world.run(&["--name", "one", "box", "sh", "-c", "echo out; echo err >&2; printf 'no newline'"]).ok();
        let path = world.inspect("one", "{{.LogPath}}");
        let mut found = Vec::new();
        for line in fs::read_to_string(path).unwrap().lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let time = line["time"].as_str().unwrap();
            assert!(time.starts_with("20") && time.ends_with('Z') && time.len() > 24, "{time}");
            found.push((line["stream"].as_str().unwrap().to_owned(), line["log"].as_str().unwrap().to_owned()));
        }
        found.sort();
        let expected = [("stderr", "err\n"), ("stdout", "no newline"), ("stdout", "out\n")];
        assert_eq!(found, expected.map(|(stream, log)| (stream.to_owned(), log.to_owned())));
    }

    fn streams_are_told_apart_when_read(world) {
        world.run(&["--name", "one", "box", "sh", "-c", "echo out; echo err >&2"]).ok();
        let outcome = world.berth(&["logs", "one"]).ok();
        assert_eq!((outcome.out().as_str(), outcome.err().as_str()), ("out\n", "err\n"));
    }

    fn bytes_of_any_kind_come_back(world) {
        let script = "printf '\\000\\001\\377\\n\"\\\\\\t'; printf 'é\\n'";
        world.run(&["--name", "one", "box", "sh", "-c", script]).ok();
        let out = world.berth(&["logs", "one"]).ok().stdout;
        // JSON has no bytes: what is not UTF-8 is replaced, as Docker does.
        assert_eq!(String::from_utf8_lossy(&out), "\0\u{1}\u{fffd}\n\"\\\té\n");
    }

    fn tail_gives_the_last_lines(world) {
        world.run(&["--name", "one", "box", "seq", "1000"]).ok();
        assert_eq!(world.berth(&["logs", "--tail", "2", "one"]).ok().out(), "999\n1000\n");
        assert_eq!(world.berth(&["logs", "-n", "0", "one"]).ok().out(), "");
        assert_eq!(world.berth(&["logs", "--tail", "all", "one"]).ok().lines().len(), 1000);
        assert_eq!(world.berth(&["logs", "--tail", "5000", "one"]).ok().lines().len(), 1000);
    }

    fn times_are_shown_and_chosen_by(world) {
        world.run(&["--name", "one", "box", "sh", "-c", "echo one; sleep 0.3; echo two; sleep 0.3; echo three"]).ok();
        let lines = world.berth(&["logs", "-t", "one"]).ok().lines();
        let time = |line: &str| line.split(' ').next().unwrap().to_owned();
        assert!(lines[1].ends_with("Z two") && time(&lines[0]) < time(&lines[1]), "{lines:?}");
        assert_eq!(world.berth(&["logs", "--since", &time(&lines[1]), "one"]).ok().out(), "two\nthree\n");
        assert_eq!(world.berth(&["logs", "--until", &time(&lines[1]), "one"]).ok().lines()[0], "one");
        assert_eq!(world.berth(&["logs", "--since", "1h", "one"]).ok().lines().len(), 3);
        world.berth(&["logs", "--since", "nonsense", "one"]).ended(1);
    }

    fn following_shows_what_comes_and_ends_with_the_container(world) {
        world.start(&["--name", "one"], "echo first; while ! test -e /go; do sleep 0.02; done; echo last");
        let follow = world.background(&["logs", "-f", "one"]);
        follow.expect("first\n", Duration::from_secs(20));
        // It may end with the container that waits for it.
        world.berth(&["exec", "one", "touch", "/go"]);
        assert_eq!(follow.wait(Duration::from_secs(20)).ok().out(), "first\nlast\n");
    }

    fn files_are_rotated_and_read_as_one(world) {
        let options = ["--log-opt", "max-size=10k", "--log-opt", "max-file=3"];
        world.run(&[&["--name", "one"], options.as_slice(), &["box", "seq", "2000"]].concat()).ok();
        let path = world.inspect("one", "{{.LogPath}}");
        let folder = std::path::Path::new(&path).parent().unwrap();
        let own = std::path::Path::new(&path).file_name().unwrap().to_str().unwrap();
        let files: Vec<u64> = fs::read_dir(folder)
            .unwrap()
            .flatten()
            .filter(|entry| entry.file_name().to_str().unwrap().starts_with(own))
            .map(|entry| entry.metadata().unwrap().len())
            .collect();
        assert!(files.len() == 3 && files.iter().all(|size| *size < 12 * 1024), "{files:?}");
        let lines = world.berth(&["logs", "one"]).ok().lines();
        assert!(lines.len() > 100 && lines.len() < 2000, "{}", lines.len());
        assert_eq!(lines.last().unwrap(), "2000");
        let first: usize = lines[0].parse().unwrap();
        assert_eq!(first + lines.len() - 1, 2000, "no line is missing between the files");
    }

    fn a_long_line_comes_out_whole(world) {
        world.run(&["--name", "one", "box", "sh", "-c", "head -c 100000 /dev/zero | tr '\\0' a; echo"]).ok();
        assert_eq!(world.berth(&["logs", "one"]).ok().out(), format!("{}\n", "a".repeat(100_000)));
    }

    fn no_log_is_kept_with_the_driver_none(world) {
        world.run(&["--name", "one", "--log-driver", "none", "box", "echo", "hi"]).ok();
        world.berth(&["logs", "one"]).refused(1, &["does not support reading"]);
        world.run(&["--rm", "--log-driver", "nonsense", "box", "true"]).refused(125, &["nonsense"]);
    }

    fn a_log_outlives_the_engine_and_the_run(world) {
        world.start(&["--name", "one"], "echo here");
        eventually("it ends", Duration::from_secs(10), || world.inspect("one", "{{.State.Status}}") == "exited");
        assert_eq!(world.berth(&["logs", "-f", "one"]).ok().text(), "here");
        world.berth(&["logs", "nobody"]).refused(1, &["No such container: nobody"]);
    }
}
