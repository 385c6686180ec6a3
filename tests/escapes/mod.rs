//! Ways out of a container that have worked somewhere: each is tried, by a program of the container's, and held.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::support::call::call;
use crate::support::screen::Screen;
use crate::support::world::{LIMIT, scratch};
use crate::support::{Mode, World, kernel, program};

/// The program that tries, static, built once.
fn attempts() -> &'static PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/escapes/attempts.c");
        let built = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("attempts");
        let new = built.with_extension(std::process::id().to_string());
        let mut compiler = Command::new("gcc");
        compiler.args(["-static", "-O1", "-o"]).arg(&new).arg(source);
        call(compiler, b"", LIMIT).ok();
        fs::rename(new, &built).unwrap();
        built
    })
}

/// The flags that bring it into a container.
fn bound() -> [String; 2] {
    ["-v".to_owned(), format!("{}:/attempts:ro", attempts().display())]
}

/// What an attempt says in a container with `flags`.
fn tried(world: &World, flags: &[&str], attempt: &str) -> String {
    let bound = bound();
    let flags: Vec<&str> = bound.iter().map(String::as_str).chain(flags.iter().copied()).collect();
    let said = world.run(&[&["--rm"], flags.as_slice(), &["box", "sh", "-c", attempt]].concat()).out();
    assert!(said.contains("held") || said.contains("own"), "{attempt}: {said:?}");
    said
}

#[track_caller]
fn held(world: &World, flags: &[&str], attempt: &str) {
    let said = tried(world, flags, attempt);
    assert!(!said.contains("ESCAPED"), "{attempt} with {flags:?}:\n{said}");
}

both! {
    fn system_calls_that_lead_out_are_refused(world) {
        if kernel::lacks("seccomp filters", (3, 5)) {
            return;
        }
        held(world, &[], "/attempts calls");
        // The filter alone, without what the capabilities keep from it.
        held(world, &["--security-opt", "no-new-privileges", "-u", "1000"], "/attempts calls");
    }

    fn namespaces_and_descriptors_are_its_own(world) {
        held(world, &[], "/attempts namespaces");
        assert_eq!(world.sh(&[], "ls /proc/self/fd"), "0\n1\n2\n3", "the three streams, and the listing's own");
        let id = world.start(&[&bound()[0], &bound()[1]], "sleep 1000");
        let said = world.berth(&["exec", &id, "/attempts", "namespaces"]).ok().out();
        assert!(said.contains("own") && !said.contains("ESCAPED"), "{said}");
        assert_eq!(world.berth(&["exec", &id, "ls", "/proc/self/fd"]).ok().text(), "0\n1\n2\n3");
        world.berth(&["rm", "-f", &id]).ok();
    }

    fn the_hosts_processes_are_out_of_reach(world) {
        // With the host's processes in sight, too.
        let own = std::process::id();
        held(world, &[], "/attempts trace 1");
        held(world, &["--pid", "host"], &format!("/attempts trace {own}"));
        for file in ["root/etc", "environ", "mem", "cwd/.", "fd/"] {
            let line = format!("ls -l /proc/{own}/{file} >/dev/null 2>&1 && cat /proc/{own}/{file} >/dev/null 2>&1 && echo ESCAPED || echo held");
            held(world, &["--pid", "host"], &line);
        }
        held(world, &["--pid", "host"], &format!("nsenter -t {own} -m true && echo ESCAPED || echo held"));
        held(world, &["--pid", "host", "-u", "1000"], &format!("kill -9 {own} && echo ESCAPED || echo held"));
    }

    fn devices_that_are_made_cannot_be_opened(world) {
        let root = rustix::fs::stat("/").unwrap().st_dev;
        let (major, minor) = (rustix::fs::major(root), rustix::fs::minor(root));
        // The disk of the host, its memory, its kernel's messages.
        for node in [format!("b {major} {minor}"), "c 1 1".to_owned(), "c 1 2".to_owned(), "c 1 11".to_owned(), "c 10 200".to_owned()] {
            held(world, &[], &format!("/attempts node {node}"));
        }
        held(world, &[], "test -e /dev/kmsg && echo ESCAPED || echo held");
        held(world, &[], "dmesg >/dev/null 2>&1 && echo ESCAPED || echo held");
    }

    fn keyrings_of_the_host_are_not_there(world) {
        if kernel::lacks("seccomp filters", (3, 5)) {
            return;
        }
        held(world, &[], "/attempts keyrings");
        assert_eq!(world.sh(&[], "cat /proc/keys | wc -c"), "0");
    }

    fn the_kernels_settings_are_out_of_reach(world) {
        for file in [
            "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hotplug", "/proc/sysrq-trigger",
            "/proc/sys/fs/binfmt_misc/register", "/sys/kernel/uevent_helper", "/proc/sys/vm/overcommit_memory",
            "/sys/kernel/mm/transparent_hugepage/enabled", "/proc/1/oom_score_adj_none", "/sys/power/state",
        ] {
            held(world, &[], &format!("(echo '|/bin/sh' > {file}) 2>/dev/null && echo ESCAPED || echo held"));
        }
        // A program's dump would be handed to a program of the host's.
        let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
        held(world, &[], "(ulimit -c unlimited; kill -SEGV $$) 2>/dev/null; echo held");
        assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), pattern);
        for line in [
            "mount -o remount,rw /proc/sys", "mount -o remount,rw /sys", "mount -t proc proc /mnt", "mount -t sysfs s /mnt",
            "umount /proc/kcore", "mount --bind /proc/self /proc/kcore", "mount -o remount,rw /sys/fs/cgroup",
        ] {
            held(world, &[], &format!("mkdir -p /mnt; {line} 2>/dev/null && echo ESCAPED || echo held"));
        }
        assert_eq!(world.sh(&[], "cat /proc/kcore | wc -c; ls /sys/firmware | wc -l"), "0\n0");
    }

    fn a_release_agent_cannot_be_named(world) {
        // CVE-2022-0492: in a hierarchy that is mounted anew, and in those that are there.
        for kind in ["rdma", "memory", "misc"] {
            held(world, &[], &format!("mkdir /m; mount -t cgroup -o {kind} cgroup /m 2>/dev/null && echo ESCAPED || echo held"));
        }
        held(world, &[], "for f in $(find /sys/fs/cgroup -name release_agent -o -name notify_on_release -o -name cgroup.procs); do (echo 1 > $f) 2>/dev/null && echo ESCAPED $f; done; echo held");
        held(world, &["--cgroupns", "host"], "for f in $(find /sys/fs/cgroup -name release_agent -o -name notify_on_release -o -name cgroup.procs); do (echo 1 > $f) 2>/dev/null && echo ESCAPED $f; done; echo held");
    }
}

/// CVE-2019-5736: whoever enters a container must not be a program that it can write to.
#[test]
fn the_programs_file_is_not_to_be_had_by_those_inside() {
    let world = World::new(Mode::Embedded);
    let before = fs::read(program()).unwrap();
    let [flag, mount] = bound();
    let id = world.berth(&["run", "-d", &flag, &mount, "box", "/attempts", "executables", "8"]).ok().text();
    let mut entered = 0;
    while world.inspect(&id, "{{.State.Status}}") == "running" {
        entered += i32::from(world.berth(&["exec", &id, "true"]).code == 0);
        world.berth(&["cp", &format!("{id}:/etc"), "-"]);
    }
    let said = world.berth(&["logs", &id]).ok().out();
    assert!(entered > 0 && said.contains("looked") && !said.contains("ESCAPED"), "entered {entered} times: {said}");
    assert_eq!(fs::read(program()).unwrap(), before, "the program was changed");
    world.berth(&["rm", "-f", &id]).ok();
}

/// CVE-2021-30465: a volume's folder upon which another container's mount goes becomes a link meanwhile.
#[test]
fn a_link_that_comes_and_goes_leads_no_mount_outside() {
    let world = World::new(Mode::Embedded);
    let victim = scratch("bt-victim-");
    fs::write(victim.join("file"), "untouched").unwrap();
    world.berth(&["volume", "create", "shared"]).ok();
    let [flag, mount] = bound();
    let up = format!("{}{}", "../".repeat(20), victim.display());
    let id = world
        .berth(&["run", "-d", &flag, &mount, "-v", "shared:/v", "box", "/attempts", "exchange", "/v/place", &up, "10"])
        .ok()
        .text();
    let (mut inside, mut rounds) = (0, 0);
    while world.inspect(&id, "{{.State.Status}}") == "running" {
        let line = "touch /v/place/mine && grep -c ' /v/place ' /proc/self/mountinfo";
        let said = world.run(&["--rm", "-v", "shared:/v", "--tmpfs", "/v/place", "box", "sh", "-c", line]);
        inside += i32::from(said.code == 0);
        rounds += 1;
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 1, "{}", said.err());
    }
    assert!(rounds > 3, "{rounds} rounds, {inside} with the mount at its place");
    assert_eq!(fs::read_to_string(victim.join("file")).unwrap(), "untouched");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(victim.to_str().unwrap()), "{mounts}");
    world.berth(&["rm", "-f", &id]).ok();
    fs::remove_dir_all(victim).unwrap();
}

/// What a container types into its terminal is read by nobody outside.
#[test]
fn what_is_typed_into_a_terminal_from_inside_stays_inside() {
    let world = World::new(Mode::Embedded);
    let mut shell = Command::new("sh");
    world.surround(&mut shell);
    shell.env("PS1", "outside> ").env("PATH", world.path_with_berth());
    let mut screen = Screen::start(&world, &shell, 100, 30);
    screen.expect("outside> ");
    let mount = bound()[1].clone();
    for flags in ["-it", "-i", ""] {
        screen.line(&format!(
            "berth run --rm {flags} -v {mount} box /attempts type \"$(printf 'echo ESC%s\\n' APED)\n\"; echo en''ded"
        ));
        screen.expect("ended");
        screen.expect("outside> ");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(!screen.all().lines().any(|line| line.trim() == "ESCAPED"), "{}", screen.all());
    screen.line("exit");
    screen.end();
}
