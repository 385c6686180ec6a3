//! The OCI runtime command line over berth's isolation backends, as runc and crun have it: what Podman, containerd and
//! Docker call for each container.
//!
//! `verbs/` has one file a verb. `bundle.rs` reads what is to be made, `container.rs` finds what was made, `foreground.rs`
//! stays with a program until it ends. There is no process of berth's own beside a container: what is known about it
//! is in its folder below the root. Depends on `backends` and on `store` for locks and files, never on the engine.

mod bundle;
mod console;
mod container;
mod descriptors;
mod foreground;
mod log;
mod process;
mod root;
mod verbs;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use berth_arch::message::chain;
use clap::Parser;

use crate::descriptors::Preserved;
use crate::log::{Log, LogFormat};
use crate::root::Root;
use crate::verbs::Verb;

/// The role's name: `argv[0]` of the program.
pub const ROLE: &str = "berth-oci";

/// The newest runtime specification that is followed.
const SPEC_VERSION: &str = "1.2.1";

#[derive(Parser)]
#[command(
    name = ROLE,
    version = concat!("version ", env!("CARGO_PKG_VERSION"), "\nspec: 1.2.1"),
    about = "An OCI runtime: makes containers out of bundles",
    max_term_width = 100
)]
struct Arguments {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Args)]
struct Globals {
    /// Folder for the containers' states
    #[arg(long, value_name = "FOLDER")]
    root: Option<PathBuf>,
    /// File to which errors and warnings are appended
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// How the log is written
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
    /// Say more
    #[arg(long)]
    debug: bool,
    /// Take cgroupsPath in systemd's form, slice:prefix:name
    #[arg(long)]
    systemd_cgroup: bool,
    /// Whether a container may be without control groups where they cannot be written
    #[arg(long, value_name = "BOOL|auto", default_value = "auto", value_parser = ["true", "false", "auto"])]
    rootless: String,
    /// The criu that makes checkpoints [default: BERTH_CRIU, or the one that is installed]
    #[arg(long, value_name = "FILE")]
    criu: Option<PathBuf>,
    /// Isolation backend
    #[arg(long, value_name = "NAME", default_value = "auto")]
    isolation: String,
}

/// What every verb has.
struct Context {
    root: Root,
    log: Log,
    systemd_cgroup: bool,
    needs_cgroups: bool,
    isolation: String,
    criu: Option<PathBuf>,
}

/// The role of the program. `arguments` are those after `argv[0]` (and after `oci`).
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = std::iter::once(ROLE.into()).chain(arguments).collect();
    let parsed = match Arguments::try_parse_from(&arguments) {
        Ok(parsed) => parsed,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    let Arguments { globals, verb } = parsed;
    let protected = if verb.runs_programs() { root::protect(&arguments) } else { Ok(()) };
    // Before anything else is opened: what is missing must not be something of ours.
    let preserved = Preserved::take(verb.preserve_fds());
    let log = Log::new(globals.log, globals.log_format, globals.debug);
    if let Err(error) = protected {
        log.warn(format_args!("{}", chain(error.as_ref())));
    }
    let context = Context {
        root: Root::new(globals.root),
        log,
        systemd_cgroup: globals.systemd_cgroup,
        needs_cgroups: globals.rootless == "false",
        isolation: globals.isolation,
        criu: globals
            .criu
            .or_else(|| std::env::var_os("BERTH_CRIU").filter(|path| !path.is_empty()).map(PathBuf::from)),
    };
    match preserved.and_then(|preserved| verb.act(&context, preserved)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            context.log.error(format_args!("{}", chain(error.as_ref())));
            ExitCode::FAILURE
        }
    }
}
