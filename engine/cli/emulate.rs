//! Starting a program of another machine by its interpreter, where the kernel has none registered: what the kernel does
//! with a program's name is done here.
//!
//! Reached by `argv[0]` = `berth-emulate`; this program's file and QEMU's are bound read-only into the container.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use berth_arch::emulation::{self, Machine};

/// Where the interpreter is bound.
const QEMU: &str = "/sbin/berth-qemu";
/// The kernel's: a script whose interpreter is a script, and so on.
const SCRIPTS: usize = 5;
/// The kernel's limit of a script's first line (BINPRM_BUF_SIZE).
const FIRST_LINE: u64 = 256;

pub(crate) fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let command: Vec<OsString> = arguments.collect();
    let Some(name) = command.first().cloned() else {
        eprintln!("berth-emulate: no program to run");
        return ExitCode::from(127);
    };
    let error = find(&name).and_then(|path| start(path, command));
    let error = error.err().unwrap_or_else(|| ErrorKind::Other.into());
    eprintln!("berth-emulate: exec {}: {error}", name.display());
    ExitCode::from(if error.kind() == ErrorKind::NotFound { 127 } else { 126 })
}

/// As execvp(3) finds it.
fn find(name: &OsStr) -> io::Result<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Ok(name.into());
    }
    let missing = || io::Error::new(ErrorKind::NotFound, "executable file not found in $PATH");
    let path = std::env::var_os("PATH").ok_or_else(missing)?;
    let runs =
        |path: &PathBuf| path.is_file() && rustix::fs::access(path.as_path(), rustix::fs::Access::EXEC_OK).is_ok();
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(runs).ok_or_else(missing)
}

/// Comes back only with an error.
fn start(mut path: PathBuf, mut command: Vec<OsString>) -> io::Result<()> {
    for _ in 0..SCRIPTS {
        let mut first = Vec::new();
        File::open(&path)?.take(FIRST_LINE).read_to_end(&mut first)?;
        rustix::fs::access(&path, rustix::fs::Access::EXEC_OK)?;
        match script(&first) {
            Some((interpreter, argument)) => {
                command[0] = path.into();
                command.splice(0..0, std::iter::once(interpreter.clone().into()).chain(argument));
                path = interpreter;
            }
            None => return Err(exec(&path, &command, Machine::of_program(&first))),
        }
    }
    Err(rustix::io::Errno::LOOP.into())
}

/// `#!INTERPRETER [ARGUMENT]`; the argument is the line's rest, spaces and all.
fn script(first: &[u8]) -> Option<(PathBuf, Option<OsString>)> {
    let line = first.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?.trim_ascii();
    let end = line.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(line.len());
    let text = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
    let argument = line[end..].trim_ascii_start();
    (end > 0).then(|| (text(&line[..end]).into(), (!argument.is_empty()).then(|| text(argument))))
}

fn exec(path: &Path, command: &[OsString], machine: Option<&Machine>) -> io::Error {
    let name = &command[0];
    match machine {
        Some(machine) if machine.architecture == emulation::own() => {
            Command::new(path).arg0(name).args(&command[1..]).exec()
        }
        Some(_) => Command::new(QEMU).arg("-0").arg(name).arg(path).args(&command[1..]).exec(),
        None => rustix::io::Errno::NOEXEC.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_read_as_the_kernel_reads_them() {
        let of = |text: &str| {
            script(text.as_bytes()).map(|(path, argument)| {
                (path.to_str().unwrap().to_owned(), argument.map(|argument| argument.into_string().unwrap()))
            })
        };
        assert_eq!(of("#!/bin/sh\necho"), Some(("/bin/sh".to_owned(), None)));
        assert_eq!(of("#! /usr/bin/env -S a b \n"), Some(("/usr/bin/env".to_owned(), Some("-S a b".to_owned()))));
        assert_eq!(of("#!\n"), None);
        assert_eq!(of("\x7fELF"), None);
    }

    #[test]
    fn names_without_a_slash_are_looked_for() {
        assert!(find(OsStr::new("sh")).unwrap().is_absolute());
        assert_eq!(find(OsStr::new("./x")).unwrap(), Path::new("./x"));
        assert_eq!(find(OsStr::new("no-such-program")).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
