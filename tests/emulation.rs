use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::umount;

use crate::support::image::{Member, archive, file};
use crate::support::user::Given;
use crate::support::{Mode, World, find_program, kernel, skip};

const PLACE: &str = "/proc/sys/fs/binfmt_misc";
const BOX: &str = "/bin/busybox";

/// A world with busybox for `arm64`, alone on the machine: registrations are the whole host's. What was registered in it is
/// taken off at the end.
struct Foreign {
    world: World,
    was_mounted: bool,
    /// Registrations of others for arm64 (Debian's qemu-user-static makes one at boot), off as long as the world is there.
    others: Vec<PathBuf>,
}

impl Foreign {
    fn new(mode: Mode) -> Option<Self> {
        if find_program("qemu-aarch64-static").is_none() {
            skip("qemu-user-static is not installed");
            return None;
        }
        let world = World::alone(mode);
        if !world.import_arm64() {
            return None;
        }
        let was_mounted = Path::new(PLACE).join("status").exists();
        let mut foreign = Self { world, was_mounted, others: Vec::new() };
        while let Some(name) = foreign.registration() {
            let other = Path::new(PLACE).join(name);
            fs::write(&other, "0").unwrap();
            assert!(!foreign.others.contains(&other), "{} cannot be switched off", other.display());
            foreign.others.push(other);
        }
        Some(foreign)
    }

    /// The name of the one in force for arm64.
    fn registration(&self) -> Option<String> {
        let format = "{{.Architecture}} {{.How}} {{.Registration}}";
        let listed = self.world.berth(&["emulation", "ls", "--format", format]).ok().lines();
        listed.iter().find_map(|line| line.strip_prefix("arm64 registered ").map(str::to_owned))
    }

    /// What a reboot does to berth's registration.
    fn forget(&self) {
        fs::write(Path::new(PLACE).join("berth-aarch64"), "-1").unwrap();
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        self.world.berth(&["emulation", "rm", "--all"]);
        for other in &self.others {
            let _ = fs::write(other, "1");
        }
        if !self.was_mounted {
            let _ = umount(PLACE);
        }
    }
}

#[test]
fn without_a_registration_the_first_program_is_emulated() {
    let Some(foreign) = Foreign::new(Mode::Embedded) else { return };
    let world = &foreign.world;
    let run = |flags: &[&str], command: &[&str]| world.run(&[&["--rm"], flags, &["arm64"], command].concat());
    let outcome = run(&[], &[BOX, "uname", "-m"]).ok();
    assert_eq!(outcome.text(), "aarch64");
    for words in ["linux/arm64", "does not match", "berth emulation install arm64"] {
        assert!(outcome.err().contains(words), "{}", outcome.err());
    }
    // As the kernel and execvp(3) would find it.
    assert_eq!(run(&["--init"], &["busybox", "uname", "-m"]).ok().text(), "aarch64");
    run(&[], &["no-such-program"]).ended(127);
    run(&[], &["/etc"]).ended(126);
    world.run(&["-d", "--name", "one", "arm64", BOX, "sleep", "1000"]).ok();
    assert_eq!(world.berth(&["exec", "one", BOX, "uname", "-m"]).ok().text(), "aarch64");
    world.shell("printf '#!/bin/busybox sh\\necho script $1 $0\\n' > s && chmod 755 s && berth cp s one:/s").ok();
    assert_eq!(world.berth(&["exec", "one", "/s", "a"]).ok().text(), "script a /s");
    world.berth(&["rm", "-f", "one"]).ok();
}

#[test]
fn installed_an_interpreter_starts_every_program_and_is_registered_again_after_a_boot() {
    if kernel::lacks("seccomp filters, which is warned of", (3, 5)) {
        return;
    }
    for mode in [Mode::Embedded, Mode::Daemon] {
        let Some(foreign) = Foreign::new(mode) else { return };
        let world = &foreign.world;
        let installed = world.berth(&["emulation", "install", "arm64"]).ok().text();
        assert!(installed.contains("registered as berth-aarch64"), "{installed}");
        let piped = "busybox ls / | busybox grep -c bin; busybox uname -m; /bin/busybox id -u";
        let outcome = world.run(&["--rm", "--platform", "linux/arm64", "arm64", BOX, "sh", "-c", piped]).ok();
        assert_eq!((outcome.text().as_str(), outcome.err().as_str()), ("1\naarch64\n0", ""));
        world.run(&["-d", "--name", "one", "arm64", BOX, "sh", "-c", "busybox sleep 1000"]).ok();
        foreign.forget();
        world.berth(&["restart", "-t", "0", "one"]).ok();
        assert_eq!(world.berth(&["exec", "one", BOX, "sh", "-c", "busybox uname -m"]).ok().text(), "aarch64");
        world.berth(&["commit", "one", "two"]).ok();
        world.berth(&["rm", "-f", "one"]).ok();
        assert_eq!(world.inspect("two", "{{.Architecture}}"), "arm64");
        assert_eq!(world.berth(&["emulation", "rm", "arm64"]).ok().text(), "arm64");
        world.berth(&["emulation", "rm", "arm64"]).refused(1, &["arm64 is not installed"]);
    }
}

#[test]
fn an_image_gives_the_interpreter() {
    let Some(foreign) = Foreign::new(Mode::Embedded) else { return };
    let world = &foreign.world;
    world
        .shell("mkdir -p q/usr/bin && cp $(command -v qemu-aarch64-static) q/usr/bin/ && tar -C q -c . | berth import - qemu")
        .ok();
    world.berth(&["emulation", "install", "--image", "qemu", "arm"]).refused(1, &["qemu has no qemu-arm-static"]);
    world.berth(&["emulation", "install", "--image", "qemu", "arm64"]).ok();
    world.berth(&["rmi", "qemu"]).ok();
    assert_eq!(world.run(&["--rm", "arm64", BOX, "sh", "-c", "busybox uname -m"]).ok().text(), "aarch64");
    assert_eq!(world.berth(&["ps", "-aq"]).ok().text(), "");
}

#[test]
fn what_cannot_be_run_or_installed_is_refused_with_the_remedy() {
    let world = World::new(Mode::Embedded);
    if !world.import_arm64() {
        return;
    }
    let without = [("BERTH_PRETEND_WITHOUT", "qemu,binfmt-misc")];
    let outcome = world.with(&without, &["run", "--rm", "arm64", BOX, "true"]);
    outcome.refused(125, &["image is for linux/arm64", "this host runs linux/amd64", "qemu-user-static"]);
    // Made it can be: files of it are good for any machine.
    world.with(&without, &["create", "--name", "one", "arm64", BOX]).ok();
    world.with(&without, &["cp", "one:/bin/busybox", &world.at("out")]).ok();
    world.with(&without, &["emulation", "install"]).refused(1, &["no static QEMU was found"]);
    world.berth(&["emulation", "install", "pdp11"]).refused(1, &["unknown architecture \"pdp11\"", "arm64"]);
    world.berth(&["emulation", "install", "--qemu", "/nowhere", "arm64"]).refused(1, &["/nowhere"]);
    world
        .berth(&["emulation", "install", "--qemu", &world.at("out"), "arm64"])
        .refused(1, &["out is a program for arm64"]);
    let listed = world.with(&without, &["emulation", "ls"]).ok().text();
    assert!(listed.contains("this host's processor") && listed.contains("nothing: "), "{listed}");
}

/// In a user namespace of the engine's own, where the kernel has registrations for each (6.7); else as without any.
#[test]
fn an_ordinary_users_registrations_are_his_own() {
    if kernel::lacks("user namespaces", (3, 8)) {
        return;
    }
    if find_program("qemu-aarch64-static").is_none() {
        return skip("qemu-user-static is not installed");
    }
    let Some(world) = World::of_user(Mode::Daemon, Given::Ranges) else { return };
    if !world.import_arm64() {
        return;
    }
    let installed = world.berth(&["emulation", "install", "arm64"]);
    if installed.code != 0 {
        installed.refused(1, &["Linux 6.7"]);
        return skip("this kernel has one set of registrations for all");
    }
    assert!(!Path::new(PLACE).join("berth-aarch64").exists(), "the host has the registration");
    let piped = "busybox uname -m | busybox cat";
    assert_eq!(world.run(&["--rm", "arm64", BOX, "sh", "-c", piped]).ok().text(), "aarch64");
    world.berth(&["emulation", "rm", "--all"]).ok();
}

/// A program for i386 that says `narrow`: write(1, ..., 7); exit(0).
fn narrow() -> Vec<u8> {
    const CODE: &[u8] = &[
        0xb8, 4, 0, 0, 0, 0xbb, 1, 0, 0, 0, 0xb9, 118, 0, 1, 0, 0xba, 7, 0, 0, 0, 0xcd, 0x80, 0xb8, 1, 0, 0, 0, 0xbb,
        0, 0, 0, 0, 0xcd, 0x80,
    ];
    let mut bytes = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0".to_vec();
    // e_version, e_entry, e_phoff, e_shoff, e_flags; then a header of one segment, which is the file.
    for word in [1u32, 0x1_0054, 52, 0, 0] {
        bytes.extend(word.to_le_bytes());
    }
    for half in [52u16, 32, 1, 0, 0, 0] {
        bytes.extend(half.to_le_bytes());
    }
    for word in [1u32, 0, 0x1_0000, 0x1_0000, 125, 125, 5, 0x1000] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(CODE);
    bytes.extend(b"narrow\n");
    bytes
}

#[test]
fn the_kernel_runs_32_bit_programs_beside_its_own() {
    if kernel::lacks("seccomp filters, which is warned of", (3, 5)) {
        return;
    }
    if cfg!(not(target_arch = "x86_64")) {
        return skip("the test's program is for i386");
    }
    let world = World::new(Mode::Embedded);
    let program = narrow();
    let member = Member { mode: 0o755, ..file("narrow", &program) };
    fs::write(world.path("386.tar"), archive(&[member])).unwrap();
    world.berth(&["import", "--platform", "linux/386", &world.at("386.tar"), "narrow"]).ok();
    let run = |without: &str| {
        let without = [("BERTH_PRETEND_WITHOUT", without)];
        world.with(&without, &["run", "--rm", "--platform", "linux/386", "narrow", "/narrow"])
    };
    let outcome = run("qemu").ok();
    assert_eq!((outcome.text().as_str(), outcome.err().as_str()), ("narrow", ""));
    run("qemu,binfmt-misc,compat").refused(125, &["image is for linux/386"]);
}
