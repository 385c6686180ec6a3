//! What containers and volumes have to do with each other.

use std::fs;

both! {
    fn what_one_container_writes_the_next_reads(world) {
        world.run(&["--rm", "-v", "data:/d", "box", "sh", "-c", "echo hello > /d/f"]).ok();
        assert_eq!(world.sh(&["-v", "data:/elsewhere:ro"], "cat /elsewhere/f"), "hello");
        world.run(&["--rm", "-v", "data:/d:ro", "box", "touch", "/d/x"]).refused(1, &["Read-only"]);
        world.run(&["--rm", "--mount", "src=data,dst=/d,readonly", "box", "touch", "/d/x"]).refused(1, &["Read-only"]);
        assert_eq!(world.sh(&["--mount", "type=volume,source=data,destination=/d", "--read-only"], "echo more >> /d/f; cat /d/f | wc -l"), "2");
        assert_eq!(fs::read_to_string(world.root().join("volumes/data/_data/f")).unwrap(), "hello\nmore\n");
        // Two at once see each other.
        world.start(&["--name", "writer", "-v", "data:/d"], "echo live > /d/live; sleep 100");
        crate::support::eventually("the other's file is seen", crate::support::world::LIMIT, || {
            world.run(&["--rm", "-v", "data:/d", "box", "cat", "/d/live"]).text() == "live"
        });
    }

    fn nothing_in_use_is_removed(world) {
        let id = world.berth(&["create", "-v", "data:/d", "box", "true"]).ok().text();
        world.berth(&["volume", "rm", "data"]).refused(1, &["remove data: volume is in use - [", &id]);
        world.berth(&["volume", "rm", "-f", "data"]).refused(1, &["volume is in use"]);
        world.berth(&["volume", "prune", "-fa"]).ok();
        world.berth(&["rm", &id]).ok();
        assert_eq!(world.berth(&["volume", "rm", "data"]).ok().text(), "data");
    }

    fn anonymous_volumes_live_as_long_as_docker_has_it(world) {
        let volumes = || world.berth(&["volume", "ls", "-q"]).ok().lines();
        world.run(&["--rm", "-v", "/a", "-v", "named:/n", "box", "touch", "/a/x"]).ok();
        assert_eq!(volumes(), ["named"]);
        world.run(&["-d", "--name", "cc", "-v", "/a", "box", "sh", "-c", "echo run >> /a/runs; sleep 100"]).ok();
        let name = world.inspect("cc", "{{range .Mounts}}{{.Name}}{{end}}");
        assert_eq!(name.len(), 64);
        // The same one after a restart.
        world.berth(&["restart", "-t", "0", "cc"]).ok();
        crate::support::eventually("it ran twice", crate::support::world::LIMIT, || {
            world.berth(&["exec", "cc", "cat", "/a/runs"]).text() == "run\nrun"
        });
        assert_eq!(world.inspect("cc", "{{range .Mounts}}{{.Name}}{{end}}"), name);
        world.berth(&["rm", "-f", "cc"]).ok();
        assert_eq!(volumes().len(), 2);
        world.run(&["--name", "dd", "-v", "/a", "-v", "named:/n", "box", "true"]).ok();
        world.berth(&["rm", "-v", "dd"]).ok();
        assert_eq!(volumes().len(), 2);
        assert!(volumes().contains(&name) && volumes().contains(&"named".to_owned()));
    }

    fn the_images_volumes_are_anonymous_ones(world) {
        world.berth(&["create", "--name", "base", "box"]).ended(1);
        world.run(&["--name", "base", "box", "sh", "-c", "mkdir -p /srv/data; echo seed > /srv/data/seed; chown 1000:1000 /srv/data; chmod 750 /srv/data"]).ok();
        world.berth(&["commit", "-c", "VOLUME /srv/data", "base", "with-volume"]).ok();
        let seen = world.run(&["--rm", "with-volume", "sh", "-c", "cat /srv/data/seed; stat -c '%u:%g %a' /srv/data; touch /srv/data/new"]);
        assert_eq!(seen.ok().text(), "seed\n1000:1000 750");
        assert_eq!(world.berth(&["volume", "ls", "-q"]).ok().text(), "");
        world.run(&["--name", "cc", "with-volume", "sh", "-c", "echo new > /srv/data/new"]).ok();
        assert_eq!(world.inspect("cc", "{{range .Mounts}}{{.Type}} {{.Destination}} {{.Driver}} {{.RW}}{{end}}"), "volume /srv/data local true");
        // Its content belongs to no layer.
        assert!(!world.berth(&["diff", "cc"]).ok().out().contains("/srv/data/new"));
        world.berth(&["commit", "cc", "again"]).ok();
        assert_eq!(world.run(&["--rm", "again", "ls", "/srv/data"]).ok().text(), "seed");
        // What is named takes its place.
        assert_eq!(world.run(&["--rm", "-v", "mine:/srv/data", "with-volume", "cat", "/srv/data/seed"]).ok().text(), "seed");
        assert!(world.root().join("volumes/mine/_data/seed").is_file());
    }

    fn volumes_from_gives_what_another_has(world) {
        fs::create_dir(world.path("host")).unwrap();
        let host = world.at("host");
        world.berth(&["create", "--name", "store", "-v", "data:/d", "-v", "/anon", "-v", &format!("{host}:/h"), "--tmpfs", "/t", "box", "true"]).ok();
        world.run(&["--name", "user", "--volumes-from", "store", "box", "sh", "-c", "echo 1 > /d/f; echo 2 > /anon/f; echo 3 > /h/f"]).ok();
        assert_eq!(fs::read_to_string(world.path("host/f")).unwrap(), "3\n");
        assert_eq!(world.sh(&["--volumes-from", "store:ro"], "cat /d/f /anon/f; touch /d/x /anon/x /h/x 2>/dev/null; ls /d /anon /h | grep -c x; true"), "1\n2\n0");
        // What is said explicitly wins.
        assert_eq!(world.sh(&["--volumes-from", "store", "-v", "other:/d"], "ls /d"), "");
        let anonymous = world.inspect("store", "{{range .Mounts}}{{if eq .Destination \"/anon\"}}{{.Name}}{{end}}{{end}}");
        // The user's end takes nothing that the other has.
        world.berth(&["rm", "-v", "user"]).ok();
        assert!(world.berth(&["volume", "ls", "-q"]).ok().lines().contains(&anonymous));
        // Its mounts outlive the container they were taken from.
        world.berth(&["create", "--name", "late", "--volumes-from", "store", "box", "cat", "/d/f", "/anon/f"]).ok();
        world.berth(&["rm", "store"]).ok();
        assert_eq!(world.berth(&["start", "-a", "late"]).ok().text(), "1\n2");
        assert_eq!(world.inspect("late", "{{json .HostConfig.VolumesFrom}}"), "[\"store\"]");
    }

    fn cp_reaches_into_volumes(world) {
        fs::write(world.path("in"), "from outside").unwrap();
        world.start(&["--name", "cc", "-v", "data:/d"], "sleep 100");
        for running in [true, false] {
            world.berth(&["cp", &world.at("in"), "cc:/d/in"]).ok();
            assert_eq!(fs::read_to_string(world.root().join("volumes/data/_data/in")).unwrap(), "from outside", "{running}");
            world.berth(&["cp", "cc:/d/in", &world.at("out")]).ok();
            assert_eq!(fs::read_to_string(world.path("out")).unwrap(), "from outside");
            fs::remove_file(world.root().join("volumes/data/_data/in")).unwrap();
            fs::remove_file(world.path("out")).unwrap();
            if running {
                world.berth(&["stop", "-t", "0", "cc"]).ok();
            }
        }
        world.berth(&["create", "--name", "rr", "-v", "data:/d:ro", "box", "true"]).ok();
        world.berth(&["cp", &world.at("in"), "rr:/d/in"]).refused(1, &["marked read-only"]);
        let exported = world.berth(&["export", "cc"]).ok();
        assert!(!exported.out().contains("d/in"));
    }

    fn a_part_of_a_volume_is_mounted_and_nothing_outside(world) {
        world.run(&["--rm", "-v", "data:/d", "box", "sh", "-c", "mkdir -p /d/a/b; echo deep > /d/a/b/f; ln -s /etc /d/out; ln -s ../../../../etc /d/up; ln -s a/b /d/in; echo file > /d/file"]).ok();
        let sub = |path: &str| format!("type=volume,src=data,dst=/x,volume-subpath={path}");
        assert_eq!(world.sh(&["--mount", &sub("a/b")], "cat /x/f; echo new > /x/new"), "deep");
        assert_eq!(world.sh(&["--mount", &sub("in")], "cat /x/f /x/new"), "deep\nnew");
        assert_eq!(world.sh(&["--mount", &sub("file")], "cat /x"), "file");
        world.run(&["--rm", "--mount", &format!("{},ro", sub("a")), "box", "touch", "/x/y"]).refused(1, &["Read-only"]);
        for outside in ["out", "up", "nosuch", "a/nosuch"] {
            world.run(&["--rm", "--mount", &sub(outside), "box", "ls", "/x"]).refused(125, &["cannot access path"]);
        }
        for bad in ["../x", "/etc", "a/../../x"] {
            world.run(&["--rm", "--mount", &sub(bad), "box", "ls", "/x"]).refused(125, &["subpath must be a relative path within the volume"]);
        }
        world.run(&["--rm", "--mount", "dst=/x,volume-subpath=a", "box", "true"]).refused(125, &["anonymous"]);
        assert_eq!(world.berth(&["ps", "-aq"]).ok().text(), "");
        // A stopped container is looked into the same way.
        world.berth(&["create", "--name", "cc", "--mount", &sub("a/b"), "box", "true"]).ok();
        world.berth(&["start", "-a", "cc"]).ok();
        let copied = world.berth(&["cp", "cc:/x/f", "-"]).ok();
        assert!(copied.out().contains("deep"));
    }

    fn events_tell_who_mounts_what(world) {
        world.run(&["--name", "cc", "-v", "data:/d:ro", "box", "true"]).ok();
        let line = "{{.Action}} {{.Actor.ID}} {{index .Actor.Attributes \"destination\"}} {{index .Actor.Attributes \"read/write\"}}";
        crate::support::eventually("all is told", crate::support::world::LIMIT, || {
            let said = world.berth(&["events", "--since", "0", "--until", "0s", "--filter", "volume=data", "--format", line]).ok().lines();
            let said: Vec<_> = said.iter().map(|line| line.trim().replace("<no value>", "")).collect();
            said.len() >= 3 && said[0].starts_with("create data") && said[1] == "mount data /d false" && said[2].starts_with("unmount data")
        });
    }
}
