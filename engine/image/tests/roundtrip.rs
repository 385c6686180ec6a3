//! What goes in comes out: through commit, save, load and export, compared with GNU tar and by digest.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use berth_fs_drivers::{Access, mount};
use berth_image::{CommitOptions, Digest, ImageId, LoadOptions, Loaded, RemoveOptions};

use crate::fixture::{Fixture, archive, fixture, nobody, on_each_driver, quiet};

fn save(fixture: &Fixture, names: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    fixture.images.save(&names, &mut out, &mut quiet).unwrap();
    out
}

fn load(fixture: &Fixture, archive: &[u8]) -> Vec<String> {
    let loaded = fixture.images.load(archive, &LoadOptions::default(), &mut quiet).unwrap();
    loaded.iter().map(Loaded::to_string).collect()
}

fn run(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = feeder.join().unwrap();
    assert!(output.status.success(), "{command:?}");
    output.stdout
}

/// One line an entry with all that tar and stat know of it, digests, attributes and nanoseconds included.
fn describe(root: &Path) -> String {
    let script = r#"cd "$0" && find . -printf '%P %y %m %U:%G %s %n %T@ %l\n' | sed 's/^ /. /' | sort;
        find . -type f -print0 | sort -z | xargs -0 sha256sum; getfattr -Rhd -m - . 2>/dev/null; true"#;
    let text = run(Command::new("sh").args(["-c", script]).arg(root), b"");
    String::from_utf8_lossy(&text).into_owned()
}

fn unpack(archive: &[u8], folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-p", "-xf", "-", "-C"]).arg(folder);
    run(&mut tar, archive);
}

/// Everything that a file can be.
fn populate(root: &Path) {
    let path = |name: &str| root.join(name);
    std::fs::create_dir_all(path("deep/er")).unwrap();
    for (name, content) in [
        ("plain", &b"text"[..]),
        ("empty", b""),
        ("odd \\ name\nwith ü", b"odd"),
        ("deep/er/setuid", b"#!"),
        ("cap", b"x"),
    ] {
        std::fs::write(path(name), content).unwrap();
    }
    std::fs::hard_link(path("plain"), path("deep/linked")).unwrap();
    symlink("../plain", path("deep/link")).unwrap();
    symlink("/nowhere/at/all", path("dangling")).unwrap();
    let sparse = std::fs::File::create(path("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"middle", 40 << 20).unwrap();
    std::fs::write(path("n".repeat(200).as_str()), "long").unwrap();
    let script = r#"cd "$0" && chmod 4755 deep/er/setuid && chmod 1777 deep && chown 1234:70000 plain && mkfifo fifo &&
        touch -d '2021-03-04 05:06:07.123456789' plain deep/er/setuid && touch -hd '1999-12-31 23:59:59.987654321' dangling &&
        setfattr -n user.note -v 'a note' cap &&
        setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 cap;
        mknod device c 1 3; touch -d '2020-01-01 01:01:01.000000001' deep/er deep ."#;
    run(Command::new("sh").args(["-c", script]).arg(root), b"");
}

#[test]
fn every_attribute_survives_import_commit_save_load_and_export() {
    on_each_driver(|fixture| {
        let source = fixture.path("source");
        std::fs::create_dir(&source).unwrap();
        populate(&source);
        let expected = describe(&source);
        let mut tar = Command::new("tar");
        tar.args(["--xattrs", "--xattrs-include=*", "--format=posix", "--numeric-owner", "--sparse", "-cf", "-", "-C"]);
        let packed = run(tar.arg(&source).arg("."), b"");
        let base = fixture.import("base", &packed);

        let layer = fixture.container(&base);
        let out = fixture.path("exported");
        let mut exported = Vec::new();
        fixture.images.export(layer.number, &mut exported).unwrap();
        unpack(&exported, &out);
        assert_eq!(describe(&out), expected, "import and export");

        let mounts = fixture.images.container_mounts(layer.number, None, Access::ReadWrite).unwrap();
        mount::with_mounted(&mounts, |root| {
            std::fs::create_dir(root.join("more")).unwrap();
            populate(&root.join("more"));
            std::fs::remove_file(root.join("cap")).unwrap();
            std::fs::remove_dir_all(root.join("deep")).unwrap();
            std::fs::create_dir(root.join("deep")).unwrap();
            std::fs::write(root.join("deep/new"), "opaque").unwrap();
        })
        .unwrap();
        let mut exported = Vec::new();
        fixture.images.export(layer.number, &mut exported).unwrap();
        let changed = fixture.path("changed");
        unpack(&exported, &changed);
        let expected = describe(&changed);
        assert!(expected.contains("deep/new") && !expected.contains("\ncap ") && expected.contains("more/cap"));

        let options = CommitOptions {
            reference: Some("changed:1".parse().unwrap()),
            changes: vec!["CMD [\"/plain\"]".into()],
            ..CommitOptions::default()
        };
        let id = fixture.images.commit(layer.number, &base, &options, &mut quiet).unwrap();
        fixture.discard(&layer);
        let image = save(fixture, &["changed:1"]);
        assert_eq!(image, save(fixture, &["changed:1"]), "saving is deterministic");
        for name in ["changed:1", "base"] {
            fixture.images.remove(name, RemoveOptions::default(), &nobody).unwrap();
        }
        fixture.assert_empty();

        assert_eq!(load(fixture, &image), ["Loaded image: changed:1"]);
        assert_eq!(fixture.images.resolve("changed:1").unwrap().id, id);
        assert_eq!(image, save(fixture, &["changed:1"]), "byte for byte");
        let layer = fixture.container(&id);
        let mut exported = Vec::new();
        fixture.images.export(layer.number, &mut exported).unwrap();
        let out = fixture.path("loaded");
        unpack(&exported, &out);
        // The root's own attributes are not part of what a container changes, in Docker neither.
        let below = |text: &str| text.split_once('\n').unwrap().1.to_owned();
        assert_eq!(below(&describe(&out)), below(&expected), "commit, save, load and export");
        fixture.discard(&layer);
        fixture.assert_no_leftovers();
    });
}

#[test]
fn an_image_of_130_layers_works() {
    on_each_driver(|fixture| {
        let mut id = fixture.import("deep", &archive(&[("base", b"0")]));
        for number in 1..130 {
            let layer = fixture.container(&id);
            let mounts = fixture.images.container_mounts(layer.number, None, Access::ReadWrite).unwrap();
            mount::with_mounted(&mounts, |root| {
                std::fs::write(root.join(format!("file-{number}")), number.to_string()).unwrap();
                std::fs::write(root.join("base"), number.to_string()).unwrap();
            })
            .unwrap();
            let options = CommitOptions { reference: Some("deep".parse().unwrap()), ..CommitOptions::default() };
            let next = fixture.images.commit(layer.number, &id, &options, &mut quiet).unwrap();
            fixture.discard(&layer);
            id = next;
        }
        let saved = save(fixture, &["deep"]);
        assert_eq!(fixture.images.history("deep").unwrap().len(), 130);
        fixture.images.remove("deep", RemoveOptions::default(), &nobody).unwrap();
        fixture.assert_empty();
        load(fixture, &saved);
        assert_eq!(fixture.count("layers"), 130);
        let layer = fixture.container(&id);
        let mounts = fixture.images.container_mounts(layer.number, None, Access::ReadOnly).unwrap();
        let (files, base) = mount::with_mounted(&mounts, |root| {
            let base = std::fs::read_to_string(root.join("base")).unwrap();
            (std::fs::read_dir(root).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_file()).count(), base)
        })
        .unwrap();
        assert_eq!((files, base.as_str()), (130, "129"));
        fixture.discard(&layer);
    });
}

#[test]
fn images_that_share_layers_are_saved_and_loaded_together() {
    let fixture = fixture();
    let content = archive(&[("shared", &[9; 40_000])]);
    let ids: Vec<ImageId> = ["one:1", "two:2"].iter().map(|name| fixture.import(name, &content)).collect();
    fixture.images.tag("one:1", &"localhost:5000/one:x".parse().unwrap()).unwrap();
    let saved = save(&fixture, &["one:1", "localhost:5000/one:x", ids[1].short(), "one"]);
    assert!(saved.len() < 80_000, "the layer is in it once");
    fixture.images.prune(true, &Default::default(), &nobody).unwrap();
    fixture.assert_empty();
    let lines = load(&fixture, &saved);
    assert_eq!(
        lines,
        ["Loaded image: one:1", "Loaded image: localhost:5000/one:x", &format!("Loaded image ID: {}", ids[1])]
    );
    assert!(ids.iter().all(|id| fixture.images.get(id).is_ok()));
}

#[test]
fn a_saved_archive_is_an_oci_layout_too() {
    let fixture = fixture();
    let id = fixture.import("demo:1", &archive(&[("a", b"1")]));
    let saved = save(&fixture, &["demo:1"]);
    let names = String::from_utf8(run(Command::new("tar").arg("-t"), &saved)).unwrap();
    for name in ["blobs/sha256/", "index.json", "oci-layout", "manifest.json", "repositories"] {
        assert!(names.lines().any(|line| line == name), "{name} in {names}");
    }
    let folder = fixture.path("layout");
    unpack(&saved, &folder);
    for blob in std::fs::read_dir(folder.join("blobs/sha256")).unwrap() {
        let path = blob.unwrap().path();
        let digest = Digest::of(&std::fs::read(&path).unwrap());
        assert_eq!(digest.hex(), path.file_name().unwrap().to_str().unwrap());
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o644);
    }
    std::fs::remove_file(folder.join("manifest.json")).unwrap();
    std::fs::remove_file(folder.join("repositories")).unwrap();
    let layout = run(Command::new("tar").args(["-czf", "-", "-C"]).arg(&folder).arg("."), b"");
    fixture.images.remove("demo:1", RemoveOptions::default(), &nobody).unwrap();
    assert_eq!(load(&fixture, &layout), ["Loaded image: demo:1"]);
    assert_eq!(fixture.images.resolve("demo:1").unwrap().id, id);
}

#[test]
fn the_embedded_image_is_made_once_and_a_foreign_one_is_left_alone() {
    let fixture = fixture();
    assert!(!fixture.images.ensure_hello("debian").unwrap());
    assert!(fixture.images.ensure_hello("berth/hello").unwrap());
    let id = fixture.images.resolve("berth/hello").unwrap().id;
    assert!(fixture.images.ensure_hello("docker.io/berth/hello:latest").unwrap());
    assert_eq!(fixture.images.resolve("berth/hello").unwrap().id, id);
    let layer = fixture.container(&id);
    let mounts = fixture.images.container_mounts(layer.number, None, Access::ReadOnly).unwrap();
    let program = mount::with_mounted(&mounts, |root| std::fs::read(root.join("berth")).unwrap()).unwrap();
    assert_eq!(program, std::fs::read("/proc/self/exe").unwrap());
    fixture.discard(&layer);
    let other = fixture.import("berth/hello", &archive(&[("a", b"1")]));
    assert!(fixture.images.ensure_hello("berth/hello").unwrap());
    assert_eq!(fixture.images.resolve("berth/hello").unwrap().id, other);
    fixture.assert_no_leftovers();
}

/// What another program makes of our archives, and we of its. Skipped where there is no skopeo.
#[test]
fn skopeo_reads_what_is_saved_and_writes_what_is_loaded() {
    let fixture = fixture();
    if Command::new("skopeo").arg("--version").output().is_err() {
        eprintln!("skip: no skopeo on this machine");
        return;
    }
    let base = fixture.import("demo:1", &archive(&[("a", &[1; 10_000])]));
    let layer = fixture.container(&base);
    let mounts = fixture.images.container_mounts(layer.number, None, Access::ReadWrite).unwrap();
    mount::with_mounted(&mounts, |root| std::fs::write(root.join("b"), "2").unwrap()).unwrap();
    let options =
        CommitOptions { reference: Some("example.com/x/demo:2".parse().unwrap()), ..CommitOptions::default() };
    let id = fixture.images.commit(layer.number, &base, &options, &mut quiet).unwrap();
    fixture.discard(&layer);
    let saved = fixture.path("saved.tar");
    std::fs::write(&saved, save(&fixture, &["example.com/x/demo:2"])).unwrap();
    fixture.images.prune(true, &Default::default(), &nobody).unwrap();
    fixture.assert_empty();
    let saved = saved.display();
    for (number, (from, kind)) in
        [("docker-archive", "docker-archive"), ("oci-archive", "oci-archive"), ("docker-archive", "oci-archive")]
            .into_iter()
            .enumerate()
    {
        let out = fixture.path(&format!("copied-{number}.tar"));
        let to = format!("{kind}:{}:example.com/x/demo:2", out.display());
        let from = format!("{from}:{saved}");
        let mut skopeo = Command::new("skopeo");
        run(skopeo.args(["--insecure-policy", "copy", "-q", &from, &to]), b"");
        assert_eq!(load(&fixture, &std::fs::read(&out).unwrap()), ["Loaded image: example.com/x/demo:2"]);
        let image = fixture.images.resolve("example.com/x/demo:2").unwrap();
        assert_eq!(image.config.rootfs.diff_ids.len(), 2);
        // Only copying an OCI image to an OCI image keeps the configuration as it is.
        assert!(kind != "oci-archive" || number != 1 || image.id == id);
        fixture.images.prune(true, &Default::default(), &nobody).unwrap();
        fixture.assert_empty();
    }
}
