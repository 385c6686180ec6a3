//! A test as root of a user namespace, which an ordinary user has made, and in which he has numbers of his own.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// Nobody's, and the numbers that he was given.
const USER: u32 = 4242;
const FIRST: u32 = 200_000;
const COUNT: u32 = 65_536;

/// Runs the test of this name there; its exit code.
pub(crate) fn run(name: &str) -> ExitCode {
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let ((made, make), (mapped, map)) = (pipe(), pipe());
    let child = crate::raw::fork(|| {
        crate::raw::become_user(USER);
        crate::raw::own_users();
        rustix::io::write(&make, b"m").unwrap();
        assert_eq!(rustix::io::read(&mapped, &mut [0; 1]).unwrap(), 1);
        let error = Command::new(std::env::current_exe().unwrap()).args([crate::WORKER, name]).exec();
        panic!("execute the test: {error}");
    });
    drop(make);
    assert_eq!(rustix::io::read(&made, &mut [0; 1]).unwrap(), 1, "a user namespace");
    for file in ["gid_map", "uid_map"] {
        let lines = format!("0 {USER} 1\n1 {FIRST} {COUNT}\n");
        std::fs::write(format!("/proc/{child}/{file}"), lines).unwrap();
    }
    rustix::io::write(&map, b"m").unwrap();
    let status = berth_arch::process::wait(child).unwrap();
    if libc::WIFEXITED(status) { ExitCode::from(libc::WEXITSTATUS(status) as u8) } else { ExitCode::FAILURE }
}
