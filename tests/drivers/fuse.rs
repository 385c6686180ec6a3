//! The union file system of our own: a container on it, and its server that dies.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::world;
use crate::support::World;
use crate::support::eventually;
use crate::support::host::{is_alive, processes};

/// The processes that serve this world's containers.
fn servers(world: &World) -> Vec<i32> {
    let folder = world.root().join("fuse");
    let serves = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|&byte| byte == 0);
        words.next() == Some(b"berth-fuse") && words.next() == Some(folder.as_os_str().as_encoded_bytes())
    };
    processes().into_iter().filter(serves).collect()
}

#[test]
fn a_container_lives_on_it_and_nothing_stays_when_it_ends() {
    let Some(world) = world("fuse") else { return };
    let script = "grep ' / ' /proc/mounts | cut -d' ' -f3; echo x >/new; rm /etc/group; mv /home /house; echo more >>/etc/passwd; \
                  mkdir -p /deep/er; ln /new /deep/er/link; stat -c %h /new; chmod 4711 /deep/er/link";
    let said = world.run(&["--name", "one", "box", "sh", "-c", script]).ok().text();
    assert_eq!(said, "fuse.berth\n2");
    eventually("the server has ended", Duration::from_secs(10), || servers(&world).is_empty());
    assert!(!std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains(world.root().to_str().unwrap()));
    let mut changes = world.berth(&["diff", "one"]).ok().lines();
    changes.sort();
    for change in ["A /new", "A /deep/er/link", "C /etc/passwd", "D /etc/group", "D /home", "A /house"] {
        assert!(changes.iter().any(|line| line == change), "{change} is missing: {changes:?}");
    }
    world.berth(&["commit", "one", "kept"]).ok();
    let seen = world.run(&[
        "--rm",
        "kept",
        "sh",
        "-c",
        "cat /deep/er/link; stat -c %h%a /new; ls -d /house; tail -n1 /etc/passwd",
    ]);
    assert_eq!(seen.ok().text(), "x\n24711\n/house\nmore");
    world.run(&["--rm", "kept", "sh", "-c", "test ! -e /etc/group && test ! -e /home"]).ok();
}

#[test]
fn a_killed_server_is_an_error_inside_and_what_was_synced_is_there_afterwards() {
    let Some(world) = world("fuse") else { return };
    let script = "[ -e /data ] && exec cat /data; echo precious >/data; sync /data || sync; echo ready; \
                  while cat /data >/dev/null; do sleep 0.1; done; echo broken; exit 5";
    let id = world.start(&["--name", "one"], script);
    eventually("it has written", Duration::from_secs(10), || world.berth(&["logs", "one"]).text() == "ready");
    let pids = servers(&world);
    assert_eq!(pids.len(), 1, "{pids:?}");
    kill(Pid::from_raw(pids[0]), Signal::SIGKILL).unwrap();
    world.until_status(&id, "exited");
    assert_ne!(world.inspect(&id, "{{.State.ExitCode}}"), "0");
    assert_eq!(world.berth(&["start", "-a", "one"]).ok().text(), "precious");
}

#[test]
fn its_server_is_neither_the_engines_nor_the_terminals() {
    let Some(world) = world("fuse") else { return };
    world.start(&["--name", "one"], "sleep 1000");
    let pids = servers(&world);
    assert_eq!(pids.len(), 1, "{pids:?}");
    let session = nix::unistd::getsid(Some(Pid::from_raw(pids[0]))).unwrap();
    assert_eq!(session.as_raw(), pids[0]);
    // What is inside and what looks in from outside go through the same one.
    world.berth(&["exec", "one", "sh", "-c", "echo inside >/both"]).ok();
    world.berth(&["cp", "one:/both", &world.at("out")]).ok();
    assert_eq!(std::fs::read_to_string(world.path("out")).unwrap(), "inside\n");
    assert_eq!(servers(&world), pids);
    world.berth(&["rm", "-f", "one"]).ok();
    eventually("the server has ended", Duration::from_secs(10), || !is_alive(pids[0]));
}

/// The same archive is the same layer, and the same tree, on either driver.
#[test]
fn an_image_is_the_same_as_on_another_driver() {
    let Some(fuse) = world("fuse") else { return };
    let Some(other) = world("overlay") else { return };
    let id = |world: &World| world.inspect("box", "{{.RootFS.Layers}}");
    assert_eq!(id(&fuse), id(&other));
    let script = "rm -r /etc/init.d /root 2>/dev/null; mkdir /root; touch -d '2020-01-01 00:00:00' /root /etc /; echo x >/root/f; \
                  touch -d '2020-01-01 00:00:00' /root/f /root /etc /";
    for world in [&fuse, &other] {
        world.run(&["--name", "one", "--network", "none", "box", "sh", "-c", script]).ok();
        world.berth(&["commit", "one", "kept"]).ok();
    }
    let layers = |world: &World| world.inspect("kept", "{{.RootFS.Layers}}");
    assert_eq!(layers(&fuse), layers(&other));
}

/// Nobody waits for a server that is gone: a start ends with an error, or the program does, and nothing stays.
#[test]
fn a_server_that_is_killed_during_a_start_keeps_nobody() {
    let Some(world) = world("fuse") else { return };
    for round in 0..20 {
        let name = format!("try{round}");
        let mut command = world.command();
        command.args(["run", "--rm", "--network", "none", "--name", &name, "box", "true"]);
        let mut run = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while run.try_wait().unwrap().is_none() {
            if let Some(&pid) = servers(&world).first() {
                std::thread::sleep(Duration::from_micros(400 * round));
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                break;
            }
        }
        eventually("the start has ended", Duration::from_secs(20), || run.try_wait().unwrap().is_some());
        eventually("nothing is left", Duration::from_secs(10), || {
            servers(&world).is_empty() && world.berth(&["ps", "-aq"]).ok().out().is_empty()
        });
    }
}
