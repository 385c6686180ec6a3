//! What this version does not do is refused by name, and leaves nothing.

both! {
    fn networks_that_are_not_there_are_refused(world) {
        world.run(&["--rm", "--network", "mine", "box", "true"]).refused(125, &["network mine not found"]);
        world.run(&["--rm", "--link", "missing:b", "box", "true"]).refused(125, &["No such container: missing"]);
        let own = ["--rm", "--name", "own", "--link", "own:b", "box", "true"];
        world.run(&own).refused(125, &["No such container: own"]);
        world.run(&["--rm", "--network", "none", "--network", "host", "box", "true"]).refused(125, &["host", "none"]);
        assert_eq!(world.berth(&["ps", "-aq"]).ok().text(), "");
        // Not the default network either, which was brought up for them.
        assert_eq!(world.shell("ip -o link | grep -c ': br-' || true").ok().text(), "0");
    }

    fn conflicts_between_flags_are_refused(world) {
        world.run(&["--rm", "--restart", "always", "box", "true"]).refused(125, &["restart"]);
        world.run(&["-d", "-a", "stdout", "box", "true"]).refused(1, &["--attach and --detach"]);
        world.run(&["--rm", "--restart", "sometimes", "box", "true"]).ended(125);
        world.run(&["--rm", "--restart", "no:3", "box", "true"]).ended(125);
        world.run(&["--rm", "-it", "box", "true"]).refused(1, &["not a TTY"]);
        world.run(&["--rm", "--isolation", "jail", "box", "true"]).refused(125, &["jail"]);
        world.run(&["--rm", "--userns", "keep-id", "box", "true"]).refused(125, &["keep-id", "auto"]);
        assert_eq!(world.berth(&["ps", "-aq"]).ok().text(), "");
    }
}
