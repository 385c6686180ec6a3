//! Bind mounts, tmpfs, read-only roots, and what is mounted anyway.

use std::fs;

use crate::support::call::call;
use crate::support::world::LIMIT;

both! {
    fn a_bind_mount_is_the_hosts_folder(world) {
        let data = world.at("data");
        fs::create_dir(&data).unwrap();
        fs::write(world.path("data/in"), "from outside").unwrap();
        assert_eq!(world.sh(&["-v", &format!("{data}:/data")], "cat /data/in; echo back > /data/out"), "from outside");
        assert_eq!(fs::read_to_string(world.path("data/out")).unwrap(), "back\n");
        world.run(&["--rm", "-v", &format!("{data}:/data:ro"), "box", "touch", "/data/x"]).refused(1, &["Read-only"]);
        world
            .run(&["--rm", "--mount", &format!("type=bind,src={data},dst=/data,readonly"), "box", "touch", "/data/x"])
            .refused(1, &["Read-only"]);
        assert_eq!(
            world.sh(&["--mount", &format!("type=bind,source={data},target=/deep/er")], "cat /deep/er/in"),
            "from outside"
        );
        assert_eq!(world.sh(&["-v", &format!("{data}/in:/file")], "cat /file"), "from outside");
        assert!(!world.path("data/x").exists());
        // The engine does not know the user's folder: it may be elsewhere.
        assert_eq!(world.shell(&format!("cd {data}; berth run --rm -v ./:/m box cat /m/in")).ok().out(), "from outside");
    }

    fn v_makes_its_source_and_mount_refuses(world) {
        let missing = world.at("missing");
        world
            .run(&["--rm", "--mount", &format!("type=bind,src={missing},dst=/m"), "box", "true"])
            .refused(125, &["missing"]);
        assert!(!world.path("missing").exists());
        world.run(&["--rm", "-v", &format!("{missing}:/m"), "box", "touch", "/m/x"]).ok();
        assert!(world.path("missing/x").exists());
    }

    fn relative_and_doubled_destinations_are_refused(world) {
        world.run(&["--rm", "-v", "/tmp:relative", "box", "true"]).refused(125, &["relative"]);
        world.run(&["--rm", "-v", "/tmp:/", "box", "true"]).refused(125, &["can't be '/'"]);
        world
            .run(&["--rm", "-v", "/tmp:/a", "--tmpfs", "/a", "box", "true"])
            .refused(125, &["Duplicate mount point: /a"]);
        world.run(&["--rm", "-v", "/tmp:/a:nonsense", "box", "true"]).refused(125, &["nonsense"]);
        world.run(&["--rm", "--mount", "type=bind,dst=/a", "box", "true"]).ended(125);
    }

    fn propagation_is_as_asked(world) {
        let data = world.at("data");
        fs::create_dir_all(world.path("data/sub")).unwrap();
        // A mount namespace of the test's own, so that nothing reaches the host.
        let probe = |option: &str| {
            let line = format!(
                "mount --bind {data} {data} && mount --make-shared {data} && \
                 berth run -d --name pp -v {data}:/data{option} box sleep 100 >/dev/null && \
                 mount -t tmpfs none {data}/sub && touch {data}/sub/seen && \
                 berth exec pp ls /data/sub; berth exec pp grep -o ' /data .*' /proc/self/mountinfo | grep -oE 'shared|master' | head -1; \
                 berth rm -f pp >/dev/null; umount {data}/sub; umount {data}"
            );
            let mut command = std::process::Command::new("unshare");
            world.surround(&mut command);
            command.env("PATH", world.path_with_berth());
            command.args(["-m", "--propagation", "private", "bash", "-c", &line]);
            call(command, &[], LIMIT).ok().text()
        };
        // The daemon lives in the host's mount namespace and does not see ours.
        if world.mode() == crate::support::Mode::Embedded {
            assert_eq!(probe(""), "");
            assert_eq!(probe(":rslave"), "seen\nmaster");
            assert_eq!(probe(":rshared"), "seen\nshared");
        }
    }

    fn tmpfs_is_empty_memory_with_options(world) {
        let seen = world.sh(
            &["--tmpfs", "/scratch:size=1m,mode=0700"],
            "grep ' /scratch ' /proc/mounts; stat -c %a /scratch; touch /scratch/x && echo writable",
        );
        assert!(seen.contains("tmpfs") && seen.contains("size=1024k") && seen.ends_with("700\nwritable"), "{seen}");
        assert!(seen.contains("nosuid") && seen.contains("nodev") && seen.contains("noexec"), "{seen}");
        let seen = world.sh(
            &["--mount", "type=tmpfs,dst=/t,tmpfs-size=2m,tmpfs-mode=1770"],
            "grep ' /t ' /proc/mounts; stat -c %a /t",
        );
        assert!(seen.contains("size=2048k") && seen.ends_with("1770"), "{seen}");
        world
            .run(&["--rm", "--tmpfs", "/t:size=1m", "box", "dd", "if=/dev/zero", "of=/t/x", "bs=1k", "count=2000"])
            .refused(1, &["No space left"]);
    }

    fn a_read_only_root_is_so_but_for_mounts(world) {
        world.run(&["--rm", "--read-only", "box", "touch", "/x"]).refused(1, &["Read-only file system"]);
        assert_eq!(world.sh(&["--read-only", "--tmpfs", "/tmp"], "touch /tmp/x /dev/shm/y && echo fine"), "fine");
    }

    fn dev_proc_and_sys_are_as_docker_has_them(world) {
        let seen = world.sh(&[], "for f in null zero full random urandom tty; do test -c /dev/$f || echo no $f; done; \
            ls -d /dev/pts/ptmx /dev/mqueue /dev/shm; readlink /dev/fd; readlink /dev/stdin; readlink /dev/ptmx; ls /dev/sda /dev/vda /dev/mem 2>/dev/null; true");
        assert_eq!(seen, "/dev/mqueue\n/dev/pts/ptmx\n/dev/shm\n/proc/self/fd\n/proc/self/fd/0\npts/ptmx");
        for path in
            ["/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/sys/kernel/x", "/proc/irq/x", "/sys/fs/cgroup/x"]
        {
            world.run(&["--rm", "box", "sh", "-c", &format!("echo 1 > {path}")]).ended(1);
        }
        assert_eq!(world.sh(&[], "cat /proc/kcore /proc/keys 2>/dev/null | head -c 10 | wc -c; ls /proc/acpi /sys/firmware 2>/dev/null | grep -v : | xargs"), "0");
        assert_eq!(world.sh(&["--shm-size", "8m"], "df -k /dev/shm | tail -1 | awk '{print $2}'"), "8192");
        assert_eq!(world.sh(&[], "df -k /dev/shm | tail -1 | awk '{print $2}'"), "65536");
    }

    fn a_device_is_given_on_request(world) {
        assert_eq!(
            world.sh(&["--device", "/dev/zero:/dev/myzero:r"], "head -c 4 /dev/myzero | od -An -tx1"),
            "00 00 00 00"
        );
        world.run(&["--rm", "--device", "/dev/no-such-device", "box", "true"]).refused(125, &["/dev/no-such-device"]);
        // A node that the container makes itself is no use: the devices controller, where it is there, refuses.
        let made = world.run(&["--rm", "box", "sh", "-c", "mknod /d b 254 0 && head -c 1 /d"]);
        assert!(made.code != 0 && made.stdout.is_empty(), "{made}");
    }

    fn the_image_is_not_written_to(world) {
        world.run(&["--rm", "box", "sh", "-c", "echo changed > /etc/passwd; rm /bin/ls"]).ok();
        assert!(world.sh(&[], "ls -d / && cat /etc/passwd").contains("root:x:0:0"));
    }

    fn what_is_mounted_over_a_link_stays_inside(world) {
        fs::create_dir(world.path("target")).unwrap();
        let target = world.at("target");
        world
            .run(&[
                "--name",
                "maker",
                "box",
                "sh",
                "-c",
                &format!("ln -s {target} /way; ln -s /../../../../..{target} /up"),
            ])
            .ok();
        world.berth(&["commit", "maker", "linked"]).ok();
        world
            .run(&["--rm", "-v", "/etc/hostname:/way/name", "--tmpfs", "/up/t", "linked", "test", "-e", "/way/name"])
            .ok();
        assert_eq!(fs::read_dir(&target).unwrap().count(), 0, "something was made outside");
    }
}
