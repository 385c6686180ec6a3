//! Pushes to registries that do not take everything, or not as asked.

use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::server::{Asked, Server, drain, reply};
use crate::support::image::{archive, file};
use crate::support::world::LIMIT;
use crate::support::{Mode, World, eventually};

/// Noise, which does not get smaller.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(length)
    .collect()
}

/// Gives the world an image of one layer of some bytes.
fn import(world: &World, length: usize, name: &str) {
    world.feed(&["import", "-", name], &archive(&[file("noise", &noise(length))])).ok();
}

const TOKEN: &[u8] = br#"{"token":"let-me-in","expires_in":300}"#;

fn is_known(asked: &Asked) -> bool {
    asked.header("authorization") == Some("Bearer let-me-in")
}

/// Wants a token of itself.
fn ask_for_token(asked: &Asked, stream: &mut TcpStream) -> std::io::Result<()> {
    let challenge =
        format!(r#"Bearer realm="http://{}/token",service="test""#, asked.header("host").unwrap_or_default());
    reply(stream, "401 Unauthorized", &[("WWW-Authenticate", &challenge)], b"{}")
}

/// Answers as a registry that has nothing and takes everything.
fn take(asked: &Asked, stream: &mut TcpStream) -> std::io::Result<()> {
    let place = [("Location", "/v2/x/blobs/uploads/place")];
    match asked.method.as_str() {
        "HEAD" => reply(stream, "404 Not Found", &[], b""),
        "POST" => reply(stream, "202 Accepted", &place, b""),
        "PATCH" => drain(asked, stream).and_then(|()| reply(stream, "202 Accepted", &place, b"")),
        "PUT" => drain(asked, stream).and_then(|()| reply(stream, "201 Created", &[], b"")),
        _ => reply(stream, "200 OK", &[], b"{}"),
    }
}

#[test]
fn a_registry_that_refuses_a_layer_before_it_has_come_ends_the_push() {
    let world = World::bare(Mode::Embedded);
    let server = Server::start(&world, |asked, stream| {
        if asked.method != "PATCH" {
            return take(asked, stream);
        }
        reply(stream, "413 Content Too Large", &[], b"")?;
        // Closed with bytes unread, the connection would be reset, and the answer lost.
        let _ = drain(asked, stream);
        Ok(())
    });
    let name = server.name("a:1");
    import(&world, 4 << 20, &name);
    world.berth(&["push", &name]).refused(1, &["send a blob", "413"]);
}

#[test]
fn a_registry_that_takes_nothing_any_more_ends_the_push() {
    let world = World::bare(Mode::Embedded);
    std::fs::write(world.path("b.toml"), "registries.timeout = 1\n").unwrap();
    world.set("BERTH_CONFIG", &world.at("b.toml"));
    let server = Server::start(&world, |asked, stream| {
        if asked.method == "PATCH" {
            std::thread::sleep(Duration::from_secs(60));
        }
        take(asked, stream)
    });
    let name = server.name("a:1");
    // More than sockets hold.
    import(&world, 16 << 20, &name);
    world.berth(&["push", &name]).refused(1, &["no answer and no progress for 1 seconds"]);
}

#[test]
fn a_layer_that_cannot_be_had_of_another_repository_is_sent() {
    for status in ["403 Forbidden", "404 Not Found", "405 Method Not Allowed", "400 Bad Request"] {
        let world = World::bare(Mode::Embedded);
        let server = Server::start(&world, move |asked, stream| {
            if asked.path.starts_with("/token") {
                // All or nothing.
                let both = asked.path.matches("scope=").count() > 1;
                let status = if both { "401 Unauthorized" } else { "200 OK" };
                return reply(stream, status, &[], TOKEN);
            }
            if !is_known(asked) {
                return ask_for_token(asked, stream);
            }
            if asked.path.contains("mount=") {
                return reply(stream, status, &[], b"");
            }
            take(asked, stream)
        });
        let (first, second) = (server.name("a:1"), server.name("b:1"));
        import(&world, 1000, &first);
        world.berth(&["push", &first]).ok();
        world.berth(&["tag", &first, &second]).ok();
        let pushed = world.berth(&["push", &second]).ok().text();
        assert!(pushed.contains(": Pushed"), "{pushed}");
        let asked = server.asked.lock().unwrap();
        let mounts = asked.iter().filter(|asked| is_known(asked) && asked.path.contains("/v2/b/blobs/uploads/?mount="));
        assert_eq!(mounts.count(), 1, "{status}");
        drop(asked);
        assert_eq!(server.count("/v2/b/manifests/1"), 1);
    }
}

#[test]
fn few_repositories_are_asked_for_a_layer_and_the_first_no_is_where_it_goes() {
    let world = World::bare(Mode::Embedded);
    let server = Server::start(&world, |asked, stream| {
        if asked.path.starts_with("/token") {
            return reply(stream, "200 OK", &[], TOKEN);
        }
        if is_known(asked) { take(asked, stream) } else { ask_for_token(asked, stream) }
    });
    let names: Vec<String> = (0..5).map(|number| server.name(&format!("r{number}:1"))).collect();
    import(&world, 1000, &names[0]);
    for name in &names {
        world.berth(&["tag", &names[0], name]).ok();
        world.berth(&["push", name]).ok();
    }
    let asked = server.asked.lock().unwrap();
    let last: Vec<&str> = asked
        .iter()
        .filter(|asked| asked.method == "POST" && asked.path.starts_with("/v2/r4/") && is_known(asked))
        .map(|asked| asked.path.as_str())
        .collect();
    // The layer's, and the configuration's.
    assert!(last.len() == 2 && last[0].contains("mount=") && last[1] == "/v2/r4/blobs/uploads/", "{last:?}");
    let scopes = asked.iter().map(|asked| asked.path.matches("scope=").count()).max();
    assert_eq!(scopes, Some(3));
}

#[test]
fn a_push_ends_with_who_asked_for_it() {
    const LENGTH: usize = 16 << 20;
    let world = World::bare(Mode::Daemon);
    let (came, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (count, over) = (came.clone(), ended.clone());
    let server = Server::start(&world, move |asked, stream| {
        if asked.method != "PATCH" {
            return take(asked, stream);
        }
        let mut buffer = [0; 16 << 10];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(more) => drop(count.fetch_add(more, Ordering::Relaxed)),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        over.store(true, Ordering::Relaxed);
        Ok(())
    });
    let name = server.name("a:1");
    import(&world, LENGTH, &name);
    let push = world.background(&["push", &name]);
    eventually("a layer is on its way", LIMIT, || came.load(Ordering::Relaxed) > 0);
    push.signal(Signal::SIGKILL);
    push.wait(Duration::from_secs(10));
    eventually("the daemon has broken it off", LIMIT, || ended.load(Ordering::Relaxed));
    assert!(came.load(Ordering::Relaxed) < LENGTH);
    assert_eq!(server.count("/v2/a/manifests/"), 0);
}
