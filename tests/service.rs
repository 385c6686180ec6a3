//! A daemon as service managers have it: sockets that they opened, readiness, pid files, groups.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::call::Background;
use crate::support::{Mode, World, eventually, program};

/// systemd's part: opens a socket, and becomes the daemon with it as descriptor 3.
const MANAGER: &str = "import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')
os.execv(sys.argv[2], sys.argv[2:])
";

fn managed(world: &World, arguments: &[&str]) -> Background {
    std::fs::create_dir_all(world.socket().parent().unwrap()).unwrap();
    let mut command = Command::new("python3");
    world.surround(&mut command);
    command.args(["-c", MANAGER]).arg(world.socket()).arg(program()).args(arguments);
    Background::start(command)
}

#[test]
fn a_socket_that_was_passed_on_is_served_and_left_and_nobody_else_keeps_it() {
    let world = World::new(Mode::Embedded);
    let told = UnixDatagram::bind(world.path("notify")).unwrap();
    told.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    world.set("NOTIFY_SOCKET", &world.at("notify"));
    let said = || {
        let mut buffer = [0; 64];
        let length = told.recv(&mut buffer).expect("the daemon says how it is");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    for arguments in [&["serve"][..], &["serve", "--listen", "fd://"], &["-H", "fd://3", "serve"]] {
        let daemon = managed(&world, arguments);
        assert_eq!(said(), "READY=1");
        let host = format!("unix://{}", world.socket().display());
        let id = world.berth(&["-H", &host, "run", "-d", "--network", "none", "box", "sleep", "1000"]).ok().text();
        daemon.signal(Signal::SIGTERM);
        daemon.wait(Duration::from_secs(20)).ended(0);
        assert_eq!(said(), "STOPPING=1");
        assert!(world.socket().exists(), "the socket is its manager's to remove");
        assert_eq!(world.inspect(&id, "{{.State.Running}}"), "true");
        let refused = UnixStream::connect(world.socket()).expect_err("a monitor listens");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        std::fs::remove_file(world.socket()).unwrap();
    }
}

#[test]
fn what_was_not_passed_on_is_refused_by_name() {
    let world = World::bare(Mode::Embedded);
    world.berth(&["serve", "--listen", "fd://"]).refused(1, &["LISTEN_FDS"]);
    let ended = managed(&world, &["serve", "--listen", "fd://5"]).wait(Duration::from_secs(20));
    ended.refused(1, &["fd://5"]);
    // Sockets for another process are not this one's.
    let variables = [("LISTEN_PID", "1"), ("LISTEN_FDS", "1")];
    world.with(&variables, &["serve", "--listen", "fd://"]).refused(1, &["LISTEN_FDS"]);
}

#[test]
fn a_pid_file_tells_one_daemon_from_the_next_and_a_group_is_the_sockets() {
    let world = World::bare(Mode::Embedded);
    let pidfile = world.at("berth.pid");
    let serve = ["serve", "--pidfile", &pidfile, "--group", "4711"];
    std::fs::write(&pidfile, "1\n").unwrap();
    let first = world.background(&serve);
    eventually("the daemon listens", Duration::from_secs(20), || UnixStream::connect(world.socket()).is_ok());
    assert_eq!(std::fs::read_to_string(&pidfile).unwrap(), format!("{}\n", first.pid()));
    let socket = std::fs::metadata(world.socket()).unwrap();
    assert_eq!((socket.gid(), socket.permissions().mode() & 0o777), (4711, 0o660));
    let other = format!("unix://{}", world.at("other.sock"));
    let holder = format!("process {} runs already", first.pid());
    world.berth(&["serve", "--pidfile", &pidfile, "--listen", &other]).refused(1, &[&holder]);
    assert!(!world.path("other.sock").exists());

    first.signal(Signal::SIGKILL);
    first.wait(Duration::from_secs(20));
    let second = world.background(&serve);
    let own = format!("{}\n", second.pid());
    eventually("the next daemon has the file", Duration::from_secs(20), || {
        std::fs::read_to_string(&pidfile).is_ok_and(|text| text == own) && UnixStream::connect(world.socket()).is_ok()
    });
    second.signal(Signal::SIGTERM);
    second.wait(Duration::from_secs(20)).ended(0);
    assert!(!world.path("berth.pid").exists());
    world.berth(&["serve", "--group", "no-such-group"]).refused(1, &["no-such-group"]);
}
