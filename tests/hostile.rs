//! Archives, containers and requests that mean harm: a clear error, nothing outside, nothing half-made.

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use crate::images::{digest, docker_archive};
use crate::support::call::call;
use crate::support::http::{parse, raw, request};
use crate::support::image::{Member, archive, file, folder, hardlink, symlink};
use crate::support::{Mode, World, eventually};

/// A folder beside the state that no archive may reach, and its inhabitant.
fn victim(world: &World) -> String {
    fs::create_dir_all(world.path("victim")).unwrap();
    fs::write(world.path("victim/file"), "untouched").unwrap();
    world.at("victim")
}

#[track_caller]
fn unharmed(world: &World) {
    assert_eq!(fs::read_to_string(world.path("victim/file")).unwrap(), "untouched");
    assert_eq!(fs::read_dir(world.path("victim")).unwrap().count(), 1, "something was made outside");
}

/// What a refused archive left: nothing, if the two are equal.
#[track_caller]
fn assert_unchanged(world: &World, before: &[String], what: &str) {
    let new: Vec<String> = state(world).into_iter().filter(|name| !before.contains(name)).collect();
    assert!(new.is_empty(), "{what} left {new:?}");
}

/// The names below the state's folders for layers and content: what a refused archive must not add to.
fn state(world: &World) -> Vec<String> {
    let line = "cd root && find . -path ./run -prune -o -path ./berth.db\\* -prune -o -print | grep -v -e '^./locks/' -e '^./tmp$' | sort";
    world.shell(line).ok().lines()
}

both! {
    fn archives_do_not_reach_out(world) {
        let victim = victim(world);
        let up = format!("{}{victim}", "../".repeat(20));
        let (inhabitant, by_dots) = (format!("{victim}/file"), format!("{up}/file"));
        let (victim, up) = (victim.as_str(), up.as_str());
        let cases: Vec<(&str, Vec<Member<'_>>)> = vec![
            ("dots", vec![file("../../../../../../../../../../../../victim", b"x")]),
            ("absolute", vec![file(victim, b"x")]),
            (
                "link and file through it",
                vec![symlink("way", victim), file("way/file", b"harm"), file("way/new", b"harm")],
            ),
            ("relative link", vec![symlink("way", up), file("way/file", b"harm"), file("way/new", b"harm")]),
            ("link replaced by a file", vec![symlink("way", &inhabitant), file("way", b"harm")]),
            ("hard link out", vec![hardlink("own", &inhabitant), file("own", b"harm")]),
            ("hard link by dots", vec![hardlink("own", &by_dots), file("own", b"harm")]),
            (
                "hard link through a link",
                vec![symlink("way", victim), hardlink("own", "way/file"), file("own", b"harm")],
            ),
            ("folder over a link", vec![symlink("way", victim), folder("way/"), file("way/file", b"harm")]),
            ("whiteout through a link", vec![symlink("way", victim), file("way/.wh.file", b"")]),
            ("opaque through a link", vec![symlink("way", victim), file("way/.wh..wh..opq", b"")]),
            ("whiteout of dots", vec![file("a/.wh...", b""), file(".wh..", b"")]),
        ];
        for (what, members) in cases {
            let imported = world.feed(&["import", "-", "bad"], &archive(&members));
            unharmed(world);
            if imported.code == 0 {
                // Taken in, but inside: a run, a commit and an export of it must not reach out either.
                let made = world.berth(&["create", "--name", "bad", "bad", "x"]).ok();
                assert!(!made.text().is_empty());
                world.berth(&["export", "-o", &world.at("bad.tar"), "bad"]).ok();
                world.feed(&["cp", "-", "bad:/"], &archive(&members));
                unharmed(world);
                world.berth(&["rm", "bad"]).ok();
                world.berth(&["rmi", "bad"]).ok();
            } else {
                assert!(imported.code == 1 && !imported.err().is_empty(), "{what}: {imported}");
            }
            unharmed(world);
        }
    }

    fn damaged_archives_leave_nothing(world) {
        let before = state(world);
        let good = archive(&[folder("a/"), file("a/b", &[7; 5000])]);
        let mut wrong_sum = good.clone();
        wrong_sum[512 + 148] ^= 1;
        let huge = Member { size: 1 << 62, ..file("huge", b"x") }.bytes();
        let negative = {
            let mut bytes = file("n", b"").bytes();
            bytes[124] = 0xff;
            bytes
        };
        let bomb = {
            let mut bytes = Member { kind: b'x', size: 1 << 40, ..file("pax", b"x") }.bytes();
            bytes.resize(4096, 0);
            bytes
        };
        let cases: Vec<(&str, Vec<u8>)> = vec![
            ("truncated content", good[..1800].to_vec()),
            ("truncated header", good[..700].to_vec()),
            ("wrong checksum", wrong_sum),
            ("huge size", huge),
            ("negative size", negative),
            ("endless pax header", bomb),
            ("not an archive", b"this is only text, and long enough for a header ".repeat(20)),
            ("a gzip header and noise", [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &[0xaa; 600]].concat()),
            ("truncated zstd", vec![0x28, 0xb5, 0x2f, 0xfd, 0x04]),
        ];
        for (what, bytes) in cases {
            let outcome = world.feed(&["import", "-", "bad"], &bytes);
            assert!(outcome.code == 1 && outcome.err().trim().len() > 10, "{what}: {outcome}");
            assert_unchanged(world, &before, what);
            assert_eq!(world.berth(&["images", "-q"]).ok().lines().len(), 1, "{what}");
        }
    }

    fn device_nodes_in_images_are_no_way_out(world) {
        let node = Member { kind: b'4', device: (254, 0), mode: 0o666, ..file("disk", b"") };
        let zero = Member { kind: b'3', device: (1, 5), mode: 0o666, ..file("zero", b"") };
        world
            .feed(
                &["import", "-", "nodes"],
                &[
                    crate::support::image::busybox()[..crate::support::image::busybox().len() - 1024].to_vec(),
                    archive(&[node, zero]),
                ]
                .concat(),
            )
            .ok();
        let seen =
            world.run(&["--rm", "nodes", "sh", "-c", "head -c1 /disk; head -c1 /zero >/dev/null && echo zero works"]);
        assert!(!seen.err().is_empty() && seen.text() == "zero works", "{seen}");
    }

    fn a_folder_swapped_for_a_link_during_cp_stays_inside(world) {
        let victim = victim(world);
        let swap = format!(
            "mkdir -p /real/d; ln -s {victim} /link; echo up; while :; do mv /real/d /real/e; mv /link /real/d; mv /real/d /link; mv /real/e /real/d; done"
        );
        world.start(&["--name", "one"], &swap);
        eventually("it swaps", Duration::from_secs(10), || world.berth(&["logs", "one"]).text() == "up");
        fs::write(world.path("harm"), "harm").unwrap();
        let payload = archive(&[file("file", b"harm"), file("sub/file", b"harm")]);
        let end = Instant::now() + Duration::from_secs(4);
        let mut tried = 0;
        while Instant::now() < end || tried < 6 {
            world.berth(&["cp", &world.at("harm"), "one:/real/d/file"]);
            world.feed(&["cp", "-", "one:/real/d"], &payload);
            let out = world.berth(&["cp", "one:/real/d/file", "-"]);
            assert!(!out.out().contains("untouched"), "read from outside: {out}");
            unharmed(world);
            tried += 1;
        }
    }

    fn docker_archives_that_lie_are_refused_whole(world) {
        let before = state(world);
        let layer = archive(&[file("f", b"x")]);
        let honest = docker_archive(world, "lie:1", std::slice::from_ref(&layer));
        let sum = digest(world, &layer);
        let swap = |from: &str, to: &str| {
            assert_eq!(from.len(), to.len());
            let text: Vec<u8> = honest.clone();
            let mut all = text;
            let mut at = 0;
            while let Some(found) = all[at..].windows(from.len()).position(|window| window == from.as_bytes()) {
                all[at + found..at + found + to.len()].copy_from_slice(to.as_bytes());
                at += found + to.len();
            }
            all
        };
        let wrong_diff = swap(&format!("sha256:{sum}"), &format!("sha256:{}", "0".repeat(64)));
        let config = |value: serde_json::Value| value.to_string();
        let manifest = |text: String, rest: &[Member<'_>]| {
            let first = file("manifest.json", text.as_bytes()).bytes();
            [first, archive(rest)].concat()
        };
        let good_config = config(
            serde_json::json!({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{sum}")]}}),
        );
        let with = |manifest_json: serde_json::Value| {
            manifest(manifest_json.to_string(), &[file("c.json", good_config.as_bytes()), file("l.tar", &layer)])
        };
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{}","size":2}}]}}"#,
            "0".repeat(64)
        );
        let blob = format!("blobs/sha256/{}", "0".repeat(64));
        let cases: Vec<(&str, Vec<u8>)> = vec![
            ("a diff ID that is not its layer's", wrong_diff),
            (
                "a layer that is not there",
                with(serde_json::json!([{"Config": "c.json", "RepoTags": ["lie:1"], "Layers": ["nothing.tar"]}])),
            ),
            (
                "a layer outside",
                with(
                    serde_json::json!([{"Config": "c.json", "RepoTags": ["lie:1"], "Layers": ["../../../etc/passwd"]}]),
                ),
            ),
            (
                "an absolute configuration",
                with(serde_json::json!([{"Config": "/etc/passwd", "RepoTags": ["lie:1"], "Layers": ["l.tar"]}])),
            ),
            (
                "too many layers",
                with(serde_json::json!([{"Config": "c.json", "RepoTags": ["lie:1"], "Layers": ["l.tar", "l.tar"]}])),
            ),
            ("no layers", with(serde_json::json!([{"Config": "c.json", "RepoTags": ["lie:1"], "Layers": []}]))),
            (
                "a bad name",
                with(serde_json::json!([{"Config": "c.json", "RepoTags": ["../x:1"], "Layers": ["l.tar"]}])),
            ),
            ("no list", with(serde_json::json!({"Config": 1}))),
            ("not JSON", manifest("{{{".to_owned(), &[])),
            ("deeply nested JSON", manifest("[".repeat(100_000), &[])),
            ("no manifest", archive(&[file("other", b"x")])),
            ("a manifest that is a link", archive(&[symlink("manifest.json", "/etc/passwd")])),
            (
                "a layer that is a link",
                manifest(
                    serde_json::json!([{"Config": "c.json", "RepoTags": ["lie:1"], "Layers": ["l.tar"]}]).to_string(),
                    &[file("c.json", good_config.as_bytes()), symlink("l.tar", "/etc/passwd")],
                ),
            ),
            (
                "an OCI index with a blob of another content",
                archive(&[
                    file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
                    file("index.json", index.as_bytes()),
                    file(&blob, b"{}"),
                ]),
            ),
        ];
        for (what, bytes) in cases {
            let outcome = world.feed(&["load"], &bytes);
            assert!(outcome.code == 1 && outcome.err().trim().len() > 10, "{what}: {outcome}");
            assert_unchanged(world, &before, what);
            assert_eq!(world.berth(&["images", "-aq"]).ok().lines().len(), 1, "{what}");
        }
        world.feed(&["load"], &honest).ok();
    }

    fn an_image_with_odd_accounts_does_not_hang_or_lie(world) {
        // A passwd file that is a FIFO, a link out, a folder, or endless.
        for (name, member) in [
            ("fifo", Member { kind: b'6', ..file("etc/passwd", b"") }),
            ("out", symlink("etc/passwd", "/../../../../../etc/shadow")),
            ("folder", folder("etc/passwd/")),
        ] {
            let base = crate::support::image::busybox();
            let replaced = [base[..base.len() - 1024].to_vec(), archive(&[member])].concat();
            let image = format!("odd-{name}");
            if world.feed(&["import", "-", &image], &replaced).code == 0 {
                let outcome = world.run(&["--rm", "-u", "user", &image, "true"]);
                assert!(outcome.code == 125 && outcome.took < Duration::from_secs(20), "{name}: {outcome}");
                world.run(&["--rm", "-u", "1000", &image, "true"]).ok();
            }
        }
    }

    fn a_container_that_makes_its_mount_points_links_stays_inside(world) {
        let victim = victim(world);
        world.run(&["--name", "one", "box", "sh", "-c", &format!("rmdir /proc /sys /dev 2>/dev/null; mkdir /x; ln -s {victim} /x/proc; ln -s {victim}/file /x/hosts; rm -rf /etc; ln -s {victim} /etc")]).ok();
        world.berth(&["commit", "one", "links"]).ok();
        world.run(&["--rm", "links", "true"]);
        world.run(&["--rm", "-w", "/etc/made", "links", "true"]);
        world.run(&["--rm", "-v", "/tmp:/etc/bound", "links", "true"]);
        world.berth(&["start", "-a", "one"]);
        unharmed(world);
    }
}

#[test]
fn very_many_entries_are_taken_in_with_little_memory() {
    // Each entry becomes a file; the million takes minutes, and is for `BERTH_TEST_FULL=1`.
    let count = if std::env::var_os("BERTH_TEST_FULL").is_some() { 1_000_000 } else { 20_000 };
    let world = World::bare(Mode::Embedded);
    let mut many = std::io::BufWriter::new(fs::File::create(world.path("many.tar")).unwrap());
    for number in 0..count {
        many.write_all(&file(&format!("d{}/f{number}", number % 100), b"").bytes()).unwrap();
    }
    many.write_all(&[0; 1024]).unwrap();
    drop(many);
    let mut command = std::process::Command::new("bash");
    world.surround(&mut command);
    command.env("PATH", world.path_with_berth()).args(["-c", "ulimit -v 1000000; berth import many.tar many"]);
    call(command, &[], Duration::from_secs(900)).ok();
    world.berth(&["create", "--name", "one", "many", "x"]).ok();
    let exported = world.shell("berth export one | tar -t | grep -c /f").ok();
    assert_eq!(exported.text(), count.to_string());
    world.berth(&["rm", "one"]).ok();
    world.berth(&["rmi", "many"]).ok();
}

#[test]
fn requests_that_are_nonsense_get_an_answer_and_the_daemon_lives() {
    let world = World::new(Mode::Daemon);
    let bodies: [&[u8]; 9] = [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{\"Image\": 5}",
        b"{\"Image\": \"box\", \"HostConfig\": {\"Memory\": \"lots\"}}",
        b"{\"Image\": \"box\", \"HostConfig\": {\"Binds\": [\"\\u0000:/x\"]}}",
        b"\xff\xfe\x00",
        b"{\"Image\": \"\", \"Cmd\": [\"\"]}",
    ];
    for body in bodies {
        request(&world, "POST", "/v1.47/containers/create", body).refuses(400);
    }
    request(&world, "POST", "/containers/create?name=a/b", br#"{"Image":"box"}"#).refuses(400);
    request(&world, "POST", "/containers/create", br#"{"Image":"nothing"}"#).refuses(404);
    request(&world, "POST", "/containers/create", br#"{"Image":"box","Cmd":["a\u0000b"]}"#).refuses(400);
    request(&world, "POST", "/containers/create", br#"{"Image":"box","Env":["A=\u0000"],"Cmd":["true"]}"#).refuses(400);
    request(&world, "POST", "/containers/create", br#"{"Image":"box","Cmd":["true"],"WorkingDir":"a/../../b"}"#)
        .refuses(400);
    // Docker's clients take 404 for a want of the image, and pull it.
    let others: [&[u8]; 4] = [
        br#"{"Image":"box","HostConfig":{"NetworkMode":"nothing"}}"#,
        br#"{"Image":"box","HostConfig":{"NetworkMode":"container:nobody"}}"#,
        br#"{"Image":"box","HostConfig":{"VolumesFrom":["nobody"]}}"#,
        br#"{"Image":"box","HostConfig":{"Binds":["vol:/v"],"VolumeDriver":"nothing"}}"#,
    ];
    for body in others {
        request(&world, "POST", "/containers/create", body).refuses(400);
    }
    request(&world, "GET", "/containers/nobody/json", b"").refuses(404);
    request(&world, "GET", "/containers/..%2f..%2fetc/json", b"").refuses(404);
    request(&world, "GET", "/containers/%ff%00/json", b"");
    request(&world, "GET", "/no/such/thing", b"").refuses(404);
    request(&world, "GET", "/v0.1/info", b"").refuses(400);
    request(&world, "GET", "/v99.9/info", b"").refuses(400);
    request(&world, "GET", "/containers/json?filters=nonsense", b"").refuses(400);
    request(&world, "GET", "/containers/json?filters=%7B%22nonsense%22%3A%5B%22x%22%5D%7D", b"").refuses(400);
    request(&world, "POST", "/containers/nobody/start", b"").refuses(404);
    request(&world, "DELETE", "/images/..%2f..", b"");
    let id = world.start(&["--name", "one"], "sleep 1000");
    request(&world, "GET", "/containers/one/archive?path=..%2f..%2f..%2fetc%2fshadow", b"").refuses(404);
    request(&world, "PUT", "/containers/one/archive?path=/nowhere", b"x").refuses(404);
    request(&world, "PUT", "/containers/one/archive?path=/tmp", b"this is not a tar archive, and it is long enough")
        .refuses(400);
    request(&world, "POST", "/containers/one/kill?signal=999", b"").refuses(400);
    request(&world, "POST", "/containers/one/resize?h=-1&w=x", b"").refuses(400);
    request(&world, "GET", "/containers/one/logs", b"").refuses(400);
    request(&world, "POST", "/containers/one/exec", br#"{"Cmd":[]}"#).refuses(400);
    request(&world, "POST", "/exec/nothing/start", b"{}").refuses(404);
    for garbage in [
        &b"\0\0\0\0"[..],
        b"GET",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /build HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET /\r\n\r\n\r\n",
    ] {
        // What is not HTTP gets 400 or is cut off; reading must end either way.
        let bytes = [garbage, b"\r\n\r\n"].concat();
        let answer = raw(&world, &bytes);
        if !answer.is_empty() {
            assert!((400..600).contains(&parse(&answer).status), "{:?}", String::from_utf8_lossy(&answer));
        }
    }
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(2_000_000));
    raw(&world, long.as_bytes());
    let huge = [br#"{"Image":"box","Labels":{"a":""#.as_slice(), &vec![b'x'; 20 << 20], b"\"}}"].concat();
    assert!((400..500).contains(&request(&world, "POST", "/containers/create", &huge).status));
    assert_eq!(request(&world, "GET", "/_ping", b"").body, "OK");
    assert_eq!(world.inspect("one", "{{.Id}} {{.State.Running}}"), format!("{id} true"));
    assert_eq!(world.berth(&["ps", "-aq"]).ok().lines().len(), 1);
}

#[test]
fn clients_that_open_connections_and_say_nothing_block_nobody() {
    let world = World::new(Mode::Daemon);
    let silent: Vec<_> = (0..200).map(|_| std::os::unix::net::UnixStream::connect(world.socket()).unwrap()).collect();
    let mut half: Vec<_> = (0..50).map(|_| std::os::unix::net::UnixStream::connect(world.socket()).unwrap()).collect();
    for stream in &mut half {
        std::io::Write::write_all(
            stream,
            b"POST /images/create?fromSrc=- HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\nhalf",
        )
        .unwrap();
    }
    let begin = Instant::now();
    assert_eq!(world.sh(&[], "echo served"), "served");
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    drop((silent, half));
    eventually("half an import leaves nothing", Duration::from_secs(20), || {
        fs::read_dir(world.root().join("tmp")).map_or(0, Iterator::count) == 0
    });
}
