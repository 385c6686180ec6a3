use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::call::{Outcome, call};
use crate::support::world::LIMIT;
use crate::support::{Mode, World, find_program, program, skip};

/// Compressing takes the most of it.
const PACKING: Duration = Duration::from_secs(600);

/// The name of this machine's target in a release.
fn target() -> Option<&'static str> {
    match std::env::consts::ARCH {
        "x86" => Some("i686"),
        "arm" => None,
        other => Some(other),
    }
}

/// `ci/dist/make FOLDER OUT` on the program under test, with a page that stands for the manual, which takes a build.
fn make(world: &World, script: &Path) -> Outcome {
    let mut command = Command::new(script);
    command.args([world.at("programs"), world.at("release")]).env("MANUAL", world.at("man"));
    call(command, &[], PACKING)
}

fn install(world: &World, arguments: &[&str]) -> Outcome {
    let mut command = Command::new("busybox");
    world.surround(&mut command);
    let (script, prefix) = (world.at("release/install.sh"), world.at("prefix"));
    // Another spelling each time: a slash as shells add it, and ways round.
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let spelling = ["/", "", "//.", "/bin/.."][CALLS.fetch_add(1, Ordering::Relaxed) % 4];
    command.args(["sh", &script, "--prefix", &format!("{prefix}{spelling}")]).args(arguments);
    call(command, &[], LIMIT)
}

#[test]
fn a_release_is_packed_installed_upgraded_and_removed() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci/dist/make");
    if !script.is_file() {
        return skip("the sources are not here");
    }
    for tool in ["strip", "dpkg-deb", "busybox"] {
        if find_program(tool).is_none() {
            return skip(&format!("there is no {tool} here"));
        }
    }
    let Some(target) = target() else { return skip("which of the programs for ARM this is cannot be said") };
    let world = World::bare(Mode::Embedded);
    for folder in ["programs", "man"] {
        fs::create_dir(world.path(folder)).unwrap();
    }
    fs::write(world.path("man/berth.1"), ".TH berth 1\n").unwrap();
    let name = format!("berth-0.0.1-{target}");
    let packed = world.path("programs").join(&name);
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(&packed).arg(program());
    call(strip, &[], LIMIT).ok();

    let other = world.path("programs").join(format!("berth-0.0.2-{target}"));
    fs::write(&other, "").unwrap();
    make(&world, &script).refused(1, &["several versions", target]);
    fs::remove_file(&other).unwrap();
    make(&world, &script).ok();
    let sums = fs::read_to_string(world.path("release/SHA256SUMS")).unwrap();
    let files: Vec<&str> = sums.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    let package = files.iter().find(|file| file.ends_with(".deb")).expect("a Debian package");
    assert!(files.contains(&format!("{name}.tar.gz").as_str()) && files.contains(&"install.sh"), "{sums}");
    let mut list = Command::new("dpkg-deb");
    list.arg("-c").arg(world.path("release").join(package));
    let listed = call(list, &[], LIMIT).ok().out();
    for file in ["./usr/bin/berth\n", "./usr/bin/berth-oci ->", "./usr/share/man/man1/berth.1.gz\n"] {
        assert!(listed.contains(file), "{file:?} is not in {listed}");
    }

    let prefix = world.path("prefix");
    install(&world, &[]).refused(1, &["where the release is has to be said"]);
    let release = world.at("release");
    assert!(install(&world, &["--release", &release]).ok().out().contains("is installed"));
    let installed = prefix.join("bin/berth");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&installed);
        world.surround(&mut command);
        command.args(arguments);
        call(command, &[], LIMIT)
    };
    assert_eq!(run(&["--version"]).ok().text(), world.berth(&["--version"]).ok().text());
    assert!(run(&["run", "--rm", "berth/hello"]).ok().out().contains("Hello from berth"));
    for file in ["share/man/man1/berth.1.gz", "share/bash-completion/completions/berth", "share/berth/purge"] {
        assert!(prefix.join(file).is_file(), "{file}");
    }

    // What the next release no longer has goes, what is not berth's stays.
    let list = prefix.join("share/berth/installed");
    let (gone, foreign) = (prefix.join("share/berth/earlier"), prefix.join("bin/foreign"));
    for file in [&gone, &foreign] {
        fs::write(file, "").unwrap();
    }
    fs::write(&list, format!("{}{}\n", fs::read_to_string(&list).unwrap(), gone.display())).unwrap();
    assert!(install(&world, &["--release", &release]).ok().out().contains("is in the place of"));
    assert_eq!((gone.exists(), foreign.exists()), (false, true));

    // A damaged release changes nothing.
    let archive = world.path("release").join(format!("{name}.tar.gz"));
    let mut bytes = fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&archive, bytes).unwrap();
    install(&world, &["--release", &release]).refused(1, &["is damaged"]);
    run(&["--version"]).ok();

    // What one that was killed left.
    fs::write(prefix.join("bin/.berth.new"), "").unwrap();
    install(&world, &["--uninstall"]).ok();
    let left = || fs::read_dir(prefix.join("bin")).unwrap().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    assert_eq!(left(), [foreign]);
    assert!(!prefix.join("share").exists());
    install(&world, &["--uninstall"]).refused(1, &["nothing that this script installed"]);
}

/// Guards against the folders of layers that berth could not list being removed behind its back.
#[test]
fn a_purge_ends_at_what_fails() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci/dist/purge");
    if !script.is_file() {
        return skip("the sources are not here");
    }
    let world = World::new(Mode::Embedded);
    let state = world.root();
    fs::create_dir(world.path("bin")).unwrap();
    for verb in ["ps", "images", "volume", "network"] {
        let line = format!(
            "printf '#!/bin/sh\\ncase $1 in {verb}) exit 1 ;; info) echo {} ;; esac\\n' >bin/berth; chmod 755 bin/berth",
            state.display()
        );
        world.shell(&line).ok();
        // It removes the run folder too, which is the host's.
        let line = "mount -t tmpfs run /run && exec busybox sh \"$@\"";
        let mut command = Command::new("unshare");
        world.surround(&mut command);
        command.args(["--mount", "sh", "-c", line, "sh"]).arg(&script).args([&world.at("bin/berth"), "now"]);
        call(command, &[], LIMIT).refused(1, &[verb, "failed"]);
        assert!(state.join("berth.db").exists(), "{verb}");
    }
}
