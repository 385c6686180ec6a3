//! What is malformed is refused in Docker's words and leaves nothing.

both! {
    fn nothing_is_left_of_what_is_refused(world) {
        let long = "a".repeat(300);
        for (flags, words) in [
            (&["-v", "a:b:c:d"][..], "invalid volume specification: 'a:b:c:d'"),
            (&["-v", "xx:relative"], "must be absolute"),
            (&["-v", ":/x"], "invalid volume specification: ':/x'"),
            (&["-v", "x:/x"], "volume name is too short"),
            (&["-v", "b@d:/x"], "\"b@d\" includes invalid characters for a local volume name"),
            (&["-v", "a/b:/x"], "If you intended to pass a host directory, use absolute path"),
            (&["-v", "data:/"], "destination can't be '/'"),
            (&["-v", "relative"], "must be absolute"),
            (&["-v", "data:/x:nonsense"], "invalid mode: nonsense"),
            (&["-v", "data:/x:ro,rw"], "invalid mode"),
            (&["-v", "data:/x:rshared"], "field BindOptions must not be specified"),
            (&["-v", "data:/x", "-v", "other:/x/"], "Duplicate mount point: /x"),
            (&["-v", "data:/x", "--tmpfs", "/x"], "Duplicate mount point: /x"),
            (&["-v", "new:/data", "-v", "/nosuch/made:/m", "--volumes-from", "nosuch"], "No such container: nosuch"),
            (&["--volumes-from", ""], "cannot be an empty string"),
            (&["--volumes-from", "a:nocopy"], "invalid mode: nocopy"),
            (&["--volume-driver", "nope", "-v", "data:/x"], "error looking up volume plugin nope: plugin \"nope\" not found"),
            (&["--mount", "type=volume,target=rel"], "must be absolute"),
            (&["--mount", "type=volume,src=data"], "target is required"),
            (&["--mount", "src=da ta,dst=/x"], "includes invalid characters"),
            (&["--mount", "dst=/x,ro"], "must not set ReadOnly mode when using anonymous volumes"),
            (&["--mount", "src=data,dst=/x,volume-driver=nope"], "plugin \"nope\" not found"),
            (&["--mount", "src=data,dst=/x,volume-opt=colour=red"], "invalid option: \"colour\""),
            (&["--mount", "src=data,dst=/x,bind-propagation=shared"], "cannot mix"),
            (&["--mount", "type=bind,src=/tmp,dst=/x,volume-nocopy"], "cannot mix"),
            (&["-v", "data:/etc/passwd"], "cannot mount volume over existing file"),
            (&["-v", "one:/x", "-v", "two:/etc/passwd"], "cannot mount volume over existing file"),
        ] {
            world.run(&[&["--rm"], flags, &["box", "true"]].concat()).refused(125, &[words]);
        }
        world.run(&["--rm", "-v", &format!("{long}:/x"), "box", "true"]).refused(125, &["too long"]);
        world.berth(&["volume", "create", "b@d"]).refused(1, &["includes invalid characters"]);
        world.berth(&["volume", "create", "-d", "nope", "vol"]).refused(1, &["plugin \"nope\" not found"]);
        assert_eq!(world.berth(&["volume", "ls", "-q"]).ok().text(), "");
        assert_eq!(world.berth(&["ps", "-aq"]).ok().text(), "");
        let left = std::fs::read_dir(world.root().join("volumes")).into_iter().flatten().count();
        assert_eq!(left, 0);
        assert!(!std::path::Path::new("/nosuch").exists());
    }

    fn a_failed_creation_takes_only_what_it_made(world) {
        world.berth(&["volume", "create", "before"]).ok();
        world.run(&["--rm", "-v", "before:/a", "-v", "fresh:/b", "-v", "file:/etc/passwd", "box", "true"]).ended(125);
        assert_eq!(world.berth(&["volume", "ls", "-q"]).ok().lines(), ["before"]);
    }
}
