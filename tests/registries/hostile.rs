//! Registries that mean harm: each is refused in words, and nothing of it is left.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::server::{Asked, Image, MANIFEST, Server, digest, head, reply};
use crate::support::image::{archive, file};
use crate::support::{Mode, Outcome, World};

fn layer() -> Vec<u8> {
    archive(&[file("hello", &[b'x'; 20_000])])
}

/// A world that gives up soon, and what a pull from `answer` says there. Nothing of the image is left.
#[track_caller]
fn refused(
    answer: impl Fn(&Asked, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    words: &[&str],
) -> Outcome {
    let world = World::bare(Mode::Embedded);
    std::fs::write(world.path("b.toml"), "registries = { timeout = 1, max-download-attempts = 2 }\n").unwrap();
    world.set("BERTH_CONFIG", &world.at("b.toml"));
    let server = Server::start(&world, answer);
    let outcome = world.berth(&["pull", &server.name("a/b:1")]).refused(1, words);
    assert_eq!(world.berth(&["images", "-aq"]).ok().text(), "");
    assert_eq!(world.berth(&["system", "df", "--format", "{{.TotalCount}} {{.Size}}"]).ok().lines()[0], "0 0B");
    let found = world.berth(&["system", "check"]);
    assert_eq!(found.code, 0, "{found:?}");
    outcome
}

#[test]
fn a_manifest_without_an_end() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    refused(
        move |asked, stream| {
            if !asked.path.contains("/manifests/") {
                return reply(stream, "200 OK", &[], b"{}");
            }
            head(stream, "200 OK", &[("Content-Type", MANIFEST)], 1 << 40)?;
            loop {
                stream.write_all(&[b' '; 65536])?;
                count.fetch_add(65536, Ordering::Relaxed);
            }
        },
        &["longer than 4194304 bytes"],
    );
    // What lies in sockets comes on top.
    assert!(sent.load(Ordering::Relaxed) < 64 << 20);
}

#[test]
fn a_manifest_that_is_not_what_its_digest_says() {
    let world = World::bare(Mode::Embedded);
    let image = Image::new(&layer(), None);
    let server = Server::start(&world, move |asked, stream| image.serve(asked, stream));
    let name = server.name(&format!("a/b@{}", digest(b"another")));
    world.berth(&["pull", &name]).refused(1, &["is damaged: its digest is"]);
}

#[test]
fn layers_that_are_not_what_the_manifest_says() {
    let image = Image::new(&layer(), None);
    let spoiled = image.clone();
    let wrong = move |asked: &Asked, stream: &mut TcpStream| {
        if asked.path.ends_with(spoiled.layer()) {
            let mut bytes = layer();
            bytes[600] ^= 1;
            return reply(stream, "200 OK", &[], &bytes);
        }
        spoiled.serve(asked, stream)
    };
    refused(wrong, &["is damaged: its digest is"]);
    let longer = image.clone();
    let long = move |asked: &Asked, stream: &mut TcpStream| {
        if asked.path.ends_with(longer.layer()) {
            // Nothing says how long it is.
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            stream.write_all(&layer())?;
            return stream.write_all(&[0; 4096]);
        }
        longer.serve(asked, stream)
    };
    refused(long, &["is longer than"]);
    let stated = Image::of(&layer(), None, "application/vnd.oci.image.layer.v1.tar", 7);
    refused(move |asked, stream| stated.serve(asked, stream), &["bytes and not 7, which the manifest says"]);
    let other = Image::new(&layer(), Some(&digest(b"another")));
    refused(move |asked, stream| other.serve(asked, stream), &["diff ID", "which the image's configuration says"]);
}

#[test]
fn bodies_that_stop_are_given_up() {
    let image = Image::new(&layer(), None);
    refused(
        move |asked, stream| {
            if asked.path.ends_with(image.layer()) {
                head(stream, "200 OK", &[], layer().len() as u64)?;
                stream.write_all(&layer()[..1000])?;
                std::thread::sleep(std::time::Duration::from_secs(20));
                return Ok(());
            }
            image.serve(asked, stream)
        },
        &["broke off after", "nothing came for 1 seconds"],
    );
}

#[test]
fn a_body_that_breaks_goes_on_where_it_was() {
    let world = World::bare(Mode::Embedded);
    let image = Image::new(&layer(), None);
    let broken = image.layer().to_owned();
    let path = format!("/v2/a/b/blobs/{broken}");
    let server = Server::start(&world, move |asked, stream| {
        if !asked.path.ends_with(&broken) {
            return image.serve(asked, stream);
        }
        let whole = layer();
        match asked.header("range") {
            None => {
                head(stream, "200 OK", &[], whole.len() as u64)?;
                stream.write_all(&whole[..5000])
            }
            Some(range) => {
                let start: usize = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap();
                let from = format!("bytes {start}-{}/{}", whole.len() - 1, whole.len());
                reply(stream, "206 Partial Content", &[("Content-Range", &from)], &whole[start..])
            }
        }
    });
    world.berth(&["pull", &server.name("a/b:1")]).ok();
    assert_eq!(server.count(&path), 2);
    let asked = server.asked.lock().unwrap();
    let ranges: Vec<_> = asked.iter().filter(|asked| asked.path == path).map(|asked| asked.header("range")).collect();
    assert_eq!(ranges, [None, Some("bytes=5000-")]);
}

#[test]
fn redirects_without_an_end_and_to_no_place() {
    refused(
        |asked, stream| {
            if asked.path == "/v2/" {
                return reply(stream, "200 OK", &[], b"{}");
            }
            reply(stream, "307 Temporary Redirect", &[("Location", &format!("{}x", asked.path))], b"")
        },
        &["leads on without an end"],
    );
    refused(
        |asked, stream| {
            if asked.path == "/v2/" {
                return reply(stream, "200 OK", &[], b"{}");
            }
            reply(stream, "307 Temporary Redirect", &[("Location", "file:///etc/passwd")], b"")
        },
        &["leads on to an invalid address"],
    );
}

#[test]
fn bombs_and_what_nobody_can_unpack() {
    use std::process::{Command, Stdio};
    // A gigabyte of nothing in some 30 kB: more than gzip could do.
    let pack = "import sys; w = sys.stdout.buffer\nh = b'bomb'.ljust(100, b'\\0') + b'0000644\\0' + b'0000000\\0' * 2 + b'10000000000\\0' + \
                b'00000000000\\0'\nb = h + b' ' * 8 + b'0'\ns = b'%06o\\0 ' % sum(b)\nw.write((h + s + b'0').ljust(512, b'\\0'))\nz = bytes(1 << 20)\n\
                [w.write(z) for _ in range(1024)]\nw.write(bytes(1024))";
    let script = format!("python3 -c {} | zstd -19 -c", shell_quoted(pack));
    let out = Command::new("bash").args(["-c", &script]).stderr(Stdio::inherit()).output().unwrap();
    assert!(out.status.success() && out.stdout.len() < 900_000, "{} bytes", out.stdout.len());
    let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
    let bomb = Image::of(&out.stdout, Some(&digest(b"whatever")), gzip, out.stdout.len() as u64);
    refused(move |asked, stream| bomb.serve(asked, stream), &["it is a bomb"]);
    for (kind, words) in [
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "had from its maker alone"),
        ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "it is encrypted"),
        ("application/octet-stream", "nobody here knows that"),
    ] {
        let image = Image::of(&layer(), None, kind, layer().len() as u64);
        refused(move |asked, stream| image.serve(asked, stream), &[kind, words]);
    }
    let mut members = archive(&[]);
    members.splice(..0, file("../escaped", b"x").bytes());
    let image = Image::new(&members, None);
    refused(move |asked, stream| image.serve(asked, stream), &["leads out of the layer"]);
}

fn shell_quoted(text: &str) -> String {
    format!("$'{}'", text.replace('\\', "\\\\").replace('\'', "\\'").replace('\n', "\\n"))
}

#[test]
fn an_index_in_itself_and_one_of_nothing() {
    let nothing = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    refused(
        move |asked, stream| {
            let body = if asked.path == "/v2/" { "{}" } else { nothing };
            reply(stream, "200 OK", &[], body.as_bytes())
        },
        &["no matching manifest"],
    );
    refused(
        |asked, stream| {
            let status = if asked.path == "/v2/" { "200 OK" } else { "404 Not Found" };
            reply(
                stream,
                status,
                &[],
                b"{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\",\"message\":\"bad \\u001b[31m\"}]}",
            )
        },
        &["not found: manifest unknown: bad \\u{1b}[31m"],
    );
}
