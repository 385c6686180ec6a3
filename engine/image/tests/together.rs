//! Several engines on one state, and what is left when one of them dies.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use berth_image::{ImportOptions, LoadOptions, RemoveOptions};

use crate::fixture::{archive, fixture, nobody, on_each_driver, open, quiet};

#[test]
fn engines_that_load_the_same_image_at_once_share_its_layers() {
    on_each_driver(|fixture| {
        let name = fixture.images.driver().name();
        let content = archive(&[("a", &[1; 100_000]), ("b/c", b"2")]);
        fixture.import("shared", &content);
        let mut saved = Vec::new();
        fixture.images.save(&["shared".to_owned()], &mut saved, &mut quiet).unwrap();
        fixture.images.remove("shared", RemoveOptions::default(), &nobody).unwrap();
        std::thread::scope(|scope| {
            for number in 0..6 {
                let (folder, saved, content) = (fixture.folder.path(), &saved, &content);
                scope.spawn(move || {
                    let (_store, images) = open(folder, name);
                    for round in 0..3 {
                        images.sweep().unwrap();
                        if number % 2 == 0 {
                            images.load(&saved[..], &LoadOptions::default(), &mut quiet).unwrap();
                        } else {
                            let reference = Some(format!("own-{number}:{round}").parse().unwrap());
                            let options = ImportOptions { reference, ..ImportOptions::default() };
                            images.import(&content[..], &options, &mut quiet).unwrap();
                        }
                        if number == 0 {
                            let _ = images.remove("shared", RemoveOptions::default(), &nobody);
                        }
                    }
                });
            }
        });
        assert!(fixture.count("layers") <= 1, "equal layers are kept once");
        fixture.images.prune(true, &Default::default(), &nobody).unwrap();
        fixture.assert_empty();
    });
}

/// Runs in a process of its own that is killed: reads an archive from standard input and says how far it is.
#[test]
fn child_of_the_test_below() {
    let Ok(folder) = std::env::var("BERTH_TEST_FOLDER") else { return };
    let (_store, images) = open(folder.as_ref(), &std::env::var("BERTH_TEST_DRIVER").unwrap());
    println!("ready");
    images.import(std::io::stdin(), &ImportOptions::default(), &mut quiet).unwrap();
    println!("done");
}

#[test]
fn what_a_killed_engine_leaves_is_swept_by_the_next() {
    if crate::fixture::is_emulated() {
        return;
    }
    on_each_driver(|fixture| {
        let whole = archive(&[("a", &[7; 300_000]), ("b", &[8; 300_000])]);
        for length in [0, 512, 100_000, 310_000, 500_000] {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "together::child_of_the_test_below", "--nocapture"])
                .env("BERTH_TEST_FOLDER", fixture.folder.path())
                .env("BERTH_TEST_DRIVER", fixture.images.driver().name())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            while !lines.next().unwrap().unwrap().contains("ready") {}
            child.stdin.as_mut().unwrap().write_all(&whole[..length]).unwrap();
            for _ in 0..200 {
                if fixture.count("layers") == 1 || length == 0 {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            // While it lives, its work is left alone.
            fixture.images.sweep().unwrap();
            let open = fixture.count("layers");
            assert!(length < 512 || open == 1);
            child.kill().unwrap();
            child.wait().unwrap();
            fixture.images.sweep().unwrap();
            fixture.assert_empty();
        }
    });
}

#[test]
fn layers_half_removed_are_removed_by_the_next_sweep() {
    on_each_driver(|fixture| {
        let id = fixture.import("demo", &archive(&[("a", b"1")]));
        let layer = fixture.container(&id);
        fixture.images.remove_container_layer(layer.number).unwrap();
        fixture.images.sweep().unwrap();
        assert_eq!(fixture.count("layers"), 2, "it is its container's to take away");
        fixture.discard(&layer);
        fixture.assert_no_leftovers();
        assert_eq!(fixture.count("layers"), 1);
        // The image goes while a container stands on it; its layer goes with the container.
        let layer = fixture.container(&id);
        fixture.images.remove("demo", RemoveOptions::default(), &nobody).unwrap();
        assert_eq!((fixture.count("layers"), fixture.count("images")), (2, 0));
        fixture.discard(&layer);
        fixture.assert_empty();
    });
}

#[test]
fn data_without_a_record_is_scrubbed() {
    let fixture = fixture();
    let id = fixture.import("demo", &archive(&[("a", b"1")]));
    let stray = "zz".parse().unwrap();
    fixture.images.driver().prepare(&stray, &[], &Default::default()).unwrap();
    fixture.images.scrub().unwrap();
    fixture.assert_no_leftovers();
    assert!(fixture.images.get(&id).is_ok());
}

#[test]
fn a_stream_that_never_ends_is_read_no_further_than_its_error() {
    let fixture = fixture();
    let garbage = std::io::repeat(b'x').take(u64::MAX);
    assert!(fixture.images.import(garbage, &ImportOptions::default(), &mut quiet).is_err());
    fixture.assert_empty();
}

/// Runs in a process of its own until it is killed: whatever an engine does with images.
#[test]
fn busy_child_of_the_test_below() {
    let Ok(folder) = std::env::var("BERTH_TEST_BUSY") else { return };
    let (_store, images) = open(folder.as_ref(), &std::env::var("BERTH_TEST_DRIVER").unwrap());
    println!("ready");
    for round in 0.. {
        images.sweep().unwrap();
        let name = format!("busy:{}", round % 3);
        let options = ImportOptions { reference: Some(name.parse().unwrap()), ..ImportOptions::default() };
        let content = archive(&[("a", &[round as u8; 50_000]), ("b/c", b"2")]);
        images.import(&content[..], &options, &mut quiet).unwrap();
        let mut saved = Vec::new();
        images.save(std::slice::from_ref(&name), &mut saved, &mut quiet).unwrap();
        images.remove(&name, RemoveOptions::default(), &nobody).unwrap();
        images.load(&saved[..], &LoadOptions::default(), &mut quiet).unwrap();
        images.prune(false, &Default::default(), &nobody).unwrap();
    }
}

#[test]
fn an_engine_killed_at_any_moment_leaves_only_what_is_swept() {
    if crate::fixture::is_emulated() {
        return;
    }
    on_each_driver(|fixture| {
        let mut seed = 1u64;
        for _ in 0..12 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "together::busy_child_of_the_test_below", "--nocapture"])
                .env("BERTH_TEST_BUSY", fixture.folder.path())
                .env("BERTH_TEST_DRIVER", fixture.images.driver().name())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            while !lines.next().unwrap().unwrap().contains("ready") {}
            std::thread::sleep(std::time::Duration::from_millis((seed >> 33) % 150));
            child.kill().unwrap();
            child.wait().unwrap();
            fixture.images.sweep().unwrap();
            assert_eq!(fixture.count("layers WHERE state <> 'valid'"), 0);
            fixture.images.scrub().unwrap();
            fixture.assert_no_leftovers();
        }
        // What was finished is whole.
        for image in fixture.images.list(&Default::default()).unwrap() {
            let name = image.id.to_string();
            fixture.images.save(&[name], &mut std::io::sink(), &mut quiet).unwrap();
        }
        fixture.images.prune(true, &Default::default(), &nobody).unwrap();
        fixture.assert_empty();
    });
}
