//! Words that mean nothing: what is said of them, with which exit code, and that nothing comes of them.

use std::fs;

use crate::support::docker::Docker;
use crate::support::http::request;
use crate::support::{Mode, World, find_program, skip};

/// Names that no container, network or checkpoint has; the last are paths of the API.
const PATHS: &[&str] = &["../x", "a/b", "..", "../../x", "x%2Fy", "a?b#c", "one/json", "one/checkpoints/kept"];

/// Plants a checkpoint's folder, which what means something else must not remove.
fn planted(world: &World) -> std::path::PathBuf {
    let folder = world.root().join("containers").join(world.inspect("one", "{{.Id}}")).join("checkpoints/kept");
    fs::create_dir_all(&folder).unwrap();
    folder
}

both! {
    fn a_name_with_slashes_is_nobodys(world) {
        world.berth(&["create", "--name", "one", "--network", "none", "box", "true"]).ok();
        let kept = planted(world);
        for name in PATHS {
            let verbs: &[&[&str]] = &[
                &["start", name], &["stop", name], &["restart", name], &["kill", name], &["pause", name],
                &["unpause", name], &["wait", name], &["rm", name], &["logs", name], &["top", name], &["attach", name],
                &["port", name], &["diff", name], &["export", name], &["stats", "--no-stream", name],
                &["rename", name, "two"], &["update", "--cpu-shares", "100", name], &["exec", name, "true"],
                &["commit", name], &["container", "inspect", name], &["checkpoint", "ls", name],
                &["checkpoint", "rm", name, "kept"], &["checkpoint", "create", name, "kept"],
                &["network", "connect", "bridge", name],
            ];
            for verb in verbs {
                world.berth(verb).refused(1, &[&format!("No such container: {name}")]);
            }
            world.berth(&["inspect", name]).refused(1, &[&format!("No such object: {name}")]);
            for verb in [&["network", "rm", name][..], &["network", "inspect", name], &["network", "connect", name, "one"],
                         &["network", "disconnect", name, "one"]] {
                world.berth(verb).refused(1, &[&format!("network {name} not found")]);
            }
            world.berth(&["volume", "rm", name]).refused(1, &["no such volume"]);
            for verb in ["create", "rm"] {
                world.berth(&["checkpoint", verb, "one", name]).refused(1, &[&format!("Invalid checkpoint ID ({name})")]);
            }
            for verb in [&["rmi", name][..], &["history", name], &["image", "inspect", name], &["tag", name, "two"]] {
                world.berth(verb).refused(1, &["rror"]);
            }
        }
        assert!(kept.is_dir(), "a checkpoint is gone");
        assert_eq!(world.berth(&["ps", "-a", "--format", "{{.Names}}"]).ok().text(), "one");
    }

    fn an_image_of_another_platform_is_not_the_one(world) {
        let name = "127.0.0.1:1/box:latest";
        world.feed(&["import", "-", name], crate::support::image::busybox()).ok();
        for verb in ["run", "create"] {
            let said = world.berth(&[verb, "--platform", "linux/s390x", name, "true"]);
            assert!(said.code != 0 && said.err().starts_with(&format!("Unable to find image '{name}' locally\n")), "{said}");
            let quiet = world.berth(&[verb, "--quiet", "--platform", "linux/s390x", name, "true"]);
            assert!(quiet.code != 0 && !quiet.err().contains("Unable to find"), "{quiet}");
        }
        world.run(&["--platform", "bogus", name, "true"]).refused(125, &["\"bogus\"", "unknown operating system or architecture"]);
        assert_eq!(world.berth(&["ps", "-aq"]).ok().text(), "");
    }

    fn what_is_no_reference_is_refused_before_anything_is_sent(world) {
        let large = vec![0; 24 << 20];
        world.berth(&["tag", "box", ""]).refused(1, &["Error parsing reference: \"\" is not a valid repository/tag"]);
        for name in ["BAD", "a b", "x:", "x:y:z", "../x"] {
            world.feed(&["import", "-", name], &large).refused(1, &["invalid reference format"]);
            let words = format!("Error parsing reference: {name:?} is not a valid repository/tag: invalid reference format");
            world.berth(&["tag", "box", name]).refused(1, &[&words]);
        }
        let digest = format!("x@sha256:{}", "0".repeat(64));
        world.berth(&["tag", "box", &digest]).refused(1, &["refusing to create a tag with a digest reference"]);
        world.feed(&["import", "--platform", "bogus", "-", "x"], &large[..8 << 20]).refused(1, &["unknown operating system"]);
        world.feed(&["load", "--platform", "bogus"], &large[..8 << 20]).refused(1, &["unknown operating system"]);
        assert_eq!(world.berth(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).ok().text(), "box:latest");
    }

    fn flags_that_mean_nothing_are_named(world) {
        let long = |flag: &str, value: &str| format!("invalid argument {value:?} for \"{flag}\" flag");
        world.berth(&["volume", "create", "--label", "=x", "vol"]).refused(125, &[&long("--label", "=x"), "empty name"]);
        world.run(&["--label", "a b=x", "box", "true"]).refused(125, &[&long("-l, --label", "a b=x"), "contains whitespaces"]);
        world.run(&["--cpuset-cpus", "8191", "box", "true"]).refused(125, &["Requested CPUs are not available - requested 8191"]);
        world.run(&["--mount", "colour", "box", "true"]).refused(125, &["invalid field 'colour' must be a key=value pair"]);
        world.run(&["--restart", "on-failure:x", "box", "true"]).refused(125, &["maximum retry count must be an integer"]);
        assert_eq!(world.berth(&["ps", "-aq"]).ok().text(), "");
        // What is said twice is meant once, and an annotation need not say anything.
        world.start(&["--name", "one", "--network", "none", "-v", "/tmp:/x", "-v", "/tmp:/x", "--annotation", "a"], "sleep 1000");
        assert_eq!(world.inspect("one", "{{len .Mounts}} {{json .HostConfig.Annotations}}"), r#"1 {"a":""}"#);
        world.berth(&["exec", "-e", "=x", "one", "true"]).refused(125, &[&long("-e, --env", "=x")]);
        world.berth(&["cp", "", "one:/tmp"]).refused(1, &["source can not be empty"]);
        world.berth(&["cp", "one:/tmp", ""]).refused(1, &["destination can not be empty"]);
        for verb in [&["inspect", "one"][..], &["info"], &["version"], &["events", "--until", "1"]] {
            world.berth(&[verb, &["--format", "{{"]].concat()).refused(64, &["template parsing error"]);
        }
        assert_eq!(world.berth(&["volume", "ls", "-q"]).ok().text(), "");
    }
}

#[test]
fn segments_of_a_path_are_taken_apart_before_they_are_decoded() {
    let world = World::new(Mode::Daemon);
    world.berth(&["create", "--name", "one", "--network", "none", "box", "true"]).ok();
    let kept = planted(&world);
    for (method, path, message) in [
        ("GET", "/containers/a/b/json", "No such container: a/b"),
        ("GET", "/containers/a%2Fb/json", "No such container: a/b"),
        ("POST", "/v1.47/containers/../x/start", "No such container: ../x"),
        ("DELETE", "/containers/one%2Fcheckpoints%2Fkept", "No such container: one/checkpoints/kept"),
        ("GET", "/networks/a/b", "network a/b not found"),
        ("POST", "/exec/a/b/start", "No such exec instance: a/b"),
        ("GET", "/exec/..%2F..%2Fx/json", "No such exec instance: ../../x"),
        ("POST", "/containers/start", "page not found"),
        ("DELETE", "/containers", "page not found"),
        ("POST", "/containers%2Fone%2Fstart", "page not found"),
    ] {
        assert_eq!(request(&world, method, path, b"{}").refuses(404), message, "{method} {path}");
    }
    request(&world, "DELETE", "/containers/one/checkpoints/..%2Fkept", b"").refuses(400);
    assert!(kept.is_dir(), "a checkpoint is gone");
    // What the wire types do not know is told in Docker's words.
    let create = |settings: &str| {
        let body = format!(r#"{{"Image":"box","Cmd":["true"],"HostConfig":{settings}}}"#);
        request(&world, "POST", "/containers/create", body.as_bytes()).refuses(400)
    };
    assert!(create(r#"{"RestartPolicy":{"Name":"often"}}"#).contains("unknown policy 'often'; use one of 'no'"));
    assert!(create(r#"{"Mounts":[{"Type":"odd","Target":"/x"}]}"#).contains("type \"odd\": mount type unknown"));
    let update =
        request(&world, "POST", "/containers/one/update", br#"{"RestartPolicy":{"Name":"often"}}"#).refuses(400);
    assert!(update.contains("unknown policy 'often'"), "{update}");
    // A body that nobody reads is taken all the same, so that the client hears why.
    let refused = request(&world, "POST", "/images/create?fromSrc=-&repo=BAD", &vec![0; 8 << 20]).refuses(400);
    assert!(refused.contains("must be lowercase"), "{refused}");
    request(&world, "POST", "/images/load?platform=bogus", &vec![0; 8 << 20]).refuses(400);
    request(&world, "PUT", "/containers/one/archive", &vec![0; 8 << 20]).refuses(400);
}

#[test]
fn docker_hears_what_is_wrong() {
    if find_program("docker").is_none() {
        return skip("there is no docker here");
    }
    let world = World::new(Mode::Daemon);
    let docker = Docker(&world);
    world.start(&["--name", "one", "--network", "none"], "sleep 1000");
    for verb in [&["rm", "a/b"][..], &["start", "a/b"], &["exec", "a/b", "true"], &["logs", "a/b"]] {
        docker.call(verb).refused(1, &["No such container: a/b"]);
    }
    docker.call(&["network", "rm", "a/b"]).refused(1, &["network a/b not found"]);
    for (flags, words) in [(&["-u", "stranger"][..], "unable to find user stranger"), (&["-w", "/nowhere"], "/nowhere")]
    {
        let said = docker.call(&[&["exec"], flags, &["one", "true"]].concat()).ended(126);
        assert!(said.out().contains(words), "{said}");
    }
    docker.call(&["run", "--restart", "often", "box", "true"]).refused(125, &["unknown policy 'often'"]);
    assert_eq!(docker.call(&["ps", "-aq"]).ok().lines().len(), 1);
}
