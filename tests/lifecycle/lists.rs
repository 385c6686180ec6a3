//! `ps`, `inspect`, `update` and `diff`: what is told, in which form.

use std::time::Duration;

both! {
    fn ps_shows_what_runs_and_with_a_all(world) {
        world.start(&["--name", "runs"], "sleep 1000");
        world.run(&["--name", "ended", "box", "sh", "-c", "exit 3"]).ended(3);
        let table = world.berth(&["ps"]).ok().lines();
        assert_eq!(
            table[0].split("  ").filter(|word| !word.is_empty()).map(str::trim).collect::<Vec<_>>(),
            ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
        );
        assert!(
            table.len() == 2 && table[1].contains(" box ") && table[1].contains("Up ") && table[1].ends_with("runs"),
            "{table:?}"
        );
        let all = world.berth(&["ps", "-a", "--format", "{{.Names}}|{{.Status}}|{{.State}}|{{.Image}}"]).ok().lines();
        assert!(all[0].starts_with("ended|Exited (3) ") && all[0].ends_with("|exited|box"), "{all:?}");
        assert_eq!(world.berth(&["ps", "-lq", "--no-trunc"]).ok().text(), world.inspect("ended", "{{.Id}}"));
        assert_eq!(world.berth(&["ps", "-n", "1", "--format", "{{.Names}}"]).ok().text(), "ended");
    }

    fn ps_filters(world) {
        world.start(&["--name", "web1", "-l", "role=web"], "sleep 1000");
        world.start(&["--name", "web2", "-l", "role=web", "-l", "x"], "sleep 1000");
        world.run(&["--name", "job", "box", "sh", "-c", "exit 3"]).ended(3);
        world.berth(&["create", "--name", "new", "box", "true"]).ok();
        let names = |filters: &[&str]| {
            let mut call = vec!["ps", "-a", "--format", "{{.Names}}"];
            for filter in filters {
                call.extend(["-f", filter]);
            }
            let mut names = world.berth(&call).ok().lines();
            names.sort();
            names.join(" ")
        };
        assert_eq!(names(&["name=web"]), "web1 web2");
        assert_eq!(names(&["label=role=web", "label=x"]), "web2");
        assert_eq!(names(&["status=exited"]), "job");
        assert_eq!(names(&["status=created", "status=exited"]), "job new");
        assert_eq!(names(&["exited=3"]), "job");
        assert_eq!(names(&["ancestor=box", "status=running"]), "web1 web2");
        assert_eq!(names(&["before=web2"]), "web1");
        assert_eq!(names(&["since=web2"]), "job new");
        assert_eq!(names(&[&format!("id={}", world.inspect("job", "{{.Id}}"))]), "job");
        world.berth(&["ps", "-f", "nonsense=1"]).refused(1, &["nonsense"]);
    }

    fn sizes_are_what_was_written(world) {
        world.run(&["--name", "one", "box", "sh", "-c", "head -c 3000000 /dev/zero > /big; sync"]).ok();
        let size = world.berth(&["ps", "-as", "--format", "{{.Size}}"]).ok().text();
        assert!(size.starts_with("3") && size.contains("MB (virtual 4.9"), "{size}");
    }

    fn inspect_speaks_json_and_templates(world) {
        let id = world.start(&["--name", "one", "-e", "A=1"], "sleep 1000");
        let whole = world.berth(&["inspect", "one"]).ok().json();
        let one = &whole[0];
        assert_eq!(
            (one["Id"].as_str(), one["Name"].as_str(), one["Path"].as_str()),
            (Some(&*id), Some("/one"), Some("sh"))
        );
        assert_eq!(one["Args"], serde_json::json!(["-c", "sleep 1000"]));
        assert_eq!(one["State"]["Running"], true);
        assert!(one["Config"]["Env"].as_array().unwrap().iter().any(|value| value == "A=1"));
        assert_eq!(world.inspect("one", "{{range .Args}}[{{.}}]{{end}}{{len .Args}}"), "[-c][sleep 1000]2");
        assert_eq!(
            world.inspect(
                "one",
                "{{if .State.Running}}up{{else}}down{{end}} {{json .State.Paused}} {{.Config.Image | upper}}"
            ),
            "up false BOX"
        );
        world.berth(&["inspect", "-f", "{{.Nonsense.Field}}", "one"]).ended(1);
        world.berth(&["inspect", "-f", "{{", "one"]).ended(64);
        assert_eq!(world.berth(&["inspect", "nobody"]).ended(1).text(), "[]");
        assert_eq!(world.berth(&["inspect", "--type", "image", "one"]).code, 1);
        assert_eq!(world.berth(&["inspect", "box", "--format", "{{index .RepoTags 0}}"]).ok().text(), "box:latest");
    }

    fn the_name_of_an_image_stays_with_its_containers(world) {
        world.berth(&["create", "--name", "one", "box", "true"]).ok();
        assert_eq!(world.inspect("one", "{{.Image}}"), world.berth(&["inspect", "-f", "{{.Id}}", "box"]).ok().text());
        world.berth(&["rmi", "box"]).refused(1, &["must force", "container"]);
        world.berth(&["tag", "box", "second"]).ok();
        world.berth(&["rmi", "box"]).ok();
        assert_eq!(world.berth(&["start", "-a", "one"]).code, 0);
    }

    fn diff_tells_what_changed(world) {
        world
            .run(&[
                "--name",
                "one",
                "box",
                "sh",
                "-c",
                "echo x > /added; rm /etc/group; chmod 600 /etc/passwd; mkdir /tmp/d",
            ])
            .ok();
        let mut lines = world.berth(&["diff", "one"]).ok().lines();
        lines.sort();
        assert_eq!(lines, ["A /added", "A /tmp/d", "C /etc", "C /etc/passwd", "C /tmp", "D /etc/group"]);
    }

    fn a_wait_for_several_gives_their_codes(world) {
        world.start(&["--name", "a1"], "sleep 0.3; exit 1");
        world.start(&["--name", "b1"], "sleep 0.1; exit 2");
        let outcome = world.background(&["wait", "a1", "b1"]).wait(Duration::from_secs(20)).ok();
        assert_eq!(outcome.text(), "1\n2");
    }
}
