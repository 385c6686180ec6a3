//! What a container is told: environment, folder, user, names, program, files about itself.

both! {
    fn environment_comes_from_image_flags_and_files(world) {
        std::fs::write(world.path("vars"), "# comment\nA=1\nB=from file\nHOST_VAR\n").unwrap();
        let outcome = world.with(
            &[("HOST_VAR", "here"), ("OTHER", "passed")],
            &["run", "--rm", "--env-file", &world.at("vars"), "-e", "B=2", "-e", "OTHER", "-e", "ABSENT", "box", "env"],
        );
        let lines = outcome.ok().lines();
        for line in ["A=1", "B=2", "HOST_VAR=here", "OTHER=passed", "HOME=/root"] {
            assert!(lines.iter().any(|found| found == line), "{line} is missing in {lines:?}");
        }
        assert!(lines.iter().any(|line| line.starts_with("PATH=/usr/local/sbin:")), "{lines:?}");
        assert!(!lines.iter().any(|line| line.starts_with("ABSENT") || line.starts_with("BERTH")), "{lines:?}");
    }

    fn the_working_folder_is_made(world) {
        assert_eq!(world.sh(&["-w", "/made/here"], "pwd"), "/made/here");
        world.run(&["--rm", "-w", "relative", "box", "true"]).refused(125, &["relative"]);
    }

    fn users_are_found_by_name_and_number(world) {
        assert_eq!(world.sh(&[], "id -u; id -g"), "0\n0");
        assert_eq!(world.sh(&["-u", "user"], "id -u; id -g; id -G; echo $HOME"), "1000\n1000\n1000 29\n/home/user");
        assert_eq!(world.sh(&["-u", "1234:4321"], "id -u; id -g"), "1234\n4321");
        // The group is among the supplementary ones: CVE-2022-36109.
        assert_eq!(world.sh(&["-u", "1234:4321"], "grep Groups /proc/self/status | xargs"), "Groups: 4321");
        assert_eq!(world.sh(&["-u", "user:daemon"], "id -u; id -g"), "1000\n1");
        assert_eq!(
            world.sh(
                &["-u", "1000", "--group-add", "audio", "--group-add", "77"],
                "id -G | tr ' ' '\n' | sort -un | xargs"
            ),
            "29 77 1000"
        );
        world.run(&["--rm", "-u", "nobody-here", "box", "true"]).refused(125, &["nobody-here"]);
    }

    fn host_names_are_set_inside_and_outside_unchanged(world) {
        let before = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(world.sh(&["-h", "inner"], "hostname; cat /etc/hostname"), "inner\ninner");
        assert_eq!(
            world.sh(&["-h", "inner", "--domainname", "example.org"], "cat /proc/sys/kernel/domainname"),
            "example.org"
        );
        assert_eq!(std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), before);
        let id = world.start(&["--name", "one"], "sleep 100");
        assert_eq!(world.berth(&["exec", "one", "hostname"]).ok().text(), id[..12]);
    }

    fn hosts_and_resolver_files_are_as_asked(world) {
        let hosts = world.sh(&["--add-host", "db:10.1.2.3", "-h", "inner"], "cat /etc/hosts");
        let has = |name: &str, address: &str| hosts.lines().any(|line| line.split_whitespace().eq([address, name]));
        assert!(has("db", "10.1.2.3") && hosts.contains("127.0.0.1"), "{hosts}");
        let resolver = world.sh(
            &["--dns", "9.9.9.9", "--dns-search", "example.org", "--dns-option", "ndots:3"],
            "cat /etc/resolv.conf",
        );
        for line in ["nameserver 9.9.9.9", "search example.org", "options ndots:3"] {
            assert!(resolver.contains(line), "{resolver}");
        }
    }

    fn every_user_reads_the_hosts_and_resolver_files_whatever_the_umask(world) {
        for umask in ["000", "077"] {
            let look = "stat -c %a /etc/hosts /etc/hostname /etc/resolv.conf";
            let modes = world.shell(&format!("umask {umask}; berth run --rm -u 1000 box {look}")).ok().text();
            assert_eq!(modes, "644\n644\n644", "{umask}");
        }
    }

    fn entrypoint_and_command_are_joined_and_replaced(world) {
        assert_eq!(world.run(&["--rm", "--entrypoint", "echo", "box", "a", "b"]).ok().text(), "a b");
        world.berth(&["create", "--name", "one", "box", "true"]).ok();
        world
            .berth(&["commit", "-c", "ENTRYPOINT [\"echo\", \"entry\"]", "-c", "CMD [\"default\"]", "one", "entry"])
            .ok();
        assert_eq!(world.run(&["--rm", "entry"]).ok().text(), "entry default");
        assert_eq!(world.run(&["--rm", "entry", "own"]).ok().text(), "entry own");
        world.run(&["--rm", "--entrypoint", "", "entry"]).refused(125, &["no command specified"]);
        assert_eq!(world.run(&["--rm", "--entrypoint", "", "entry", "echo", "plain"]).ok().text(), "plain");
    }

    fn the_id_is_written_to_a_new_file_only(world) {
        world.run(&["--cidfile", &world.at("id"), "--name", "one", "box", "true"]).ok();
        assert_eq!(std::fs::read_to_string(world.path("id")).unwrap(), world.inspect("one", "{{.Id}}"));
        world.run(&["--cidfile", &world.at("id"), "--name", "two", "box", "true"]).refused(125, &["container ID file found", "id"]);
        world.berth(&["inspect", "two"]).ended(1);
    }

    fn rm_leaves_nothing(world) {
        world.run(&["--rm", "--name", "one", "-v", "/tmp:/x", "box", "touch", "/file"]).ok();
        assert_eq!(world.berth(&["ps", "-aq"]).ok().text(), "");
        // The name is free again at once.
        world.run(&["--rm", "--name", "one", "box", "true"]).ok();
    }

    fn a_name_has_one_owner(world) {
        let id = world.berth(&["create", "--name", "web", "box", "true"]).ok().text();
        let words = [
            r#"The container name "/web" is already in use by container"#,
            &id,
            "You have to remove (or rename) that container",
        ];
        world.run(&["--name", "web", "box", "true"]).refused(125, &words);
        assert_eq!(world.berth(&["ps", "-aq", "--no-trunc"]).ok().text(), id);
        assert_eq!(world.inspect("web", "{{.Name}}"), "/web");
    }

    fn names_are_made_up_and_ids_may_be_shortened(world) {
        let id = world.berth(&["create", "box", "true"]).ok().text();
        let name = world.inspect(&id[..12], "{{.Name}}");
        assert!(name.len() > 4 && name.contains('_'), "{name}");
        assert_eq!(world.inspect(&id[..5], "{{.Id}}"), id);
        assert_eq!(world.inspect(name.trim_start_matches('/'), "{{.Id}}"), id);
    }

    fn labels_are_kept(world) {
        std::fs::write(world.path("labels"), "c=3\n").unwrap();
        world
            .berth(&[
                "create",
                "--name",
                "one",
                "-l",
                "a=1",
                "--label",
                "b",
                "--label-file",
                &world.at("labels"),
                "box",
                "true",
            ])
            .ok();
        assert_eq!(world.inspect("one", "{{json .Config.Labels}}"), r#"{"a":"1","b":"","c":"3"}"#);
    }

    fn an_init_reaps_and_passes_signals_on(world) {
        let inside = "sh -c 'sleep 0.01 & exec true'; sleep 0.3; ps -o pid,stat,comm | grep -c ' Z' ; cat /proc/1/comm";
        let seen = world.sh(&["--init"], inside);
        assert!(seen.starts_with("0\n") && !seen.ends_with("\nsh"), "{seen}");
        world.start(&["--init", "--name", "one"], "trap 'exit 7' TERM; echo up; while :; do sleep 0.1; done");
        // The kernel drops what comes to a process 1 before it has said that it wants it.
        crate::support::eventually("it is up", std::time::Duration::from_secs(20), || {
            world.berth(&["logs", "one"]).ok().text() == "up"
        });
        world.berth(&["kill", "-s", "TERM", "one"]).ok();
        assert_eq!(world.berth(&["wait", "one"]).ok().text(), "7");
    }
}
