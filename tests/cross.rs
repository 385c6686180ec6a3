//! `cross` with berth as its container engine: what it asks, word for word as recorded, and its file of settings.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::support::eventually;
use crate::support::world::LIMIT;

/// An image that is called like one of cross's.
const IMAGE: &str = "ghcr.io/cross-rs/aarch64-unknown-linux-musl:0.2.5";

both! {
    fn cross_takes_the_engine_for_docker(world) {
        // It looks for these words, and adds `--user` and leaves out `--pull` by them.
        let help = world.berth(&["--help"]).ok().out().to_lowercase();
        assert!(help.contains("docker"), "{help}");
        for other in ["podman", "nerdctl", "emulate"] {
            assert!(!help.contains(other), "{other} in {help}");
        }
        let architecture = world.berth(&["version", "-f", "{{ .Server.Os }},,,{{ .Server.Arch }}"]).ok().text();
        let known = ["amd64", "386", "arm64", "arm", "riscv64"];
        assert!(known.iter().any(|name| architecture == format!("linux,,,{name}")), "{architecture}");
    }

    fn cross_builds_in_folders_of_the_host(world) {
        world.berth(&["tag", "box", IMAGE]).ok();
        for folder in ["cargo", "project", "sysroot/bin", "target"] {
            fs::create_dir_all(world.path(folder)).unwrap();
        }
        fs::write(world.path("project/Cargo.toml"), "[package]\n").unwrap();
        fs::write(world.path("sysroot/bin/cargo"), "#!/bin/sh\necho \"$@\" >$CARGO_TARGET_DIR/built\n").unwrap();
        world.shell("chmod 755 sysroot/bin/cargo; chown -R 1000:1000 cargo project target").ok();
        let volume = |host: &str, inside: &str| format!("{}:{inside}", world.at(host));
        let mut arguments = ["--userns", "host", "-e", "PKG_CONFIG_ALLOW_CROSS=1", "-e", "XARGO_HOME=/xargo"].map(str::to_owned).to_vec();
        arguments.extend(["-e", "CARGO_HOME=/cargo", "-e", "CARGO_TARGET_DIR=/target", "-e", "CROSS_RUNNER="].map(str::to_owned));
        arguments.extend(["-e", "TERM", "-e", "USER=root", "--rm", "--user", "1000:1000"].map(str::to_owned));
        for (host, inside) in [("cargo", "/xargo:z"), ("cargo", "/cargo:z"), ("project", "/project:z"), ("sysroot", "/rust:z,ro"), ("target", "/target:z")] {
            arguments.extend(["-v".to_owned(), volume(host, inside)]);
        }
        arguments.extend(["-v", "/cargo/bin", "-w", "/project", IMAGE, "sh", "-c"].map(str::to_owned));
        let script = |text: &str| {
            let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            arguments.push(text);
            world.run(&arguments)
        };
        script(r#"PATH="$PATH":/rust/bin "cargo" "build" "--target" "aarch64-unknown-linux-musl""#).ok();
        let built = world.path("target/built");
        assert_eq!(fs::read_to_string(&built).unwrap(), "build --target aarch64-unknown-linux-musl\n");
        assert_eq!(fs::metadata(&built).unwrap().uid(), 1000);
        script("touch /rust/bin/cargo").refused(1, &["Read-only"]);
        script("exit 101").ended(101);
        assert_eq!(world.berth(&["volume", "ls", "-q"]).ok().text(), "");
    }

    fn cross_builds_in_a_container_far_away(world) {
        world.berth(&["tag", "box", IMAGE]).ok();
        world.berth(&["volume", "create", "cross-one"]).ok();
        world.berth(&["volume", "inspect", "cross-one"]).ok();
        let state = || world.berth(&["ps", "-a", "--filter", "name=cross-two", "--format", "{{.State}}"]).ok().text();
        assert_eq!(state(), "");
        world.run(&["--name", "cross-two", "--rm", "-v", "cross-one:/cross", "-d", IMAGE, "sh", "-c", "sleep infinity"]).ok();
        assert_eq!(state(), "running");
        fs::create_dir(world.path("project")).unwrap();
        fs::write(world.path("project/file"), "made here\n").unwrap();
        world.berth(&["cp", "-a", &world.at("project"), "cross-two:/cross"]).ok();
        let inside = ["exec", "--user", "0:0", "-e", "NAME=out", "-w", "/cross/project", "cross-two"];
        world.berth(&[&inside[..], &["sh", "-c", "cp file $NAME"]].concat()).ok();
        world.berth(&["cp", "-a", "cross-two:/cross/project", &world.at("back")]).ok();
        assert_eq!(fs::read_to_string(world.path("back/out")).unwrap(), "made here\n");
        world.berth(&["stop", "cross-two", "--time", "0"]).ok();
        eventually("the container is removed", LIMIT, || state().is_empty());
        world.berth(&["volume", "rm", "cross-one"]).ok();
    }
}

#[test]
fn its_file_names_targets_that_ci_cross_has() {
    let top = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let text = fs::read_to_string(format!("{top}/Cross.toml")).unwrap();
    let settings: toml::Table = text.parse().unwrap();
    let ours: String = fs::read_dir(format!("{top}/ci/cross.d/targets"))
        .unwrap()
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    let targets = settings["target"].as_table().unwrap();
    assert!(!targets.is_empty());
    for (triple, target) in targets {
        assert!(ours.contains(&format!("linux {triple} ")), "{triple} is no target of ci/cross");
        let image = target["image"].as_str().unwrap();
        assert!(image.contains(triple.as_str()), "{image} for {triple}");
    }
    // Everything that the build script reads.
    let passed = settings["build"]["env"]["passthrough"].as_array().unwrap();
    let script = fs::read_to_string(format!("{top}/engine/cli/build.rs")).unwrap();
    for name in passed {
        assert!(script.contains(name.as_str().unwrap()), "{name} is read by nothing");
    }
}
