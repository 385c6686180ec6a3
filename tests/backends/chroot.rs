use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::inside;
use crate::support::lan::echo;
use crate::support::screen::Screen;
use crate::support::{Mode, World, eventually};

/// What is pretended to be absent in turn: nothing, mounts of their own, control groups, both.
const LEVELS: &[&str] = &["", "mount-namespace", "cgroup", "mount-namespace,cgroup"];

/// How long this world's sleepers sleep, in seconds, by which they are known: 100 days and more.
fn long(world: &World) -> u64 {
    use std::os::unix::fs::MetadataExt;
    10_000_000 + fs::metadata(world.root()).unwrap().ino() % 10_000_000
}

/// Five daemons that have left their parents, session, environment and directory.
fn daemons(world: &World) -> String {
    let sleep = format!("env -i sleep {} >/dev/null 2>&1 </dev/null &", long(world));
    format!("for i in 1 2 3 4 5; do (cd /tmp; env -i setsid sh -c '{sleep}' &); done; ")
}

/// The daemons, and a first process that is one of them.
fn haunted(world: &World) -> String {
    format!("{} exec sleep {}", daemons(world), long(world))
}

fn on_every_level(test: impl Fn(&World)) {
    for absent in LEVELS {
        let world = World::new(Mode::Embedded);
        world.set("BERTH_PRETEND_WITHOUT", absent);
        test(&world);
    }
}

fn start(world: &World, flags: &[&str], script: &str) -> String {
    world.start(&[&["--isolation", "chroot"], flags].concat(), script)
}

fn run(world: &World, flags: &[&str], command: &[&str]) -> crate::support::Outcome {
    world.run(&[&["--rm", "--isolation", "chroot"], flags, &["box"], command].concat())
}

/// Mounts of this world's containers on the host.
fn mounts(world: &World) -> usize {
    let place = world.root().join("run/roots");
    crate::support::host::mounts().iter().filter(|line| line.contains(place.to_str().unwrap())).count()
}

fn sleepers(world: &World) -> usize {
    let line = format!("sleep\0{}\0", long(world));
    let sleeps = |pid: &i32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|found| found == line.as_bytes());
    crate::support::host::processes().iter().filter(|pid| sleeps(pid)).count()
}

fn page(world: &World, port: u16) -> String {
    let line =
        format!("for i in $(seq 50); do busybox wget -qO- http://127.0.0.1:{port}/ && exit; sleep 0.1; done; exit 1");
    world.shell(&line).text()
}

const WEB: &str = "mkdir /www; hostname > /www/index.html; exec httpd -f -p 8000 -h /www";

#[test]
fn ports_lead_to_what_the_program_opens() {
    on_every_level(|world| {
        let here = world.shell("hostname").text();
        let own = inside::volume();
        let published = ["-p", "8080:8000", "-p", "127.0.0.1:8082:8000", "-p", "8081:9000/udp"];
        start(world, &[&["--name", "web", "-v", &own], &published[..]].concat(), WEB);
        assert_eq!(page(world, 8080), here);
        assert_eq!(page(world, 8082), here);
        let ports = world.berth(&["port", "web"]).ok().lines();
        for line in ["8000/tcp -> 0.0.0.0:8080", "8000/tcp -> 127.0.0.1:8082", "9000/udp -> 0.0.0.0:8081"] {
            assert!(ports.iter().any(|found| found == line), "{line}: {ports:?}");
        }
        assert!(!ports.iter().any(|line| line.ends_with(":8000")), "{ports:?}");
        // A program of the host that has the port which the container's has not opened gets nothing.
        let _other = world.net().within(|| UdpSocket::bind("127.0.0.1:9000")).unwrap();
        assert_eq!(echo(world.net(), "127.0.0.1:8081", "hello"), None);
        drop(_other);
        let server = inside::command("answers_datagrams", "ANSWER=9000");
        world.berth(&["exec", "-d", "web", "sh", "-c", &format!("exec {server}")]).ok();
        eventually("the program answers", Duration::from_secs(30), || {
            echo(world.net(), "127.0.0.1:8081", "hello").as_deref() == Some("hello")
        });
        // Its own number is public by being opened.
        start(world, &["--name", "direct", "-p", "8090:8090"], &WEB.replace("8000", "8090"));
        assert_eq!(page(world, 8090), here);
        assert_eq!(world.berth(&["port", "direct"]).ok().lines()[0], "8090/tcp -> 0.0.0.0:8090");
        world.berth(&["rm", "-f", "web", "direct"]).ok();
        world.net().within(|| TcpListener::bind("0.0.0.0:8080")).unwrap();
    });
}

#[test]
fn two_containers_on_one_port_are_told_apart() {
    let world = World::new(Mode::Embedded);
    start(&world, &["--name", "one", "-p", "8080:8000"], WEB);
    assert!(!page(&world, 8080).is_empty());
    let said = ["port 8000/tcp of container two", "container one has it", "-p PORT:OTHER/tcp", "--isolation"];
    world.run(&["--isolation", "chroot", "--name", "two", "-p", "8090:8000", "box", "true"]).refused(125, &said);
    // A port that is public elsewhere is a port that a program cannot open, and the reverse.
    world
        .run(&["--isolation", "chroot", "--name", "three", "-p", "8090:8080", "box", "true"])
        .refused(125, &["container one has it"]);
    world.run(&["--isolation", "chroot", "--name", "four", "-p", "8000:81", "box", "true"]).refused(125, &["8000"]);
    world
        .run(&["--isolation", "chroot", "--name", "five", "-p", "8080:81", "box", "true"])
        .refused(125, &["port is already allocated"]);
    let _outside = world.net().within(|| TcpListener::bind("127.0.0.1:8095")).unwrap();
    world
        .run(&["--isolation", "chroot", "--name", "six", "-p", "8096:8095", "box", "true"])
        .refused(125, &["a program of the host has it"]);
    world
        .run(&["--isolation", "chroot", "--name", "seven", "-p", "90:91/sctp", "box", "true"])
        .refused(125, &["91/sctp", "relays"]);
    // One that has ended gives it up.
    world.berth(&["stop", "-t", "0", "one"]).ok();
    start(&world, &["--name", "eight", "-p", "8090:8000"], WEB);
    world.berth(&["start", "one"]).refused(1, &["container eight has it"]);
    start(&world, &["--name", "all", "-P", "--expose", "8001"], &WEB.replace("8000", "8001"));
    let public = world.berth(&["port", "all", "8001"]).ok().lines()[0].rsplit(':').next().unwrap().parse().unwrap();
    assert!(!page(&world, public).is_empty());
}

#[test]
fn what_cannot_be_had_is_refused_by_option() {
    let world = World::new(Mode::Embedded);
    start(&world, &["--name", "other"], "exec sleep 1000");
    for (option, flags) in [
        ("--network none", &["--network", "none"][..]),
        ("--network container:", &["--network", "container:other"]),
        ("--pid container:", &["--pid", "container:other"]),
        ("--ipc shareable", &["--ipc", "shareable"]),
        ("--sysctl net.ipv4.ip_forward", &["--sysctl", "net.ipv4.ip_forward=1"]),
        ("--sysctl kernel.shmmax", &["--sysctl", "kernel.shmmax=1"]),
    ] {
        let refused = run(&world, flags, &["true"]).refused(125, &[option, "the chroot backend", "another backend"]);
        assert_eq!(refused.out(), "");
    }
    let warned = |flags: &[&str], words: &[&str]| {
        let said = run(&world, flags, &["true"]).ok().err();
        assert!(words.iter().all(|word| said.contains(word)), "{flags:?}: {said}");
    };
    warned(&["--hostname", "x"], &["--hostname", "the host's name"]);
    warned(&["--cap-add", "SYS_PTRACE"], &["CAP_SYS_PTRACE", "trace"]);
    warned(&["-p", "127.0.0.1:8080:8000"], &["-p 127.0.0.1", "every address"]);
    warned(&[], &["in the host's network"]);
    run(&world, &[], &["no-such-program"]).ended(127);
    run(&world, &[], &["/etc/not-a-program"]).ended(126);
}

#[test]
fn a_chroot_is_not_left() {
    on_every_level(|world| {
        // The old way out: a second root below the first, with the working directory outside of it.
        let escape = "mkdir -p /cage; chroot /cage /bin/true 2>&1; ls -d /proc/1/root/boot /proc/1/cwd/boot; \
                      for pid in $(ls /proc | grep '^[0-9]*$'); do ls -d /proc/$pid/root/boot; done; \
                      mknod /disk b 254 0 2>/dev/null && dd if=/disk of=/dev/null count=1 2>/dev/null && echo read; \
                      mount -t tmpfs none /mnt 2>/dev/null && echo mounted; \
                      echo x > /proc/sys/kernel/core_pattern && echo written; \
                      ls /proc/self/fd | wc -l; cd /; cd ..; cd ..; ls -d www boot 2>/dev/null";
        let output = run(world, &[], &["sh", "-c", escape]).text();
        for word in ["boot", "read", "mounted", "written"] {
            assert!(!output.contains(word), "{word}: {output}");
        }
        assert!(output.lines().any(|line| line == "4"), "{output}");
        let absent = world.with(&[], &["doctor", "--format", "json"]).json();
        let own_mounts = absent["isolation"]["candidates"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["name"] == "chroot" && one["detail"]["mount"] == true);
        let caged = run(world, &[], &["sh", "-c", "mkdir /cage; chroot /cage /x; echo $?"]);
        assert_eq!(caged.err().contains("not permitted"), !own_mounts, "{caged}");
    });
}

#[test]
fn a_life_leaves_nothing() {
    on_every_level(|world| {
        let before = mounts(world);
        world.berth(&["volume", "create", "vol"]).ok();
        start(world, &["--name", "one", "-v", "vol:/data", "--tmpfs", "/t", "--shm-size", "1m"], &haunted(world));
        eventually("the daemons are there", Duration::from_secs(20), || sleepers(world) == 6);
        // Before Linux 3.8, one of berth's waits among them to start others.
        let ours = |line: &String| !line.contains("berth-monitor");
        assert_eq!(world.berth(&["top", "one"]).ok().lines().into_iter().filter(ours).count(), 7);
        world.berth(&["exec", "one", "sh", "-c", "echo kept > /data/file; touch /t/x /made"]).ok();
        let mut screen = Screen::berth(world, &["exec", "-it", "one", "sh"]);
        screen.line("tty");
        screen.expect("/dev/pts/0");
        screen.line("exit");
        screen.end();
        world.berth(&["kill", "one"]).ok();
        eventually("the daemons end with the container", Duration::from_secs(10), || sleepers(world) == 0);
        assert_eq!(mounts(world), before);
        world.berth(&["start", "one"]).ok();
        eventually("the daemons are there again", Duration::from_secs(20), || sleepers(world) == 6);
        world.berth(&["rm", "-f", "one"]).ok();
        assert_eq!(sleepers(world), 0);
        assert_eq!(mounts(world), before);
        assert_eq!(fs::read_dir(world.root().join("run/roots")).map_or(0, Iterator::count), 0);
        assert_eq!(run(world, &["-v", "vol:/data"], &["cat", "/data/file"]).ok().text(), "kept");
        // The first process ends and its daemons do not.
        run(world, &[], &["sh", "-c", &format!("{} sleep 0.3; exit 4", daemons(world))]).ended(4);
        assert_eq!(sleepers(world), 0);
    });
}

#[test]
fn the_next_engine_ends_what_a_killed_monitor_left() {
    on_every_level(|world| {
        world.berth(&["volume", "create", "vol"]).ok();
        let id =
            start(world, &["--name", "one", "-v", "vol:/data"], &format!("echo kept > /data/file; {}", haunted(world)));
        eventually("the daemons are there", Duration::from_secs(20), || sleepers(world) == 6);
        let monitor = crate::support::host::monitor(&world.root(), Some(&id));
        kill(Pid::from_raw(monitor), Signal::SIGKILL).unwrap();
        eventually("the monitor has ended", Duration::from_secs(10), || !crate::support::host::is_alive(monitor));
        assert_eq!(world.inspect("one", "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
        assert_eq!(sleepers(world), 0);
        assert_eq!(mounts(world), 0);
        world.berth(&["system", "check"]).ok();
        world.berth(&["start", "one"]).ok();
        eventually("the daemons are there again", Duration::from_secs(20), || sleepers(world) == 6);
        let monitor = crate::support::host::monitor(&world.root(), Some(&id));
        kill(Pid::from_raw(monitor), Signal::SIGKILL).unwrap();
        world.berth(&["rm", "-f", "one"]).ok();
        assert_eq!(sleepers(world), 0);
        assert_eq!(mounts(world), 0);
        assert_eq!(run(world, &["-v", "vol:/data"], &["cat", "/data/file"]).ok().text(), "kept");
    });
}

/// Guards against removing what is mounted: a root that cannot be taken off keeps its container.
#[test]
fn the_check_takes_off_mounts_that_nobody_knows() {
    let world = World::new(Mode::Embedded);
    let place = world.root().join("run/roots").join("a".repeat(64));
    let source = world.path("precious");
    fs::create_dir_all(&place).unwrap();
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "data").unwrap();
    let none: Option<&str> = None;
    nix::mount::mount(Some(&source), &place, none, nix::mount::MsFlags::MS_BIND, none).unwrap();
    let said = world.berth(&["system", "check"]);
    assert!(said.out().contains("mount") && said.out().contains(place.to_str().unwrap()), "{said}");
    assert_eq!(mounts(&world), 1);
    world.berth(&["system", "check", "--repair"]);
    assert_eq!(mounts(&world), 0);
    assert!(!place.exists());
    assert_eq!(fs::read_to_string(source.join("file")).unwrap(), "data");
}

#[test]
fn a_restart_policy_holds_and_a_pause_where_it_can() {
    let world = World::new(Mode::Embedded);
    world.set("BERTH_PRETEND_WITHOUT", "mount-namespace");
    start(
        &world,
        &["--name", "again", "--restart", "on-failure:2", "-p", "8080:8000"],
        &format!("{} sleep 0.2; exit 3", daemons(&world)),
    );
    world.until_status("again", "exited");
    assert_eq!(world.inspect("again", "{{.RestartCount}} {{.State.ExitCode}}"), "2 3");
    assert_eq!(sleepers(&world), 0);
    assert_eq!(mounts(&world), 0);
    start(&world, &["--name", "still"], "exec sleep 1000");
    world.set("BERTH_PRETEND_WITHOUT", "mount-namespace,cgroup");
    start(&world, &["--name", "bare", "--memory", "32m"], "exec sleep 1000");
    world.berth(&["pause", "bare"]).refused(1, &["chroot", "cannot freeze"]);
    // Before Linux 4.7 RLIMIT_DATA does not hold for what mmap gives.
    let limited = if crate::support::kernel::is_at_least(4, 7) { "ulimit -d" } else { "ulimit -v" };
    let limit = world.berth(&["exec", "bare", "sh", "-c", limited]).ok().text();
    assert_eq!(limit, (32 * 1024).to_string());
    assert_eq!(
        world
            .berth(&["exec", "bare", "sh", "-c", "dd if=/dev/zero of=/dev/null bs=64M count=1 2>&1 | grep -c memory"])
            .text(),
        "1"
    );
}
