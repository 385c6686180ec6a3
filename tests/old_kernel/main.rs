//! `old-kernel PROFILE [--as NAME] PROGRAM [ARGUMENT...]` runs a program, and all that it starts, on an older kernel.
//!
//! A seccomp filter answers what that kernel would have: system calls that came later are not implemented, flags that came
//! later are invalid. What a filter cannot tell from numbers (paths, names of file systems, structures) it leaves to a small
//! process beside, which also answers uname(2). Nothing of the program under test is linked in but its tables of system call
//! numbers. What came when is data: the files in `since`.
//!
//! The file may be owned by root and marked set-user-ID: the filter is put in force with root's rights, and the program runs
//! as the caller.
#![allow(
    clippy::unnecessary_cast,
    clippy::useless_conversion,
    reason = "the types of libc differ between architectures"
)]

mod answers;
mod exchange;
mod filter;
mod memory;
mod paths;
mod profiles;
mod since;
mod supervise;

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use profiles::Profile;

fn main() -> ExitCode {
    let mut arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let word = |index: usize| arguments.get(index).and_then(|word: &std::ffi::OsString| word.to_str());
    let (first, second) = (word(0).map(str::to_owned), word(1).map(str::to_owned));
    match (first.as_deref(), second.as_deref()) {
        (Some("list"), None) => {
            profiles::ALL.iter().for_each(|profile| println!("{:8} {}", profile.name, profile.about));
            ExitCode::SUCCESS
        }
        (Some(supervise::WORD), Some(name)) => match Profile::find(name) {
            Some(profile) => supervise::run(profile),
            None => ExitCode::from(2),
        },
        (Some(name), Some(second)) => {
            let Some(profile) = Profile::find(name) else {
                let names: Vec<_> = profiles::ALL.iter().map(|profile| profile.name).collect();
                eprintln!("old-kernel: no profile {name}; there are {}", names.join(", "));
                return ExitCode::from(2);
            };
            let shown = (second == "--as" && arguments.len() > 3).then(|| arguments[2].clone());
            let from = if shown.is_some() { 3 } else { 1 };
            start(profile, shown, arguments.split_off(from))
        }
        _ => {
            eprintln!("usage: old-kernel PROFILE [--as NAME] PROGRAM [ARGUMENT...] | old-kernel list");
            ExitCode::from(2)
        }
    }
}

/// Becomes the program, under the filter. `shown` is its `argv[0]`.
fn start(profile: &'static Profile, shown: Option<std::ffi::OsString>, line: Vec<std::ffi::OsString>) -> ExitCode {
    if let Err(error) = exchange::put_in_force(profile) {
        eprintln!("old-kernel: put the filter in force: {error} (it takes root and Linux 5.19)");
        return ExitCode::from(2);
    }
    let mut command = Command::new(&line[0]);
    if let Some(shown) = shown {
        command.arg0(shown);
    }
    let error = command.args(&line[1..]).exec();
    eprintln!("old-kernel: {}: {error}", line[0].display());
    ExitCode::from(if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 })
}
