//! What this version does not do is refused by name, and leaves nothing.

both! {
    fn networks_and_ports_are_refused_until_they_come(world) {
        world.run(&["--rm", "-p", "8080:80", "box", "true"]).refused(125, &["later version"]);
        world.run(&["--rm", "-P", "--expose", "80", "box", "true"]).refused(125, &["later version"]);
        world.run(&["--rm", "--network", "bridge", "box", "true"]).refused(125, &["bridge", "--network none, host"]);
        world.run(&["--rm", "--network", "mine", "box", "true"]).refused(125, &["mine"]);
        world.run(&["--rm", "--link", "a:b", "box", "true"]).ended(125);
        world.run(&["--rm", "--network", "none", "--network", "host", "box", "true"]).refused(125, &["host", "none"]);
        assert_eq!(world.berth(&["ps", "-aq"]).ok().text(), "");
    }

    fn conflicts_between_flags_are_refused(world) {
        world.run(&["--rm", "--restart", "always", "box", "true"]).refused(125, &["restart"]);
        world.run(&["-d", "-a", "stdout", "box", "true"]).refused(125, &["Conflicting options"]);
        world.run(&["--rm", "--restart", "sometimes", "box", "true"]).ended(125);
        world.run(&["--rm", "--restart", "no:3", "box", "true"]).ended(125);
        world.run(&["--rm", "-it", "box", "true"]).refused(125, &["not a TTY"]);
        world.run(&["--rm", "--isolation", "lxc", "box", "true"]).refused(125, &["lxc"]);
        world.run(&["--rm", "--userns", "keep-id", "box", "true"]).refused(125, &["keep-id"]);
        assert_eq!(world.berth(&["ps", "-aq"]).ok().text(), "");
    }

    fn the_default_network_is_said_once(world) {
        let outcome = world.run(&["--rm", "box", "true"]).ok();
        assert!(outcome.err().matches("WARNING").count() <= 1, "{outcome}");
        assert_eq!(world.run(&["--rm", "--network", "none", "box", "true"]).ok().err(), "");
    }
}
