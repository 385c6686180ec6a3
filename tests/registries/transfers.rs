//! Images there and back again, and what other clients make of them.

use std::process::Command;

use super::server::{Image, Server, reply};
use crate::support::call::call;
use crate::support::image::{archive, file};
use crate::support::registry::{Kind, Registry, other};
use crate::support::world::LIMIT;
use crate::support::{Mode, World, eventually, find_program, kernel, skip};

/// A layer on the image `base`.
fn commit(world: &World, base: &str, script: &str, name: &str) {
    world.run(&["--name", "made", base, "sh", "-c", script]).ok();
    world.berth(&["commit", "made", name]).ok();
    world.berth(&["rm", "made"]).ok();
}

both! {
    fn an_image_comes_back_as_it_went(world) {
        let Some(registry) = Registry::start(world, Kind::Plain) else { return };
        let name = registry.name("team/app:1");
        commit(world, "box", "echo one > /one", "stage");
        commit(world, "stage", "echo two > /two; chmod 4711 /two", &name);
        let id = world.inspect(&name, "{{.Id}}");
        let pushed = world.berth(&["push", &name]).ok().text();
        assert!(pushed.contains(&format!("The push refers to repository [{}]", registry.name("team/app"))), "{pushed}");
        let digest = pushed.lines().find_map(|line| Some(line.strip_prefix("1: digest: ")?.split(' ').next()?.to_owned()));
        let digest = digest.unwrap_or_else(|| panic!("{pushed}"));
        assert_eq!(world.inspect(&name, "{{index .RepoDigests 0}}"), format!("{}@{digest}", registry.name("team/app")));
        let again = world.berth(&["push", &name]).ok().text();
        assert!(again.contains("Layer already exists") && !again.contains(": Pushed"), "{again}");

        world.berth(&["rmi", &name, "stage", "box"]).ok();
        world.berth(&["image", "prune", "-af"]).ok();
        let pulled = world.berth(&["pull", &name]).ok().text();
        assert!(pulled.contains("1: Pulling from team/app") && pulled.contains(&format!("Digest: {digest}")), "{pulled}");
        assert!(pulled.contains(&format!("Status: Downloaded newer image for {name}")), "{pulled}");
        assert_eq!(pulled.lines().last(), Some(name.as_str()));
        assert_eq!(world.inspect(&name, "{{.Id}}"), id);
        let script = "cat /one /two; stat -c %a /two";
        assert_eq!(world.run(&["--rm", &name, "sh", "-c", script]).ok().text(), "one\ntwo\n4711");
        let again = world.berth(&["pull", &name]).ok().text();
        assert!(again.contains(&format!("Status: Image is up to date for {name}")), "{again}");

        let by_digest = format!("{}@{digest}", registry.name("team/app"));
        assert_eq!(world.inspect(&by_digest, "{{.Id}}"), id);
        assert!(world.berth(&["images", "--digests"]).ok().text().contains(&digest));
        let removed = world.berth(&["rmi", &name]).ok().text();
        assert!(removed.contains(&format!("Untagged: {by_digest}")), "{removed}");
        let quiet = world.berth(&["pull", "-q", &by_digest]).ok().text();
        assert_eq!(quiet, by_digest);
        assert_eq!(world.inspect(&by_digest, "{{.RepoTags}}"), "[]");
        world.berth(&["rmi", &by_digest]).ok();
        assert_eq!(world.berth(&["images", "-aq"]).ok().text(), "");
    }

    fn a_run_fetches_what_is_missing_and_only_then(world) {
        if kernel::lacks("seccomp filters, which is warned of", (3, 5)) {
            return;
        }
        let Some(registry) = Registry::start(world, Kind::Plain) else { return };
        let name = registry.name("box");
        world.berth(&["tag", "box", &name]).ok();
        world.berth(&["push", "-q", &name]).ok();
        world.berth(&["rmi", &name]).ok();
        world.run(&["--pull", "never", &name, "true"]).refused(125, &["No such image"]);
        let first = world.run(&["--rm", &name, "echo", "hello"]).ok();
        assert_eq!(first.text(), "hello");
        assert!(first.err().contains(&format!("Unable to find image '{name}:latest' locally")), "{}", first.err());
        assert_eq!(world.run(&["--rm", &name, "true"]).ok().err(), "");
        let always = world.run(&["--rm", "--pull", "always", &name, "true"]).ok();
        assert!(always.err().contains("Image is up to date"), "{}", always.err());
        assert_eq!(world.run(&["--rm", "-q", "--pull", "always", &name, "true"]).ok().err(), "");
        world.run(&["--rm", &registry.name("none"), "true"]).refused(125, &["manifest for", "not found"]);
        world.berth(&["pull", &registry.name("box:none")]).refused(1, &["manifest unknown"]);
    }
}

#[test]
fn all_tags_go_and_come_and_a_layer_is_sent_once() {
    let world = World::new(Mode::Embedded);
    let Some(registry) = Registry::start(&world, Kind::Plain) else { return };
    for tag in ["a", "b"] {
        world.berth(&["tag", "box", &registry.name(&format!("many:{tag}"))]).ok();
    }
    world.berth(&["push", "-a", &registry.name("many")]).ok();
    let other = registry.name("other:1");
    world.berth(&["tag", "box", &other]).ok();
    let pushed = world.berth(&["push", &other]).ok().text();
    assert!(pushed.contains("Mounted from many"), "{pushed}");
    world.berth(&["rmi", &registry.name("many:a"), &registry.name("many:b"), &other]).ok();
    world.berth(&["pull", "-a", &registry.name("many")]).ok();
    let tags = world.berth(&["images", "--format", "{{.Tag}}", &registry.name("many")]).ok().lines();
    assert_eq!(tags, ["a", "b"]);
    world.berth(&["pull", "-a", &registry.name("many:a")]).refused(1, &["tag can't be used"]);
}

#[test]
fn a_registry_is_found_once_for_all_tags() {
    let world = World::bare(Mode::Embedded);
    let image = Image::new(&archive(&[file("hello", b"hi")]), None);
    let server = Server::start(&world, move |asked, stream| match asked.path.as_str() {
        "/v2/many/tags/list" => reply(stream, "200 OK", &[], br#"{"tags":["a","b","c"]}"#),
        _ => image.serve(asked, stream),
    });
    world.berth(&["pull", "-a", &server.name("many")]).ok();
    assert_eq!(world.berth(&["images", "-q", &server.name("many")]).ok().lines().len(), 3);
    let asked = server.asked.lock().unwrap();
    assert_eq!(asked.iter().filter(|asked| asked.path == "/v2/").count(), 1);
}

#[test]
fn dockers_own_client_pulls_and_pushes() {
    if find_program("docker").is_none() {
        return skip("there is no docker here");
    }
    let world = World::new(Mode::Daemon);
    let Some(registry) = Registry::start(&world, Kind::Plain) else { return };
    let docker = |arguments: &[&str]| {
        let mut command = Command::new("docker");
        world.surround(&mut command);
        command.env("DOCKER_HOST", format!("unix://{}", world.socket().display())).args(arguments);
        call(command, &[], LIMIT)
    };
    let name = registry.name("box:docker");
    docker(&["tag", "box", &name]).ok();
    assert!(docker(&["push", &name]).ok().text().contains("docker: digest: sha256:"));
    docker(&["rmi", &name]).ok();
    let pulled = docker(&["pull", &name]).ok().text();
    assert!(pulled.contains("Pulling from box") && pulled.contains("Status: Downloaded newer image"), "{pulled}");
    // What is asked for ends with the last whole second.
    let filter = ["events", "--since", "1h", "--until", "0s", "--filter", "type=image", "--format", "{{.Action}}"];
    eventually("there are events", LIMIT, || {
        let events = docker(&filter).ok().lines();
        ["push", "pull"].iter().all(|action| events.iter().any(|event| event == action))
    });
    assert_eq!(docker(&["run", "--rm", "--pull", "always", "-q", &name, "echo", "yes"]).ok().text(), "yes");
    docker(&["pull", &registry.name("none")]).refused(1, &["not found"]);
}

#[test]
fn skopeo_and_podman_read_and_write_the_same_images() {
    let world = World::new(Mode::Embedded);
    let Some(registry) = Registry::start(&world, Kind::Plain) else { return };
    if find_program("skopeo").is_none() {
        return skip("skopeo is not installed (ci/setup test)");
    }
    let ours = registry.name("box:ours");
    world.berth(&["tag", "box", &ours]).ok();
    world.berth(&["push", "-q", &ours]).ok();
    let inspected =
        other(&world, "skopeo", &["inspect", "--tls-verify=false", &format!("docker://{ours}")]).ok().json();
    assert_eq!(inspected["Layers"].as_array().map(Vec::len), Some(1));
    // Copied with every byte checked, and in other forms: OCI with gzip and with zstd.
    for (tag, form) in [("oci", vec!["-f", "oci"]), ("zstd", vec!["-f", "oci", "--dest-compress-format", "zstd"])] {
        let to = registry.name(&format!("copy:{tag}"));
        let mut arguments = vec!["copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"];
        arguments.extend(form);
        let (from, target) = (format!("docker://{ours}"), format!("docker://{to}"));
        arguments.extend([from.as_str(), target.as_str()]);
        other(&world, "skopeo", &arguments).ok();
        world.berth(&["pull", &to]).ok();
        assert_eq!(world.run(&["--rm", &to, "echo", tag]).ok().text(), tag);
    }
}

#[test]
fn an_index_gives_each_host_its_own_and_says_what_it_has() {
    let world = World::new(Mode::Embedded);
    let Some(registry) = Registry::start(&world, Kind::Plain) else { return };
    let list = registry.name("multi:1");
    for platform in ["linux/amd64", "linux/arm64", "linux/arm/v6", "linux/386", "linux/riscv64"] {
        let name = registry.name(&format!("one:{}", platform.replace('/', "-")));
        world.feed(&["import", "--platform", platform, "-", &name], crate::support::image::busybox()).ok();
        world.berth(&["push", "-q", &name]).ok();
        world.berth(&["manifest", "create", "--amend", &list, &name]).ok();
    }
    world.berth(&["manifest", "push", "--purge", &list]).ok();
    world.berth(&["rmi", "-f", "box"]).ok();
    world.berth(&["pull", &list]).ok();
    let native = world.berth(&["version", "--format", "{{.Server.Arch}}"]).ok().text();
    assert_eq!(world.inspect(&list, "{{.Architecture}}"), native);
    let found = world.berth(&["pull", "--platform", "linux/arm/v7", &list]).ok();
    assert!(found.text().contains("Downloaded newer image"), "{}", found.text());
    assert_eq!(world.inspect(&list, "{{.Architecture}}/{{.Variant}}"), "arm/v6");
    world
        .berth(&["pull", "--platform", "linux/s390x", &list])
        .refused(1, &["no matching manifest for linux/s390x", "linux/arm64"]);
    if native != "riscv64" {
        // Made for whom asks, and refused at the start in words.
        world.berth(&["create", "--name", "foreign", "--platform", "linux/riscv64", &list, "true"]).ok();
        let started = world.berth(&["start", "foreign"]);
        if started.code != 0 {
            started.refused(1, &["the image is for linux/riscv64", "this host runs"]);
        } else {
            skip("an emulator for riscv64 is registered here");
        }
    }
}
