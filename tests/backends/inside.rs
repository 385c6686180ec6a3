//! What this very program does inside of containers, where it is bound into them: each part is an ignored test, and does
//! nothing unless the environment asks for it.
#![allow(unsafe_code)]

use std::net::UdpSocket;

/// Where it is inside.
const PLACE: &str = "/inside";

/// For `-v`.
pub(super) fn volume() -> String {
    format!("{}:{PLACE}:ro", std::env::current_exe().unwrap().display())
}

/// The shell's words for a part.
pub(super) fn command(part: &str, variable: &str) -> String {
    format!("env {variable} {PLACE} --ignored --exact backends::inside::{part}")
}

/// busybox has no server of datagrams.
#[test]
#[ignore = "this program's part inside a container"]
fn answers_datagrams() {
    let Ok(port) = std::env::var("ANSWER") else { return };
    let socket = UdpSocket::bind(format!("0.0.0.0:{port}")).unwrap();
    let mut buffer = [0; 2048];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let _ = socket.send_to(&buffer[..length], from);
    }
}

/// A shell that cannot fork ends; this goes on.
#[test]
#[ignore = "this program's part inside a container"]
fn forks_for_ever() {
    if std::env::var_os("BOMB").is_none() {
        return;
    }
    loop {
        // SAFETY: the copy has one thread and does nothing but this call.
        let _ = unsafe { nix::unistd::fork() };
    }
}
