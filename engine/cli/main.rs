//! The one program. Which role it plays is decided here, before a runtime or a logger is started: a container's
//! monitor, the server of its file system, an init inside it, what starts a foreign program there, what LXC starts in one, what keeps an ordinary user's
//! namespaces, an OCI runtime for other engines, or the command line,
//! which is a client of the HTTP API.
//!
//! `commands/` has one file a verb, `options/` what several verbs take, `completion/` what shells
//! offer, `streams/` terminals and attached streams,
//! `output/` tables and templates.

mod built;
mod commands;
mod completion;
mod emulate;
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
    let role = Path::new(&name).file_name().and_then(OsStr::to_str);
    // Inside a container its user has chosen what its filter answers.
    if !matches!(role, Some("docker-init" | "berth-emulate")) {
        berth_arch::kernel::misleading::hide();
    }
    match role {
        Some("berth-monitor") => berth_monitor::main(arguments),
        Some(berth_fs_drivers::fuse::ROLE) => berth_fs_drivers::fuse::main(arguments),
        Some("docker-init") => init::main(arguments),
        Some("berth-emulate") => emulate::main(arguments),
        Some(berth_rootless::ROLE) => berth_rootless::main(arguments),
        Some(berth_oci::ROLE) => berth_oci::main(arguments),
        _ => match arguments.next() {
            Some(word) if word == "oci" => berth_oci::main(arguments),
            Some(word) if word == "__complete" => commands::completion::main(arguments, true),
            Some(word) if word == "__completeNoDesc" => commands::completion::main(arguments, false),
            Some(word) if word == berth_backends::lxc::ROLE => berth_backends::lxc::main(),
            _ => commands::main(),
        },
    }
}
