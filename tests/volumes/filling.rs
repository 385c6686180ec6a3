//! An empty volume gets what the image has at its place.

use std::fs;

both! {
    fn owners_modes_links_and_holes_are_kept(world) {
        world.run(&["--name", "maker", "box", "sh", "-c",
            "mkdir -p /data/sub; echo a > /data/a; ln /data/a /data/hard; ln -s /etc/passwd /data/abs; ln -s ../../../x /data/up; \
             chown 1000:1001 /data/a /data/sub; chmod 4750 /data/a; chmod 2711 /data/sub; chown 5:6 /data; chmod 1733 /data; \
             mkfifo /data/pipe; truncate -s 50M /data/holes; touch -d '2001-02-03 04:05:06' /data/sub"]).ok();
        world.berth(&["commit", "maker", "filled"]).ok();
        let look = "stat -c '%n %u:%g %a %h %s %Y' /data/a /data/sub /data/abs /data/pipe /data/holes | grep -v '^/data/holes.*x'; \
            stat -c '%u:%g %a' /data; readlink /data/abs /data/up; du -k /data/holes | cut -f1; ls -A /data";
        let image = world.run(&["--rm", "filled", "sh", "-c", look]).ok().text();
        let volume = world.run(&["--rm", "-v", "vv:/data", "filled", "sh", "-c", look]).ok().text();
        assert_eq!(image, volume);
        assert!(volume.contains("/data/a 1000:1001 4750 2"), "{volume}");
        // Nothing of the copy is left beside it.
        let names: Vec<_> = fs::read_dir(world.root().join("volumes/vv")).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(names, ["_data"]);
    }

    fn only_what_is_empty_and_may_be_is_filled(world) {
        let ls = |flags: &[&str]| world.sh(flags, "ls /home/there 2>/dev/null | xargs");
        world.run(&["--name", "mm", "box", "sh", "-c", "mkdir /home/there; touch /home/there/f"]).ok();
        world.berth(&["commit", "mm", "box"]).ok();
        assert_eq!(ls(&["-v", "a1:/home/there"]), "f");
        assert_eq!(ls(&["-v", "a2:/home/there:nocopy"]), "");
        assert_eq!(ls(&["--mount", "src=a3,dst=/home/there,volume-nocopy"]), "");
        // What is not empty is left as it is; what is empty again is filled again.
        world.sh(&["-v", "a4:/other"], "touch /other/own");
        assert_eq!(ls(&["-v", "a4:/home/there"]), "own");
        assert_eq!(ls(&["-v", "a2:/home/there"]), "f");
        // At creation, as Docker does it.
        world.berth(&["create", "-v", "a5:/home/there", "box", "true"]).ok();
        assert!(world.root().join("volumes/a5/_data/f").is_file());
    }

    fn no_link_of_the_image_leads_out(world) {
        fs::create_dir(world.path("secret")).unwrap();
        fs::write(world.path("secret/key"), "secret").unwrap();
        let script = format!("ln -s {0} /way; mkdir /real; touch /real/f; ln -s /real /inside", world.at("secret"));
        world.run(&["--name", "mm", "box", "sh", "-c", &script]).ok();
        world.berth(&["commit", "mm", "linked"]).ok();
        assert_eq!(world.run(&["--rm", "-v", "vv:/way", "linked", "ls", "/way"]).ok().text(), "");
        assert_eq!(fs::read_dir(world.path("secret")).unwrap().count(), 1);
        assert_eq!(world.run(&["--rm", "-v", "ww:/inside", "linked", "ls", "/inside"]).ok().text(), "f");
    }
}
