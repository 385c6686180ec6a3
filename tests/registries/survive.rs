//! Pulls that are killed, and two at once.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::server::{MANIFEST, Server, digest, head, reply};
use crate::support::image::{archive, file};
use crate::support::{Mode, World, eventually, skip};

/// An image of three layers, of which one (counted from the lowest) hangs in the middle as long as it is told to.
struct Slow {
    layers: Vec<Vec<u8>>,
    hangs: Arc<AtomicBool>,
    server: Server,
}

impl Slow {
    fn start(world: &World, hanging: usize) -> Self {
        let layers: Vec<Vec<u8>> = (0..3u8)
            .map(|number| archive(&[file(&format!("file-{number}"), &vec![b'a' + number; 3_000_000])]))
            .collect();
        let digests: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
        let config = serde_json::json!({
            "os": "linux", "architecture": "", "config": {}, "rootfs": { "type": "layers", "diff_ids": digests }
        })
        .to_string();
        let entries: Vec<_> = layers
            .iter()
            .zip(&digests)
            .map(|(layer, digest)| {
                serde_json::json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": layer.len()})
            })
            .collect();
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "layers": entries,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(config.as_bytes()), "size": config.len()},
        })
        .to_string();
        let hangs = Arc::new(AtomicBool::new(true));
        let (waits, bodies) = (hangs.clone(), layers.clone());
        let server = Server::start(world, move |asked, stream| {
            if asked.path.contains("/manifests/") {
                return reply(stream, "200 OK", &[("Content-Type", MANIFEST)], manifest.as_bytes());
            }
            if asked.path == "/v2/" {
                return reply(stream, "200 OK", &[], b"{}");
            }
            let Some(index) = digests.iter().position(|digest| asked.path.ends_with(digest)) else {
                return reply(stream, "200 OK", &[], config.as_bytes());
            };
            head(stream, "200 OK", &[], bodies[index].len() as u64)?;
            let (first, rest) = bodies[index].split_at(1_000_000);
            stream.write_all(first)?;
            while index == hanging && waits.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
            }
            stream.write_all(rest)
        });
        Self { layers, hangs, server }
    }

    fn asked(&self, layer: usize) -> usize {
        self.server.count(&format!("/v2/a/b/blobs/{}", digest(&self.layers[layer])))
    }
}

#[test]
fn what_a_killed_pull_had_completed_is_used_by_the_next() {
    for hanging in [0, 2] {
        let world = World::bare(Mode::Embedded);
        let slow = Slow::start(&world, hanging);
        let name = slow.server.name("a/b:1");
        let pull = world.background(&["pull", &name]);
        let others: Vec<usize> = (0..3).filter(|index| *index != hanging).collect();
        let driver = world.berth(&["info", "--format", "{{.Driver}}"]).ok().text();
        if hanging == 0 && !["overlay", "fuse", "aufs"].contains(&driver.as_str()) {
            pull.signal(Signal::SIGKILL);
            skip(&format!("the storage driver {driver} makes layers one after the other"));
            continue;
        }
        eventually("the other layers are complete", Duration::from_secs(30), || {
            pull.so_far().matches("Pull complete").count() == others.len()
        });
        pull.signal(Signal::SIGKILL);
        pull.wait(Duration::from_secs(10));
        assert_eq!(world.berth(&["images", "-aq"]).ok().text(), "");
        slow.hangs.store(false, Ordering::Relaxed);
        let again = world.berth(&["pull", &name]).ok().text();
        assert_eq!(again.matches("Already exists").count(), 2, "{again}");
        assert_eq!(
            (0..3).map(|layer| slow.asked(layer)).collect::<Vec<_>>(),
            (0..3).map(|layer| 1 + usize::from(layer == hanging)).collect::<Vec<_>>()
        );
        assert_eq!(world.berth(&["storage", "check"]).code, 0);
        world.berth(&["rmi", &name]).ok();
        assert_eq!(world.berth(&["system", "df", "--format", "{{.Size}}"]).ok().lines()[0], "0B");
    }
}

#[test]
fn what_a_killed_pull_has_left_goes_with_a_prune() {
    let world = World::bare(Mode::Embedded);
    let slow = Slow::start(&world, 2);
    let pull = world.background(&["pull", &slow.server.name("a/b:1")]);
    eventually("two layers are complete", Duration::from_secs(30), || {
        pull.so_far().matches("Pull complete").count() == 2
    });
    pull.signal(Signal::SIGKILL);
    pull.wait(Duration::from_secs(10));
    world.berth(&["image", "prune", "-f"]).ok();
    let kept = world.shell("find root/*/ -maxdepth 2 -name d -path '*/overlay/*' | wc -l").ok().text();
    assert_eq!(kept, "0");
    slow.hangs.store(false, Ordering::Relaxed);
}

#[test]
fn two_pulls_of_one_image_fetch_it_once() {
    let world = World::bare(Mode::Embedded);
    let slow = Slow::start(&world, 1);
    let name = slow.server.name("a/b:1");
    let pulls = [world.background(&["pull", &name]), world.background(&["pull", &name])];
    eventually("somebody is at it", Duration::from_secs(30), || slow.asked(1) == 1);
    std::thread::sleep(Duration::from_millis(300));
    slow.hangs.store(false, Ordering::Relaxed);
    for pull in pulls {
        pull.wait(Duration::from_secs(60)).ok();
    }
    assert_eq!((0..3).map(|layer| slow.asked(layer)).collect::<Vec<_>>(), [1, 1, 1]);
    assert_eq!(world.berth(&["storage", "check"]).code, 0);
}
