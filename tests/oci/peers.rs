//! Engines of others that call berth as their runtime: Podman with conmon, and Docker's daemon with containerd.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::Oci;
use crate::support::call::{Background, call};
use crate::support::criu::criu;
use crate::support::screen::Screen;
use crate::support::world::LIMIT;
use crate::support::{Outcome, eventually, find_program, kernel, skip};

/// A peer's command line, and what it makes a container of.
struct Peer<'a> {
    oci: &'a Oci,
    line: Vec<String>,
    /// Arguments of `run` that name the runtime and no network.
    run: Vec<String>,
    image: Vec<String>,
}

impl Peer<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.line[0]);
        self.oci.world.surround(&mut command);
        command.args(&self.line[1..]).args(arguments);
        command
    }

    fn call(&self, arguments: &[&str]) -> Outcome {
        call(self.command(arguments), &[], LIMIT)
    }

    fn run_line<'s>(&'s self, flags: &[&'s str], program: &[&'s str]) -> Vec<&'s str> {
        let own = self.run.iter().map(String::as_str);
        let image = self.image.iter().map(String::as_str);
        ["run"]
            .into_iter()
            .chain(own)
            .chain(flags.iter().copied())
            .chain(image)
            .chain(program.iter().copied())
            .collect()
    }

    fn run(&self, flags: &[&str], program: &[&str]) -> Outcome {
        self.call(&self.run_line(flags, program))
    }
}

/// The same whoever calls.
fn works(peer: &Peer<'_>) {
    assert_eq!(peer.run(&["--rm"], &["echo", "hello"]).ok().text(), "hello");
    peer.run(&["--rm"], &["sh", "-c", "exit 42"]).ended(42);
    peer.run(&["--rm"], &["no-such-program"]).refused(127, &["executable file not found in $PATH"]);
    peer.run(&["--rm"], &["/etc"]).refused(126, &["permission denied"]);
    let said =
        peer.run(&["--rm", "--user", "7:8", "--cap-drop", "ALL", "--read-only"], &["sh", "-c", "id -u; touch /x"]);
    assert_eq!(said.out(), "7\n");
    said.refused(1, &["Read-only file system"]);

    let script = "trap 'exit 3' TERM; echo started; while :; do sleep 0.1; done";
    peer.run(&["-d", "--name", "one", "--memory", "100m", "--pids-limit", "50"], &["sh", "-c", script]).ok();
    eventually("it is started", LIMIT, || peer.call(&["logs", "one"]).ok().text() == "started");
    peer.call(&["exec", "one", "sh", "-c", "exit 4"]).ended(4);
    assert_eq!(peer.call(&["exec", "--user", "5", "one", "id", "-u"]).ok().text(), "5");
    let mut screen = Screen::start(&peer.oci.world, &peer.command(&["exec", "-it", "one", "sh"]), 80, 25);
    screen.line("stty size; tty");
    screen.expect("/dev/pts/");
    screen.line("exit 9");
    assert_eq!(screen.end(), 9);
    let stats = peer.call(&["stats", "--no-stream", "one"]).ok().out();
    assert!(stats.contains("one") && stats.contains('%'), "{stats}");
    assert!(peer.call(&["top", "one"]).ok().out().contains("trap"));
    let status = || peer.call(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "one"]).ok().text();
    peer.call(&["pause", "one"]).ok();
    assert_eq!(status(), "paused 0");
    peer.call(&["unpause", "one"]).ok();
    peer.call(&["stop", "-t", "10", "one"]).ok();
    assert_eq!(status(), "exited 3");
    peer.call(&["start", "one"]).ok();
    peer.call(&["kill", "one"]).ok();
    eventually("it is killed", LIMIT, || status() == "exited 137");
    peer.call(&["rm", "one"]).ok();

    let line = peer.run_line(&["--rm", "-it"], &["sh", "-c", "tty; read line; echo got $line; exit 6"]);
    let mut screen = Screen::start(&peer.oci.world, &peer.command(&line), 80, 25);
    screen.expect("/dev/pts/0");
    screen.line("typed");
    screen.expect("got typed");
    assert_eq!(screen.end(), 6);
}

/// The program by its runtime's name.
fn runtime(oci: &Oci) -> String {
    let link = oci.world.path("berth-oci");
    kernel::install(None, &link);
    link.to_str().unwrap().to_owned()
}

#[test]
fn podman_runs_containers() {
    if kernel::lacks("seccomp filters", (3, 5)) {
        return;
    }
    if find_program("podman").is_none() || find_program("conmon").is_none() {
        return skip("there is no podman with conmon here");
    }
    let oci = Oci::new();
    let folder = oci.bundle("image", "true", |_| {});
    let peer = podman(&oci, &folder);
    works(&peer);
    assert_eq!(peer.call(&["ps", "-aq"]).ok().out(), "");
}

/// With folders of its own, and containers of a bundle's root.
fn podman<'a>(oci: &'a Oci, folder: &str) -> Peer<'a> {
    let runtime = runtime(oci);
    let at = |name: &str| oci.world.at(name);
    let line = [
        "podman",
        "--root",
        &at("storage"),
        "--runroot",
        &at("run"),
        "--tmpdir",
        &at("tmp"),
        "--storage-driver",
        "vfs",
        "--cgroup-manager",
        "cgroupfs",
        "--events-backend",
        "file",
        "--runtime",
        &runtime,
    ];
    Peer {
        oci,
        line: line.map(str::to_owned).to_vec(),
        run: ["--network", "none"].map(str::to_owned).to_vec(),
        image: vec!["--rootfs".to_owned(), format!("{folder}/rootfs")],
    }
}

#[test]
fn podman_makes_checkpoints() {
    if find_program("podman").is_none() || find_program("conmon").is_none() {
        return skip("there is no podman with conmon here");
    }
    let Some(path) = criu() else { return };
    let oci = Oci::new();
    // Podman looks for it on the PATH, too.
    let programs = oci.world.path("programs");
    fs::create_dir(&programs).unwrap();
    std::os::unix::fs::symlink(path, programs.join("criu")).unwrap();
    let others = std::env::var("PATH").unwrap();
    oci.world.set("PATH", &format!("{}:{others}", programs.display()));
    let script = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done";
    let folder = oci.bundle("image", "true", |_| {});
    let peer = podman(&oci, &folder);
    peer.run(&["-d", "--name", "counter"], &["sh", "-c", script]).ok();
    let lines = || peer.call(&["logs", "counter"]).ok().lines();
    eventually("it counts", LIMIT, || lines().len() > 2);
    peer.call(&["container", "checkpoint", "--leave-running", "counter"]).ok();
    peer.call(&["container", "checkpoint", "counter"]).ok();
    let before = lines();
    peer.call(&["container", "restore", "counter"]).ok();
    eventually("it counts on", LIMIT, || lines().len() > before.len() + 2);
    let after = lines();
    assert!(after.iter().enumerate().all(|(index, line)| *line == (index + 1).to_string()), "{after:?}");
    peer.call(&["exec", "counter", "true"]).ok();
    peer.call(&["rm", "-f", "-t", "0", "counter"]).ok();
}

/// A daemon of the test's own.
struct Daemon(Option<Background>);

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(daemon) = self.0.take() {
            daemon.signal(Signal::SIGTERM);
            drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| daemon.wait(Duration::from_secs(30)))));
        }
    }
}

#[test]
fn docker_runs_containers() {
    if kernel::lacks("ip_unprivileged_port_start, which Docker sets", (4, 11)) {
        return;
    }
    if ["dockerd", "docker", "containerd"].iter().any(|name| find_program(name).is_none()) {
        return skip("there is no dockerd with containerd here");
    }
    let oci = Oci::new();
    let folder = oci.bundle("image", "true", |_| {});
    let runtime = format!("berth={}", runtime(&oci));
    let at = |name: &str| oci.world.at(name);
    let socket = at("docker.sock");
    let mut command = Command::new("dockerd");
    oci.world.surround(&mut command);
    command.args(["--data-root", &at("docker"), "--exec-root", &at("docker-run"), "--pidfile", &at("docker.pid")]);
    command.args(["-H", &format!("unix://{socket}"), "--iptables=false", "--ip6tables=false", "--bridge", "none"]);
    command.args(["--storage-driver", "vfs", "--add-runtime", &runtime]);
    let _daemon = Daemon(Some(Background::start(command)));
    eventually("the daemon listens", LIMIT, || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    let peer = Peer {
        oci: &oci,
        line: ["docker", "-H", &format!("unix://{socket}")].map(str::to_owned).to_vec(),
        run: ["--runtime", "berth", "--network", "none"].map(str::to_owned).to_vec(),
        image: vec!["box".to_owned()],
    };
    let tarball: PathBuf = oci.world.path("image.tar");
    let packed =
        Command::new("tar").arg("-C").arg(format!("{folder}/rootfs")).arg("-cf").arg(&tarball).arg(".").status();
    assert!(packed.unwrap().success());
    peer.call(&["import", tarball.to_str().unwrap(), "box"]).ok();
    fs::remove_file(tarball).unwrap();
    works(&peer);
    assert_eq!(peer.call(&["ps", "-aq"]).ok().out(), "");
}
