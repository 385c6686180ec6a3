//! The one program. Which role it plays is decided here, before a runtime or a logger is started: a container's
//! monitor, the server of its file system, an init inside it, what LXC starts in one, what keeps an ordinary user's
//! namespaces, an OCI runtime for other engines, or the command line,
//! which is a client of the HTTP API.
//!
//! `commands/` has one file a verb, `options/` what several verbs take, `streams/` terminals and attached streams,
//! `output/` tables and templates.

mod commands;
mod hello;
mod init;
mod options;
mod output;
mod registry;
mod session;
mod streams;
mod sys;

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    sys::share_the_heap();
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    match Path::new(&name).file_name().and_then(OsStr::to_str) {
        Some("berth-monitor") => berth_monitor::main(arguments),
        Some(berth_fs_drivers::fuse::ROLE) => berth_fs_drivers::fuse::main(arguments),
        Some("docker-init") => init::main(arguments),
        Some(berth_rootless::ROLE) => berth_rootless::main(arguments),
        Some(berth_oci::ROLE) => berth_oci::main(arguments),
        _ => match arguments.next() {
            Some(word) if word == "oci" => berth_oci::main(arguments),
            Some(word) if word == berth_backends::lxc::ROLE => berth_backends::lxc::main(),
            _ => commands::main(),
        },
    }
}
