//! The kernel that the program under test sees: the one that runs, or an older one (`BERTH_TEST_KERNEL`, a profile of
//! `old_kernel`). Only the program and what it starts see it; the tests and their tools do not.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{program, skip};

/// What puts programs on an older kernel.
const LAUNCHER: &str = env!("CARGO_BIN_EXE_old-kernel");

pub(crate) fn profile() -> Option<String> {
    std::env::var("BERTH_TEST_KERNEL").ok().filter(|name| !name.is_empty())
}

/// As uname(2) says it.
pub(crate) fn release() -> String {
    let said = command(None, Path::new("/bin/uname")).arg("-r").output().expect("uname (coreutils)");
    String::from_utf8_lossy(&said.stdout).trim().to_owned()
}

pub(crate) fn is_at_least(major: u32, minor: u32) -> bool {
    let release = release();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}

/// Whether that kernel is older than the one that brought `what`: then the test does not run, and says so.
pub(crate) fn lacks(what: &str, (major, minor): (u32, u32)) -> bool {
    let lacks = !is_at_least(major, minor);
    if lacks {
        skip(&format!("there is no {what} (Linux {major}.{minor})"));
    }
    lacks
}

/// A field of /proc/self/status as a program outside of containers has it, on the kernel that berth sees. None: it has none.
pub(crate) fn status(field: &str) -> Option<String> {
    let said = command(None, Path::new("/bin/cat")).arg("/proc/self/status").output().expect("cat (coreutils)");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    text.lines().find_map(|line| Some(line.strip_prefix(field)?.trim().to_owned()))
}

/// Whether there is such a file for programs on that kernel.
pub(crate) fn shows(path: &str) -> bool {
    let mut command = command(None, Path::new("/usr/bin/test"));
    command.args(["-e", path]).status().expect("test (coreutils)").success()
}

/// A call of `program`, by `launcher` where an older kernel was asked for.
fn words(launcher: &Path, program: &Path) -> Vec<OsString> {
    match profile() {
        Some(profile) => vec![launcher.into(), profile.into(), program.into()],
        None => vec![program.into()],
    }
}

/// How `program` is called, with arguments to come.
pub(crate) fn command(launcher: Option<&Path>, program: &Path) -> Command {
    let words = words(launcher.unwrap_or(Path::new(LAUNCHER)), program);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

/// Makes the program under test callable at `path`, whose last name is what it sees itself called.
pub(crate) fn install(launcher: Option<&Path>, path: &Path) {
    let Some(profile) = profile() else {
        return symlink(program(), path).expect("link the program");
    };
    let launcher = launcher.unwrap_or(Path::new(LAUNCHER)).display();
    let script = format!("#!/bin/sh\nexec '{launcher}' '{profile}' --as \"$0\" '{}' \"$@\"\n", program().display());
    fs::write(path, script)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
        .expect("a script");
}

/// The launcher for somebody who is not root: filters are put in force by root's right, so that what is executed later can
/// still get rights (newuidmap).
pub(crate) fn launcher_for_users(folder: &Path) -> Option<PathBuf> {
    profile()?;
    let own = folder.join("old-kernel");
    // By another process: what this one starts meanwhile would have it open for writing, and it could not be executed.
    let copied = Command::new("cp").args([LAUNCHER.as_ref(), own.as_os_str()]).status().expect("cp (coreutils)");
    assert!(copied.success());
    fs::set_permissions(&own, fs::Permissions::from_mode(0o4755)).expect("the launcher's mode");
    Some(own)
}
