//! `volume create`, `ls`, `inspect`, `rm`, `prune`, `system df`, and the events.

both! {
    fn a_volume_is_made_shown_and_removed(world) {
        assert_eq!(world.berth(&["volume", "create", "--label", "a=1", "--label", "b", "data"]).ok().text(), "data");
        // Again: the same one.
        assert_eq!(world.berth(&["volume", "create", "data"]).ok().text(), "data");
        let found = &world.berth(&["volume", "inspect", "data"]).ok().json()[0];
        assert_eq!(found["Name"], "data");
        assert_eq!((found["Driver"].as_str(), found["Scope"].as_str()), (Some("local"), Some("local")));
        assert_eq!((found["Labels"]["a"].as_str(), found["Labels"]["b"].as_str()), (Some("1"), Some("")));
        assert_eq!(found["Mountpoint"].as_str().unwrap(), world.root().join("volumes/data/_data").to_str().unwrap());
        assert!(world.root().join("volumes/data/_data").is_dir());
        assert_eq!(world.inspect("data", "{{.Mountpoint}}"), found["Mountpoint"].as_str().unwrap());
        let unnamed = world.berth(&["volume", "create"]).ok().text();
        assert_eq!(unnamed.len(), 64);
        assert_eq!(world.berth(&["volume", "ls", "-q"]).ok().lines().len(), 2);
        assert!(world.berth(&["volume", "ls"]).ok().out().starts_with("DRIVER    VOLUME NAME\nlocal     "));
        let outcome = world.berth(&["volume", "rm", "data", "nosuch", &unnamed]);
        assert_eq!(outcome.lines(), ["data", &unnamed]);
        outcome.refused(1, &["get nosuch: no such volume"]);
        world.berth(&["volume", "rm", "-f", "nosuch"]).ok();
        world.berth(&["volume", "inspect", "data"]).refused(1, &["get data: no such volume"]);
        assert!(!world.root().join("volumes/data").exists());
        let kinds = world.berth(&["events", "--since", "0", "--until", "0s", "--filter", "type=volume", "--format", "{{.Action}} {{.Actor.ID}}"]);
        let kinds = kinds.ok().lines();
        assert_eq!(kinds[0], "create data");
        assert!(kinds.contains(&"destroy data".to_owned()), "{kinds:?}");
    }

    fn lists_are_filtered(world) {
        world.berth(&["volume", "create", "--label", "tier=db", "one"]).ok();
        world.berth(&["volume", "create", "two"]).ok();
        world.run(&["-d", "--name", "user", "-v", "two:/x", "box", "sleep", "100"]).ok();
        let list = |filter: &str| world.berth(&["volume", "ls", "-q", "-f", filter]).ok().lines().join(" ");
        assert_eq!(list("dangling=true"), "one");
        assert_eq!(list("dangling=false"), "two");
        assert_eq!(list("name=tw"), "two");
        assert_eq!(list("label=tier"), "one");
        assert_eq!(list("label=tier=web"), "");
        assert_eq!(list("driver=local"), "one two");
        assert_eq!(list("driver=other"), "");
        world.berth(&["volume", "ls", "-f", "colour=red"]).refused(1, &["invalid filter 'colour'"]);
        assert_eq!(world.berth(&["volume", "ls", "--format", "{{.Name}}:{{.Label \"tier\"}}"]).ok().lines(), ["one:db", "two:"]);
        assert_eq!(world.berth(&["ps", "-q", "--filter", "volume=two"]).ok().lines().len(), 1);
        assert_eq!(world.berth(&["ps", "-q", "--filter", "volume=/x"]).ok().lines().len(), 1);
        assert_eq!(world.berth(&["ps", "-q", "--filter", "volume=one"]).ok().lines().len(), 0);
        assert_eq!(world.berth(&["ps", "--format", "{{.Mounts}} {{.LocalVolumes}}"]).ok().text(), "two 1");
    }

    fn prune_takes_anonymous_ones_unless_it_is_told_otherwise(world) {
        world.berth(&["volume", "create", "kept"]).ok();
        world.berth(&["volume", "create", "--label", "x", "labelled"]).ok();
        world.berth(&["volume", "create"]).ok();
        world.run(&["--name", "left", "-v", "/a", "-v", "used:/b", "box", "sh", "-c", "echo 12345 > /a/f"]).ok();
        world.berth(&["rm", "left"]).ok();
        world.run(&["--name", "user", "-v", "used:/b", "-v", "/c", "box", "true"]).ok();
        let pruned = world.berth(&["volume", "prune", "-f"]).ok();
        assert!(pruned.out().contains("Deleted Volumes:") && pruned.out().contains("Total reclaimed space: "), "{pruned}");
        assert_eq!(pruned.lines().iter().filter(|line| line.len() == 64).count(), 2);
        assert_eq!(world.berth(&["volume", "ls", "-q"]).ok().lines().len(), 4);
        world.berth(&["volume", "prune", "-f", "--all", "--filter", "label!=x"]).ok();
        let left = world.berth(&["volume", "ls", "-q"]).ok().lines();
        assert!(left.contains(&"labelled".to_owned()) && left.contains(&"used".to_owned()) && left.len() == 3, "{left:?}");
        world.berth(&["system", "prune", "-f", "--volumes"]).ok();
        assert_eq!(world.berth(&["volume", "ls", "-q"]).ok().lines(), ["labelled", "used"]);
    }

    fn df_counts_and_measures(world) {
        world.run(&["-d", "-v", "big:/x", "box", "sh", "-c", "dd if=/dev/zero of=/x/f bs=1k count=500; sleep 100"]).ok();
        world.berth(&["volume", "create", "idle"]).ok();
        crate::support::eventually("the file is written", crate::support::world::LIMIT, || {
            let shown = world.berth(&["system", "df", "-v"]).ok().lines();
            let line = shown.iter().find(|line| line.starts_with("big ")).cloned().unwrap_or_default();
            line.split_whitespace().nth(1) == Some("1") && line.contains("kB") && line.trim_end().ends_with("kB") && !line.contains(" 4.096kB")
        });
        let line = world.berth(&["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}}"]).ok().lines();
        assert!(line.contains(&"Local Volumes 2 1".to_owned()), "{line:?}");
    }

    fn info_names_the_driver(world) {
        assert_eq!(world.berth(&["info", "--format", "{{json .Plugins.Volume}}"]).ok().text(), "[\"local\"]");
    }
}
