//! `info`, `doctor`, `version`, the embedded image, and how storage and isolation are chosen.

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::http::request;
use crate::support::{Mode, World};

both! {
    fn info_is_whole_in_both_formats(world) {
        world.start(&["--name", "one"], "sleep 1000");
        world.run(&["--name", "two", "box", "true"]).ok();
        let info = world.berth(&["info", "--format", "json"]).ok().json();
        assert_eq!(
            (&info["Containers"], &info["ContainersRunning"], &info["ContainersStopped"], &info["Images"]),
            (&2.into(), &1.into(), &1.into(), &1.into())
        );
        let kernel = crate::support::kernel::release();
        assert_eq!(info["KernelVersion"], kernel.trim());
        assert_eq!(info["OSType"], "linux");
        assert!(["overlay", "btrfs", "zfs", "aufs", "lvm", "fuse", "vfs"].contains(&info["Driver"].as_str().unwrap()), "{}", info["Driver"]);
        assert!(info["NCPU"].as_i64().unwrap() >= 1 && info["MemTotal"].as_i64().unwrap() > 1 << 20);
        assert_eq!(info["DockerRootDir"], world.root().display().to_string());
        assert!(info["ID"].as_str().is_some_and(|id| !id.is_empty()));
        let text = world.berth(&["info"]).ok().out();
        for word in [kernel.trim(), "Storage Driver", "Containers: 2"] {
            assert!(text.contains(word), "{word} is missing in {text}");
        }
        assert_eq!(
            world.berth(&["info", "--format", "{{.Driver}}/{{.OSType}}"]).ok().text(),
            format!("{}/linux", info["Driver"].as_str().unwrap())
        );
    }

    fn doctor_gives_reasons_and_remedies(world) {
        let report = world.berth(&["doctor", "--format", "json"]).ok().json();
        for choice in ["storage", "isolation"] {
            let choice = &report[choice];
            let picked = choice["picked"].as_str().unwrap();
            assert!(
                choice["candidates"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|found| found["name"] == picked && found["available"] == true)
            );
            assert!(!choice["why"].as_str().unwrap().is_empty());
        }
        let facilities = report["facilities"].as_array().unwrap();
        for facility in facilities {
            let reason = facility["reason"].as_str().unwrap_or_default();
            assert_eq!(facility["available"] == true, reason.is_empty(), "{facility}");
        }
        for name in ["clone3", "openat2", "pidfd", "overlay", "seccomp"] {
            assert!(facilities.iter().any(|facility| facility["name"] == name), "{name} is not looked for");
        }
        let text = world.berth(&["doctor"]).ok().out();
        assert!(text.contains("openat2") && text.contains("namespace"), "{text}");
        let pretended = world
            .with(
                &[("BERTH_PRETEND_WITHOUT", "openat2")],
                &["--storage-driver", report["storage"]["picked"].as_str().unwrap(), "doctor", "--format", "json"],
            )
            .ok()
            .json();
        let openat2 = pretended["facilities"]
            .as_array()
            .unwrap()
            .iter()
            .find(|facility| facility["name"] == "openat2")
            .unwrap()
            .clone();
        assert!(openat2["available"] == false && !openat2["reason"].as_str().unwrap().is_empty(), "{openat2}");
    }

    fn versions_are_told(world) {
        let version = world.berth(&["version", "--format", "json"]).ok().json();
        assert_eq!(version["Client"]["Version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(version["Server"]["Version"], env!("CARGO_PKG_VERSION"));
        assert!(version["Server"]["ApiVersion"].as_str().unwrap().starts_with("1."), "{version}");
        assert!(world.berth(&["--version"]).ok().text().contains(env!("CARGO_PKG_VERSION")));
    }

    fn how_it_was_built_is_told(world) {
        let told = world.berth(&["--version", "--verbose"]).ok();
        assert_eq!(world.berth(&["--verbose", "-v"]).ok().text(), told.text());
        let mut lines = told.lines();
        assert_eq!(lines.remove(0), world.berth(&["--version"]).ok().text());
        let facts: BTreeMap<_, _> = lines.iter().map(|line| line.split_once(": ").expect("a name and a text")).collect();
        let version = world.berth(&["version", "--format", "json"]).ok().json();
        for (line, field) in [("commit", "Commit"), ("target", "Target"), ("compiler", "Compiler"), ("libc", "Libc"), ("source date", "SourceDate")] {
            assert_eq!(version["Client"]["Berth"][field], facts[line], "{line}");
        }
        assert!(facts["target"].contains("-linux-"), "{told}");
        assert!(facts["compiler"].starts_with("rustc 1."), "{told}");
        assert!(facts["libc"].ends_with("(static)"), "{told}");
        assert!(["dev", "release"].contains(&facts["profile"]), "{told}");
        assert!(facts["storage drivers"].split(',').any(|name| name == "overlay"), "{told}");
        // Of a checkout; a folder without git's says that it does not know.
        if Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(".git").exists() {
            let hexadecimal = facts["commit"].trim_end_matches("-dirty");
            assert!(hexadecimal.len() == 40 && hexadecimal.bytes().all(|byte| byte.is_ascii_hexdigit()), "{told}");
            assert!(facts["source date"].ends_with('Z'), "{told}");
        }
        for side in ["Client", "Server"] {
            let format = format!("{{{{.{side}.GitCommit}}}} {{{{.{side}.BuildTime}}}}");
            let source = format!("{} {}", facts["commit"], facts["source date"]);
            assert_eq!(world.berth(&["version", "--format", &format]).ok().text(), source, "{side}");
        }
        world.berth(&["--verbose", "ps"]).refused(1, &["--version"]);
    }

    fn help_is_there_for_every_verb(world) {
        let top = world.berth(&["--help"]).ok().out();
        for verb in [
            "run", "create", "start", "stop", "kill", "restart", "rm", "ps", "logs", "attach", "exec", "wait", "top",
            "stats", "pause", "unpause", "rename", "update", "port", "events", "info", "doctor", "version", "serve",
            "import", "load", "save", "images", "tag", "rmi", "history", "inspect", "commit", "export", "diff", "cp",
        ] {
            assert!(top.contains(&format!("  {verb} ")), "{verb} is not in the list");
            let help = world.berth(&[verb, "--help"]).ok().out();
            assert!(help.contains("Usage: berth"), "{verb}");
            let about = help.lines().next().unwrap();
            assert!(top.contains(&format!(" {about}\n")), "{verb}: {about}");
        }
        world.berth(&["nonsense"]).refused(1, &["nonsense"]);
        world.berth(&["ps", "nonsense"]).refused(1, &["nonsense"]);
        world.berth(&["exec", "only-a-name"]).refused(1, &["COMMAND"]);
        world.berth(&["ps", "--nonsense"]).refused(125, &["--nonsense"]);
        world.berth(&[]).ok();
    }

    fn a_cause_is_told_once(world) {
        let told = world.berth(&["-H", "unix:///nowhere", "ps"]).refused(1, &["/nowhere", "No such file"]);
        assert_eq!(told.err().matches("No such file").count(), 1, "{}", told.err());
    }

    fn a_template_names_what_does_not_exist(world) {
        world.berth(&["create", "--name", "one", "-l", "a=b,c=d", "box", "true"]).ok();
        assert_eq!(world.berth(&["ps", "-a", "--format", "{{.Label \"a\"}}"]).ok().text(), "b,c=d");
        assert_eq!(world.inspect("one", "{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}"), "none");
        assert_eq!(world.inspect("one", "{{.NetworkSettings.IPAddress}}{{.Config.Labels.nowhere}}"), "<no value>");
        for verb in [&["info"][..], &["version"], &["inspect", "one"], &["events", "--since", "1h", "--until", "0s"]] {
            world.berth(&[verb, &["--format", "{{.Nonsense}}"]].concat()).refused(1, &["Nonsense"]);
        }
    }
}

fn hello(mode: Mode) {
    let world = World::bare(mode);
    let seen = world.run(&["--rm", "--network", "none", "berth/hello"]).ok().out();
    for words in ["Hello from berth", "own process namespace (this is process 1", "loopback only"] {
        assert!(seen.contains(words), "{words:?} is missing in {seen}");
    }
    assert_eq!(seen.contains("system calls are filtered"), world.isolates("seccomp"), "{seen}");
    assert!(world.berth(&["images", "--format", "{{.Repository}}"]).ok().text() == "berth/hello");
    let seen = world.run(&["--rm", "berth/hello"]).ok().out();
    assert!(seen.contains("interfaces ") && seen.contains("eth0"), "{seen}");
}

#[test]
fn the_embedded_image_runs_on_an_empty_root() {
    hello(Mode::Embedded);
}

#[test]
fn the_embedded_image_runs_through_a_daemon() {
    hello(Mode::Daemon);
}

#[test]
fn the_program_runs_where_nothing_else_is() {
    // No PATH, no HOME, no terminal, another working folder.
    let world = World::bare(Mode::Embedded);
    let mut command = world.command();
    command.env_clear().env("BERTH_ROOT", world.root()).current_dir("/").args(["run", "--rm", "berth/hello"]);
    let outcome = crate::support::call::call(command, &[], crate::support::world::LIMIT).ok();
    assert!(outcome.out().contains("Hello from berth"), "{outcome}");
}

#[test]
fn drivers_are_chosen_by_name() {
    for driver in ["vfs", "overlay"] {
        let world = World::bare(Mode::Embedded);
        if driver == "overlay" && !world.facility(driver) {
            crate::support::skip("by doctor, there is no overlay here");
            continue;
        }
        world.feed(&["--storage-driver", driver, "import", "-", "box"], crate::support::image::busybox()).ok();
        assert_eq!(world.berth(&["--storage-driver", driver, "info", "--format", "{{.Driver}}"]).ok().text(), driver);
        assert_eq!(world.berth(&["info", "--format", "{{.Driver}}"]).ok().text(), driver, "the state remembers");
        world
            .berth(&[
                "--storage-driver",
                driver,
                "run",
                "--name",
                "one",
                "box",
                "sh",
                "-c",
                "echo x > /x; rm /etc/group",
            ])
            .ok();
        world.berth(&["commit", "one", "made"]).ok();
        assert_eq!(
            world.run(&["--rm", "made", "sh", "-c", "cat /x; ls /etc/group 2>/dev/null; exit 0"]).ok().text(),
            "x"
        );
        assert_eq!(world.berth(&["diff", "one"]).ok().lines(), ["C /etc", "D /etc/group", "A /x"]);
    }
    let world = World::bare(Mode::Embedded);
    world.berth(&["--storage-driver", "nonsense", "info"]).refused(1, &["nonsense", "overlay", "vfs"]);
}

#[test]
fn a_driver_that_is_not_there_is_refused_by_name_and_replaced_loudly_by_default() {
    let world = World::bare(Mode::Embedded);
    world.set("BERTH_PRETEND_WITHOUT", "overlay,fuse");
    world.berth(&["--storage-driver", "overlay", "info"]).refused(1, &["overlay"]);
    assert_eq!(world.berth(&["info", "--format", "{{.Driver}}"]).ok().text(), "vfs");
    let report = world.berth(&["doctor", "--format", "json"]).ok().json();
    assert!(!report["warnings"].as_array().unwrap().is_empty(), "what vfs costs is said");
}

#[test]
fn isolation_is_chosen_by_name() {
    let world = World::new(Mode::Embedded);
    world.run(&["--rm", "--isolation", "namespace", "box", "true"]).ok();
    world.run(&["--rm", "--isolation", "auto", "box", "true"]).ok();
    world.run(&["--rm", "--isolation", "chroot", "box", "true"]).ok();
    world.run(&["--rm", "--isolation", "jail", "box", "true"]).refused(125, &["jail", "FreeBSD"]);
    world.run(&["--rm", "--isolation", "magic", "box", "true"]).refused(125, &["magic", "namespace"]);
    world.run(&["--rm", "--runtime", "nonsense", "box", "true"]).refused(125, &["nonsense"]);
}

#[test]
fn the_interface_takes_a_backend_as_isolation_or_runtime() {
    let world = World::new(Mode::Daemon);
    let create = |host: &str| {
        let body = format!(r#"{{"Image":"box","Cmd":["true"],"HostConfig":{host}}}"#);
        request(&world, "POST", "/containers/create", body.as_bytes())
    };
    for host in [
        r#"{"Isolation":"namespace"}"#,
        r#"{"Isolation":"namespace","Runtime":"namespace"}"#,
        r#"{"Runtime":"namespace"}"#,
        r#"{"Isolation":"default"}"#,
        "{}",
    ] {
        let id = create(host).json()["Id"].as_str().unwrap().to_owned();
        assert_eq!(world.inspect(&id, "{{.HostConfig.Runtime}}"), "namespace", "{host}");
    }
    assert!(create(r#"{"Isolation":"magic"}"#).refuses(400).contains("magic"));
    assert!(create(r#"{"Isolation":"hyperv"}"#).refuses(400).contains("Windows"));
    assert!(create(r#"{"Isolation":"namespace","Runtime":"crun"}"#).refuses(400).contains("conflicting"));
}

#[test]
fn the_doctor_misses_what_the_configuration_demands() {
    let world = World::bare(Mode::Embedded);
    let with = |text: &str| {
        std::fs::write(world.path("berth.toml"), text).unwrap();
        world.berth(&["--config", &world.at("berth.toml"), "doctor"])
    };
    with("strict = true\n").ended(0);
    let missing = with("[runtimes.mine]\npath = '/nowhere/mine'\n").ended(1).err();
    assert!(missing.contains("MISSING: runtimes.mine") && missing.contains("/nowhere/mine"), "{missing}");
    with("isolation = 'jail'\n").ended(1);
    with("[network]\npacket-path = 'iptables-legacy,relay'\n").ended(0);
    with("isolation = 'magic'\n").refused(1, &["berth.toml", "magic"]);
    with("[runtimes.namespace]\npath = '/bin/true'\n").refused(1, &["berth.toml", "namespace", "reserved"]);
    with("[runtimes.mine]\nprogram = '/bin/true'\n").refused(1, &["berth.toml", "program"]);
}

#[test]
fn two_roots_know_nothing_of_each_other() {
    let world = World::new(Mode::Embedded);
    let other = world.beside(Mode::Daemon);
    other.import_box();
    world.start(&["--name", "same"], "sleep 1000");
    other.start(&["--name", "same"], "sleep 1000");
    assert_ne!(world.inspect("same", "{{.Id}}"), other.inspect("same", "{{.Id}}"));
    other.berth(&["rm", "-f", "same"]).ok();
    assert_eq!(world.inspect("same", "{{.State.Running}}"), "true");
    let by_flag = world.with(&[("BERTH_ROOT", "/nowhere")], &["--root", world.root().to_str().unwrap(), "ps", "-q"]);
    assert_eq!(by_flag.ok().lines().len(), 1);
}

#[test]
fn a_root_with_a_long_or_odd_path_works() {
    let world = World::bare(Mode::Embedded);
    for name in ["with space, comma:colon=\\backslash", &"long-".repeat(30)] {
        let root = world.path(name);
        let root = root.to_str().unwrap();
        let with = |arguments: &[&str]| world.with(&[], &[&["--root", root], arguments].concat());
        let mut command = world.command();
        command.args(["--root", root, "import", "-", "box"]);
        crate::support::call::call(command, crate::support::image::busybox(), crate::support::world::LIMIT).ok();
        with(&["run", "-d", "--name", "one", "box", "sleep", "1000"]).ok();
        assert_eq!(with(&["exec", "one", "echo", "inside"]).ok().text(), "inside");
        assert_eq!(with(&["run", "--rm", "box", "echo", "run"]).ok().text(), "run");
        with(&["rm", "-f", "one"]).ok();
    }
}

#[test]
fn hosts_are_named_by_flag_and_environment() {
    let world = World::new(Mode::Daemon);
    let id = world.berth(&["create", "--name", "one", "box", "true"]).ok().text();
    let host = format!("unix://{}", world.socket().display());
    let plain = |variables: &[(&str, &str)], arguments: &[&str]| {
        let mut command = world.command();
        command.env_remove("BERTH_ROOT").envs(variables.iter().copied()).args(arguments);
        crate::support::call::call(command, &[], crate::support::world::LIMIT)
    };
    assert_eq!(plain(&[], &["-H", &host, "ps", "-aq", "--no-trunc"]).ok().text(), id);
    assert_eq!(plain(&[("BERTH_HOST", &host)], &["ps", "-aq", "--no-trunc"]).ok().text(), id);
    assert_eq!(plain(&[("DOCKER_HOST", &host)], &["ps", "-aq", "--no-trunc"]).ok().text(), id);
    plain(&[], &["-H", "unix:///no/such/socket", "ps"]).refused(1, &["/no/such/socket"]);
    plain(&[], &["-H", "nonsense://x", "ps"]).refused(1, &["nonsense"]);
    world.berth(&["serve"]).ended(1);
}
