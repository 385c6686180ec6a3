//! An agent that decides about system calls of a container: seccomp's notify action.
#![allow(unsafe_code)]

use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use nix::libc;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};

use super::Oci;
use crate::support::{kernel, skip};

/// `struct seccomp_notif` and `struct seccomp_notif_resp` of linux/seccomp.h, in words.
type Request = [u64; 10];
type Answer = [u64; 3];
const RECEIVE: libc::c_ulong = 0xc050_2100;
const SEND: libc::c_ulong = 0xc018_2101;
/// The first half of an answer's third word, on the machines that these tests run on.
const REFUSED: i32 = -libc::EXDEV;

/// What an agent is told with its end.
fn taken(listener: &UnixListener) -> (Value, OwnedFd) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut bytes = vec![0; 65536];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let count = recvmsg(&stream, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::empty()).unwrap().bytes;
    bytes.truncate(count);
    stream.read_to_end(&mut bytes).unwrap();
    let end = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    (serde_json::from_slice(&bytes).unwrap(), end.expect("the agent's end"))
}

/// Refuses the next call with EXDEV.
fn refuse_one(end: &OwnedFd) {
    let mut request: Request = [0; 10];
    // SAFETY: the kernel writes one request, which is as long.
    let asked = unsafe { libc::ioctl(end.as_raw_fd(), RECEIVE as _, request.as_mut_ptr()) };
    assert_eq!(asked, 0, "{}", std::io::Error::last_os_error());
    let mut answer: Answer = [request[0], 0, u64::from(REFUSED as u32)];
    // SAFETY: the kernel reads one answer, which is as long.
    let told = unsafe { libc::ioctl(end.as_raw_fd(), SEND as _, answer.as_mut_ptr()) };
    assert_eq!(told, 0, "{}", std::io::Error::last_os_error());
}

fn watched(oci: &Oci, config: &mut Value) {
    config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": oci.world.path("agent"),
        "listenerMetadata": "of the test",
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY" }]
    });
}

#[test]
fn an_agent_decides_about_calls() {
    if kernel::profile().is_some() {
        return skip("a tree of processes has one agent, which is the older kernel's here");
    }
    let oci = Oci::new();
    let listener = UnixListener::bind(oci.world.path("agent")).unwrap();
    let script = "busybox mkdir /shared/made 2>/shared/said; echo >> /shared/said; sleep 1000";
    std::thread::scope(|scope| {
        let agent = scope.spawn(|| {
            let (told, end) = taken(&listener);
            refuse_one(&end);
            (told, end)
        });
        oci.started("watched", script, |config| watched(&oci, config));
        let (told, _end) = agent.join().unwrap();
        let state = oci.state("watched");
        assert_eq!((&told["fds"], &told["metadata"]), (&json!(["seccompFd"]), &json!("of the test")));
        assert_eq!((&told["pid"], &told["state"]["pid"]), (&state["pid"], &state["pid"]));
        assert_eq!((&told["state"]["id"], &told["state"]["bundle"]), (&json!("watched"), &state["bundle"]));
        assert!(oci.until_shared("said").contains("Invalid cross-device link"));

        // A further program has an end of its own.
        let agent = scope.spawn(|| {
            let (told, end) = taken(&listener);
            refuse_one(&end);
            told
        });
        oci.call(&["exec", "watched", "busybox", "mkdir", "/other"]).refused(1, &["Invalid cross-device link"]);
        let told = agent.join().unwrap();
        assert_eq!(told["state"]["pid"], state["pid"]);
        assert_ne!(told["pid"], state["pid"]);
    });
}

#[test]
fn an_agent_that_is_not_there_is_said_and_nothing_runs() {
    if kernel::lacks("seccomp filters", (3, 5)) {
        return;
    }
    let oci = Oci::new();
    oci.created("alone", "touch /shared/ran; sleep 1000", |config| watched(&oci, config));
    let start = oci.call(&["start", "alone"]);
    // An older kernel has no agents; what is around berth, on the kernel that it has, may.
    start.refused(1, &["seccomp agent", if kernel::is_at_least(5, 0) { "/agent" } else { "5.0" }]);
    oci.until_status("alone", "stopped");
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(oci.shared("ran"), None);
    oci.run("none", "true", |config| {
        watched(&oci, config);
        config["linux"]["seccomp"].as_object_mut().unwrap().remove("listenerPath");
    })
    .refused(1, &["listenerPath"]);
}
