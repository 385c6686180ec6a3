//! Archives that lie: a clear error, and nothing left.

use std::io::Read;

use berth_image::{Digest, Error, ImportOptions, LoadOptions};

use crate::fixture::{Fixture, archive, fixture, on_each_driver, quiet};

fn refused(fixture: &Fixture, files: &[(&str, &[u8])], reason: &str) {
    let result = fixture.images.load(&archive(files)[..], &LoadOptions::default(), &mut quiet);
    let message = result.expect_err(reason).to_string();
    assert!(message.contains(reason), "{message:?} should say {reason:?}");
    fixture.assert_empty();
}

fn config(diff_ids: &[&Digest]) -> Vec<u8> {
    serde_json::json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}})
        .to_string()
        .into_bytes()
}

fn manifest(config: &str, layers: &[&str]) -> Vec<u8> {
    serde_json::json!([{"Config": config, "RepoTags": ["lying:1"], "Layers": layers}]).to_string().into_bytes()
}

#[test]
fn a_lying_docker_manifest_is_refused() {
    let fixture = fixture();
    let layer = archive(&[("a", b"1")]);
    let other = Digest::of(b"other");
    let truth = Digest::of(&layer);
    let right = config(&[&truth]);
    refused(&fixture, &[("readme", b"")], "neither manifest.json nor index.json");
    refused(&fixture, &[("manifest.json", b"[]")], "names no image");
    refused(&fixture, &[("manifest.json", b"{")], "makes no sense");
    refused(&fixture, &[("manifest.json", "[".repeat(100_000).as_bytes())], "makes no sense");
    refused(&fixture, &[("manifest.json", &manifest("c.json", &[]))], "which it does not have");
    for outside in ["../../etc/passwd", "/etc/passwd", "a/../../b"] {
        refused(&fixture, &[("manifest.json", &manifest(outside, &[]))], "outside of it");
        let files = [("manifest.json", &manifest("c.json", &[outside])[..]), ("c.json", &right)];
        refused(&fixture, &files, "outside of it");
    }
    for layers in [&["l.tar", "l.tar"][..], &[]] {
        let files = [("manifest.json", &manifest("c.json", layers)[..]), ("c.json", &right), ("l.tar", &layer)];
        refused(&fixture, &files, "layers length mismatch");
    }
    let wrong = config(&[&other]);
    let files = [("manifest.json", &manifest("c.json", &["l.tar"])[..]), ("c.json", &wrong), ("l.tar", &layer)];
    refused(&fixture, &files, "has the diff ID");
    let two = config(&[&truth, &other]);
    let both = manifest("c.json", &["l.tar", "l.tar"]);
    refused(&fixture, &[("manifest.json", &both), ("c.json", &two), ("l.tar", &layer)], "has the diff ID");
    let named = format!("{}.json", other.hex());
    let files = [("manifest.json", &manifest(&named, &["l.tar"])[..]), (&named, &right), ("l.tar", &layer)];
    refused(&fixture, &files, "is damaged");
    let long = archive(&[("a", &[1; 5000])]);
    let broken = &long[..3000];
    let of_broken = config(&[&Digest::of(broken)]);
    let files = [("manifest.json", &manifest("c.json", &["l.tar"])[..]), ("c.json", &of_broken), ("l.tar", broken)];
    refused(&fixture, &files, "layer \"l.tar\"");
    let text = br#"{"architecture":"amd64","os":"windows","rootfs":{"type":"layers","diff_ids":[]}}"#;
    refused(&fixture, &[("manifest.json", &manifest("c.json", &[])), ("c.json", text)], "windows");
    let huge = vec![b' '; 5 << 20];
    refused(&fixture, &[("manifest.json", &huge)], "too long");
}

#[test]
fn links_of_old_archives_are_followed_inside_and_not_for_ever() {
    let fixture = fixture();
    let layer = archive(&[("a", b"1")]);
    let config = config(&[&Digest::of(&layer)]);
    let build = |links: &[(&str, &str)]| {
        let mut builder = tar::Builder::new(Vec::new());
        let manifest = manifest("c.json", &["x/layer.tar"]);
        for (name, content) in [("manifest.json", &manifest), ("c.json", &config), ("y/layer.tar", &layer)] {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, name, &content[..]).unwrap();
        }
        for (name, target) in links {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            builder.append_link(&mut header, name, target).unwrap();
        }
        builder.into_inner().unwrap()
    };
    let load = |archive: &[u8]| fixture.images.load(archive, &LoadOptions::default(), &mut quiet);
    for links in [&[("x/layer.tar", "x/layer.tar")][..], &[("x/layer.tar", "../z"), ("z", "x/layer.tar")]] {
        assert!(load(&build(links)).is_err());
        fixture.assert_empty();
    }
    assert!(load(&build(&[("x/layer.tar", "../../../y/layer.tar")])).is_err());
    assert_eq!(load(&build(&[("x/layer.tar", "../y/layer.tar")])).unwrap()[0].to_string(), "Loaded image: lying:1");
}

#[test]
fn a_lying_oci_layout_is_refused() {
    let fixture = fixture();
    let layer = archive(&[("a", b"1")]);
    let config = config(&[&Digest::of(&layer)]);
    let descriptor = |bytes: &[u8], kind: &str| serde_json::json!({"mediaType": kind, "digest": Digest::of(bytes), "size": bytes.len()});
    let image = "application/vnd.oci.image.manifest.v1+json";
    let kind = "application/vnd.oci.image.config.v1+json";
    let tar = "application/vnd.oci.image.layer.v1.tar";
    let manifest = |config: serde_json::Value, layer: serde_json::Value| {
        serde_json::json!({"schemaVersion": 2, "config": config, "layers": [layer]}).to_string().into_bytes()
    };
    let index = |descriptor: serde_json::Value| {
        serde_json::json!({"schemaVersion": 2, "manifests": [descriptor]}).to_string().into_bytes()
    };
    let path = |bytes: &[u8]| format!("blobs/sha256/{}", Digest::of(bytes).hex());
    let right = manifest(descriptor(&config, kind), descriptor(&layer, tar));
    let blobs = |index: Vec<u8>, manifest: &[u8], layer_bytes: &[u8]| {
        archive(&[
            ("index.json", &index),
            (&path(manifest), manifest),
            (&path(&config), &config),
            (&path(&layer), layer_bytes),
        ])
    };
    let load = |bytes: Vec<u8>| fixture.images.load(&bytes[..], &LoadOptions::default(), &mut quiet);
    let mut flipped = layer.clone();
    flipped[512] ^= 1;
    let mut short = descriptor(&config, kind);
    short["size"] = 1.into();
    let artifact = manifest(descriptor(&config, "application/vnd.cncf.helm.config.v1+json"), descriptor(&layer, tar));
    let wrong_size = manifest(short, descriptor(&layer, tar));
    let missing = manifest(descriptor(&config, kind), descriptor(b"nothing", tar));
    for (bytes, reason) in [
        (blobs(index(descriptor(&right, image)), &right, &flipped), "diff ID"),
        (blobs(index(descriptor(&artifact, image)), &artifact, &layer), "no container image"),
        (blobs(index(descriptor(&wrong_size, image)), &wrong_size, &layer), "bytes and not"),
        (blobs(index(descriptor(&missing, image)), &missing, &layer), "which it does not have"),
        (blobs(index(serde_json::json!({"digest": "sha256:../../x", "size": 1})), &right, &layer), "invalid digest"),
        (blobs(index(descriptor(b"gone", image)), &right, &layer), "which it does not have"),
    ] {
        let message = load(bytes).expect_err(reason).to_string();
        assert!(message.contains(reason), "{message:?} should say {reason:?}");
        fixture.assert_empty();
    }
    // An index that leads to itself cannot exist, as its digest would have to be known before it; a deep one can.
    let mut files = vec![(path(&right), right.clone())];
    let mut inner = descriptor(&right, image);
    for _ in 0..10 {
        let bytes = index(inner);
        inner = descriptor(&bytes, "application/vnd.oci.image.index.v1+json");
        files.push((path(&bytes), bytes));
    }
    files.push(("index.json".into(), index(inner)));
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    refused(&fixture, &files, "nested too deep");
    assert!(load(blobs(index(descriptor(&right, image)), &right, &layer)).is_ok());
}

#[test]
fn an_index_gives_the_image_for_this_platform_or_the_one_asked_for() {
    let fixture = fixture();
    let mut files = Vec::new();
    let mut manifests = Vec::new();
    for (architecture, variant) in [("amd64", None), ("arm", Some("v6")), ("arm", Some("v7")), ("unknown", None)] {
        let config = serde_json::json!({"architecture": architecture, "variant": variant, "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": []}})
        .to_string()
        .into_bytes();
        let manifest = serde_json::json!({"schemaVersion": 2, "layers": [], "config":
            {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": Digest::of(&config), "size": config.len()}})
        .to_string()
        .into_bytes();
        manifests.push(serde_json::json!({"mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "digest": Digest::of(&manifest), "size": manifest.len(),
            "platform": {"os": "linux", "architecture": architecture, "variant": variant}}));
        for bytes in [config, manifest] {
            files.push((format!("blobs/sha256/{}", Digest::of(&bytes).hex()), bytes));
        }
    }
    let list = serde_json::json!({"schemaVersion": 2, "manifests": manifests}).to_string().into_bytes();
    let top = serde_json::json!({"schemaVersion": 2, "manifests": [
        {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": Digest::of(&list), "size": list.len(),
         "annotations": {"org.opencontainers.image.ref.name": "example.com/multi:1"}}]})
    .to_string()
    .into_bytes();
    files.push((format!("blobs/sha256/{}", Digest::of(&list).hex()), list));
    files.push(("index.json".to_owned(), top));
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    let archive = archive(&files);
    for (architecture, variant, found) in
        [("arm", Some("v7"), Some("v7")), ("arm", Some("v6"), Some("v6")), ("arm", Some("v8"), Some("v7"))]
    {
        let platform = berth_arch::host::Platform {
            os: "linux".into(),
            architecture: architecture.into(),
            variant: variant.map(str::to_owned),
        };
        let options = LoadOptions { platform: Some(platform) };
        let loaded = fixture.images.load(&archive[..], &options, &mut quiet).unwrap();
        assert_eq!(loaded[0].to_string(), "Loaded image: example.com/multi:1");
        let config = fixture.images.resolve("example.com/multi:1").unwrap().config;
        assert_eq!(config.variant.as_deref(), found);
    }
    let riscv = berth_arch::host::Platform { os: "linux".into(), architecture: "riscv64".into(), variant: None };
    let error = fixture.images.load(&archive[..], &LoadOptions { platform: Some(riscv) }, &mut quiet).unwrap_err();
    assert!(error.to_string().contains("no image for linux/riscv64, only for linux/amd64"), "{error}");
}

/// An archive that is made while it is read.
struct Stream<F> {
    make: F,
    number: u64,
    block: Vec<u8>,
    position: usize,
}

impl<F: FnMut(u64) -> Option<Vec<u8>>> Read for Stream<F> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.position == self.block.len() {
            let Some(block) = (self.make)(self.number) else { return Ok(0) };
            (self.block, self.position) = (block, 0);
            self.number += 1;
        }
        let count = buffer.len().min(self.block.len() - self.position);
        buffer[..count].copy_from_slice(&self.block[self.position..][..count]);
        self.position += count;
        Ok(count)
    }
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// In a process of its own, so that its memory is its own.
#[test]
fn child_of_the_million() {
    let Ok(entries) = std::env::var("BERTH_TEST_ENTRIES") else { return };
    let entries: u64 = entries.parse().unwrap();
    let fixture = fixture();
    let header = |name: &str| {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).unwrap();
        header.set_size(0);
        header.set_mode(0o644);
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    let make = |number: u64| match number {
        // One file replaced again and again costs no inodes.
        number if number < entries => Some(header(&format!("d{}/f", number % 10))),
        number if number == entries => Some(vec![0; 1024]),
        _ => None,
    };
    let before = resident();
    let stream = Stream { make, number: 0, block: Vec::new(), position: 0 };
    let id = fixture.images.import(stream, &ImportOptions::default(), &mut quiet).unwrap();
    println!("grew by {} KiB", resident() - before);
    assert!(resident() - before < 32 << 10);
    fixture.images.remove(id.as_str(), Default::default(), &crate::fixture::nobody).unwrap();
    fixture.assert_empty();
}

#[test]
fn a_million_entries_need_little_memory() {
    if crate::fixture::is_emulated() {
        return;
    }
    let entries = if cfg!(debug_assertions) { "50000" } else { "1000000" };
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "hostile::child_of_the_million", "--nocapture"])
        .env("BERTH_TEST_ENTRIES", entries)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && text.contains("grew by"), "{text}");
    eprintln!("{text}");
}

/// Guards against taking a whole extended header of an archive into memory.
#[test]
fn an_endless_extended_header_is_refused_early() {
    let fixture = fixture();
    for kind in [tar::EntryType::GNULongName, tar::EntryType::GNULongLink, tar::EntryType::XHeader] {
        let mut header = tar::Header::new_gnu();
        header.set_path("endless").unwrap();
        header.set_entry_type(kind);
        header.set_size(1 << 40);
        header.set_cksum();
        let stream = header.as_bytes().chain(std::io::repeat(b'a'));
        let refused = fixture.images.load(stream, &LoadOptions::default(), &mut quiet).unwrap_err();
        assert!(refused.to_string().contains("an extended header is longer than"), "{refused}");
        fixture.assert_empty();
    }
}

#[test]
fn declared_sizes_are_not_believed() {
    on_each_driver(|fixture| {
        let mut header = tar::Header::new_gnu();
        header.set_path("huge").unwrap();
        header.set_size(1 << 60);
        header.set_mode(0o644);
        header.set_cksum();
        let import = |bytes: &[u8]| fixture.images.import(bytes, &ImportOptions::default(), &mut quiet);
        assert!(import(&[header.as_bytes(), &[0; 4096][..]].concat()).is_err());
        fixture.assert_empty();
        let load =
            fixture.images.load(&[header.as_bytes(), &[0; 4096][..]].concat()[..], &LoadOptions::default(), &mut quiet);
        assert!(load.is_err());
        fixture.assert_empty();
    });
}

#[test]
fn nothing_is_written_outside_of_a_layer() {
    on_each_driver(|fixture| {
        let outside = fixture.path("outside");
        std::fs::write(&outside, "untouched").unwrap();
        let target = outside.to_str().unwrap();
        let entry = |name: &str, kind: tar::EntryType, link: &str, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
            header.set_entry_type(kind);
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            let mut bytes = header.as_bytes().to_vec();
            bytes.extend_from_slice(content);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
            bytes
        };
        use tar::EntryType::{Link, Regular, Symlink};
        let up = format!("{}{target}", "../".repeat(12));
        for members in [
            vec![entry("../../../outside", Regular, "", b"x")],
            vec![entry(target, Regular, "", b"x")],
            vec![entry("link", Symlink, &up, b""), entry("link", Regular, "", b"x")],
            vec![
                entry("link", Symlink, fixture.folder.path().to_str().unwrap(), b""),
                entry("link/outside", Regular, "", b"x"),
            ],
            vec![entry("hard", Link, target, b""), entry("hard", Regular, "", b"x")],
            vec![entry("hard", Link, &up, b""), entry("hard", Regular, "", b"x")],
            vec![entry("s", Symlink, target, b""), entry("hard", Link, "s", b""), entry("hard", Regular, "", b"x")],
        ] {
            let bytes = [members.concat(), vec![0; 1024]].concat();
            match fixture.images.import(&bytes[..], &ImportOptions::default(), &mut quiet) {
                Ok(id) => {
                    drop(fixture.images.remove(id.as_str(), Default::default(), &crate::fixture::nobody).unwrap())
                }
                Err(error) => assert!(!matches!(error, Error::Store(_)), "{error}"),
            }
            fixture.assert_empty();
            assert_eq!(std::fs::read_to_string(&outside).unwrap(), "untouched");
        }
    });
}
