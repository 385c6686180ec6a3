//! The verbs. One file each holds its arguments and its action; the tables here say what it is called.
//!
//! Docker has two names for most things (`berth ps` and `berth container ls`); both stand in the tables. A verb's
//! arguments are only built when it is the one that was typed.

mod attach;
mod check;
mod commit;
mod cp;
mod create;
mod df;
mod diff;
mod each;
mod ending;
mod events;
mod exec;
mod export;
mod hello;
mod history;
mod images;
mod import;
mod info;
mod inspect;
mod kill;
mod login;
mod logs;
mod manifest;
mod network;
mod pause;
mod port;
mod prune;
mod ps;
mod pull;
mod reap;
mod rename;
mod rm;
mod rmi;
mod run;
mod serve;
mod start;
mod stats;
mod stop;
mod storage;
mod top;
mod unpause;
mod update;
mod version;
mod volume;
mod wait;

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;

use clap::{ArgAction, ArgMatches, Command, FromArgMatches};

pub(crate) use self::ending::Exit;
use self::ending::{code_of_usage, finish};
use crate::session::{Globals, Session};

/// What a verb does. The value is the process's exit code.
pub(crate) trait Act: clap::Args + 'static {
    /// Runs without an engine (no session is opened).
    const LOCAL: bool = false;

    fn act(self, session: Session) -> impl Future<Output = anyhow::Result<u8>>;

    /// The same for a verb that is [`Act::LOCAL`].
    fn act_locally(self, _globals: Globals) -> anyhow::Result<u8> {
        unreachable!("only called for local verbs")
    }
}

type Action = Pin<Box<dyn Future<Output = anyhow::Result<u8>>>>;

/// A name for something to do.
pub(crate) struct Verb {
    name: &'static str,
    aliases: &'static [&'static str],
    about: &'static str,
    define: fn(Command) -> Command,
    act: fn(&ArgMatches, Session) -> Action,
    local: Option<fn(&ArgMatches, Globals) -> anyhow::Result<u8>>,
}

const fn verb<A: Act>(name: &'static str, aliases: &'static [&'static str], about: &'static str) -> Verb {
    Verb {
        name,
        aliases,
        about,
        define: |command| docker_flags(A::augment_args(command)),
        act: |matches, session| match A::from_arg_matches(matches) {
            Ok(arguments) => Box::pin(arguments.act(session)),
            Err(error) => error.exit(),
        },
        local: if A::LOCAL {
            Some(|matches, globals| match A::from_arg_matches(matches) {
                Ok(arguments) => arguments.act_locally(globals),
                Err(error) => error.exit(),
            })
        } else {
            None
        },
    }
}

const RUN: Verb = verb::<run::Run>("run", &[], "Create and run a new container from an image");
const CREATE: Verb = verb::<create::Create>("create", &[], "Create a new container");
const START: Verb = verb::<start::Start>("start", &[], "Start one or more stopped containers");
const STOP: Verb = verb::<stop::Stop>("stop", &[], "Stop one or more running containers");
const RESTART: Verb = verb::<stop::Restart>("restart", &[], "Restart one or more containers");
const KILL: Verb = verb::<kill::Kill>("kill", &[], "Kill one or more running containers");
const ATTACH: Verb = verb::<attach::Attach>("attach", &[], "Attach local streams to a running container");
const EXEC: Verb = verb::<exec::Exec>("exec", &[], "Execute a command in a running container");
const LOGS: Verb = verb::<logs::Logs>("logs", &[], "Fetch the logs of a container");
const TOP_PROCESSES: Verb = verb::<top::Top>("top", &[], "Display the running processes of a container");
const STATS: Verb = verb::<stats::Stats>("stats", &[], "Display a live stream of resource usage statistics");
const PAUSE: Verb = verb::<pause::Pause>("pause", &[], "Pause all processes within one or more containers");
const UNPAUSE: Verb = verb::<unpause::Unpause>("unpause", &[], "Unpause all processes within one or more containers");
const WAIT: Verb = verb::<wait::Wait>("wait", &[], "Block until containers stop, then print their exit codes");
const RENAME: Verb = verb::<rename::Rename>("rename", &[], "Rename a container");
const UPDATE: Verb = verb::<update::Update>("update", &[], "Update configuration of one or more containers");
const PORT: Verb = verb::<port::Port>("port", &[], "List port mappings or a specific mapping for the container");
const CP: Verb = verb::<cp::Cp>("cp", &[], "Copy files between a container and the local file system");
const DIFF: Verb = verb::<diff::Diff>("diff", &[], "Inspect changes to files or directories of a container");
const EXPORT: Verb = verb::<export::Export>("export", &[], "Export a container's file system as a tar archive");
const COMMIT: Verb = verb::<commit::Commit>("commit", &[], "Create a new image from a container's changes");
const IMPORT: Verb = verb::<import::Import>("import", &[], "Import a tarball to create a file-system image");
const LOAD: Verb = verb::<import::Load>("load", &[], "Load images from a tar archive or STDIN");
const SAVE: Verb = verb::<export::Save>("save", &[], "Save one or more images to a tar archive");
const HISTORY: Verb = verb::<history::History>("history", &[], "Show the history of an image");
const TAG: Verb = verb::<rmi::Tag>("tag", &[], "Create a tag that refers to an image");
const EVENTS: Verb = verb::<events::Events>("events", &[], "Get real time events from the engine");
const PULL: Verb = verb::<pull::Pull>("pull", &[], "Download an image from a registry");
const PUSH: Verb = verb::<pull::Push>("push", &[], "Upload an image to a registry");
const INFO: Verb = verb::<info::Info>("info", &[], "Display system-wide information");
const DOCTOR: Verb = verb::<info::Doctor>("doctor", &[], "Say what this host offers, what was picked and why");

/// Verbs without a group.
const TOP: &[Verb] = &[
    RUN,
    EXEC,
    verb::<ps::Ps>("ps", &[], "List containers"),
    PULL,
    PUSH,
    verb::<images::Images>("images", &[], "List images"),
    INFO,
    DOCTOR,
    verb::<login::Login>("login", &[], "Authenticate to a registry"),
    verb::<login::Logout>("logout", &[], "Log out from a registry"),
    verb::<version::Version>("version", &[], "Show the version information"),
    verb::<serve::Serve>("serve", &[], "Run the engine for others, on a socket"),
    ATTACH,
    COMMIT,
    CP,
    CREATE,
    DIFF,
    EVENTS,
    EXPORT,
    HISTORY,
    IMPORT,
    verb::<inspect::Inspect>("inspect", &[], "Return low-level information on objects"),
    KILL,
    LOAD,
    LOGS,
    PAUSE,
    PORT,
    RENAME,
    RESTART,
    verb::<rm::Rm>("rm", &[], "Remove one or more containers"),
    verb::<rmi::Rmi>("rmi", &[], "Remove one or more images"),
    SAVE,
    START,
    STATS,
    STOP,
    TAG,
    TOP_PROCESSES,
    UNPAUSE,
    UPDATE,
    WAIT,
];

const CONTAINER: &[Verb] = &[
    ATTACH,
    COMMIT,
    CP,
    CREATE,
    DIFF,
    EXEC,
    EXPORT,
    verb::<inspect::InspectContainer>("inspect", &[], "Display detailed information on one or more containers"),
    KILL,
    LOGS,
    verb::<ps::Ps>("ls", &["list", "ps"], "List containers"),
    PAUSE,
    PORT,
    verb::<prune::PruneContainers>("prune", &[], "Remove all stopped containers"),
    RENAME,
    RESTART,
    verb::<rm::Rm>("rm", &["remove"], "Remove one or more containers"),
    RUN,
    START,
    STATS,
    STOP,
    TOP_PROCESSES,
    UNPAUSE,
    UPDATE,
    WAIT,
];

const IMAGE: &[Verb] = &[
    HISTORY,
    IMPORT,
    verb::<inspect::InspectImage>("inspect", &[], "Display detailed information on one or more images"),
    LOAD,
    verb::<images::Images>("ls", &["list"], "List images"),
    verb::<prune::PruneImages>("prune", &[], "Remove unused images"),
    PULL,
    PUSH,
    verb::<rmi::Rmi>("rm", &["remove"], "Remove one or more images"),
    SAVE,
    TAG,
];

const SYSTEM: &[Verb] = &[
    verb::<check::Check>("check", &[], "Compare what should be there with what the host has"),
    verb::<df::Df>("df", &[], "Show disk usage"),
    DOCTOR,
    EVENTS,
    INFO,
    verb::<prune::PruneSystem>("prune", &[], "Remove unused data"),
];

const VOLUME: &[Verb] = &[
    verb::<volume::create::CreateVolume>("create", &[], "Create a volume"),
    verb::<volume::inspect::InspectVolume>("inspect", &[], "Display detailed information on one or more volumes"),
    verb::<volume::ls::Volumes>("ls", &["list"], "List volumes"),
    verb::<volume::prune::PruneVolumes>("prune", &[], "Remove unused local volumes"),
    verb::<volume::rm::RemoveVolumes>("rm", &["remove"], "Remove one or more volumes"),
];

const STORAGE: &[Verb] = &[
    verb::<storage::CheckStorage>("check", &[], "Compare every layer with what was recorded of it"),
    verb::<storage::Migrate>("migrate", &[], "Move images and containers to another storage driver"),
];

/// Verbs under a common name.
struct Group {
    name: &'static str,
    about: &'static str,
    verbs: &'static [Verb],
    define: fn(Command) -> Command,
}

const GROUPS: &[Group] = &[
    Group {
        name: "container",
        about: "Manage containers",
        verbs: CONTAINER,
        define: |command| with_verbs(command, CONTAINER, false, &|_| true),
    },
    Group {
        name: "image",
        about: "Manage images",
        verbs: IMAGE,
        define: |command| with_verbs(command, IMAGE, false, &|_| true),
    },
    Group {
        name: "manifest",
        about: "Manage manifests and manifest lists",
        verbs: manifest::VERBS,
        define: |command| with_verbs(command, manifest::VERBS, false, &|_| true),
    },
    Group {
        name: "network",
        about: "Manage networks",
        verbs: network::VERBS,
        define: |command| with_verbs(command, network::VERBS, false, &|_| true),
    },
    Group {
        name: "storage",
        about: "Manage the storage of images and containers",
        verbs: STORAGE,
        define: |command| with_verbs(command, STORAGE, false, &|_| true),
    },
    Group {
        name: "system",
        about: "Manage the engine",
        verbs: SYSTEM,
        define: |command| with_verbs(command, SYSTEM, false, &|_| true),
    },
    Group {
        name: "volume",
        about: "Manage volumes",
        verbs: VOLUME,
        define: |command| with_verbs(command, VOLUME, false, &|_| true),
    },
];

/// Roles of the program that people do not type.
const HIDDEN: &[Verb] = &[
    verb::<hello::Hello>("hello", &[], "Say which isolation is seen from here"),
    verb::<reap::Reap>("monitor-reap", &[], "Remove a container that has ended"),
];

/// Docker's flags can be turned off and on again (`--rm=false`): a switch takes an optional value after `=`, and the
/// last of several counts.
fn docker_flags(command: Command) -> Command {
    command.args_override_self(true).mut_args(|argument| {
        if !matches!(argument.get_action(), ArgAction::SetTrue) {
            return argument;
        }
        argument
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .default_value("false")
            .hide_default_value(true)
            .hide_possible_values(true)
            .value_name("BOOL")
            .value_parser(boolean)
    })
}

/// What Go's `strconv.ParseBool` takes.
fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("invalid boolean {text:?}")),
    }
}

/// Whether a word is among those that were typed.
type Typed<'a> = &'a dyn Fn(&str) -> bool;

fn with_verbs(mut command: Command, verbs: &'static [Verb], hidden: bool, typed: Typed<'_>) -> Command {
    for verb in verbs.iter().filter(|verb| typed(verb.name) || verb.aliases.iter().copied().any(typed)) {
        let mut sub = Command::new(verb.name).about(verb.about).defer(verb.define).hide(hidden);
        sub = sub.visible_aliases(verb.aliases).disable_help_flag(true).disable_version_flag(true);
        command = command.subcommand(sub.arg(help_flag()));
    }
    command
}

/// `-h` is taken by `--hostname`, as in Docker.
fn help_flag() -> clap::Arg {
    clap::Arg::new("help").long("help").action(ArgAction::Help).help("Print usage")
}

/// With the verbs and groups whose names were typed.
fn root_command(typed: Typed<'_>) -> Command {
    let command = <Globals as clap::Args>::augment_args(Command::new("berth"))
        .about("A portable container engine")
        .after_help("For other engines, `berth oci` is an OCI runtime; see `berth oci --help`.")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .arg(
            clap::Arg::new("version")
                .short('v')
                .long("version")
                .action(ArgAction::Version)
                .help("Print version information and quit"),
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .max_term_width(100);
    let mut command = with_verbs(with_verbs(command, TOP, false, typed), HIDDEN, true, typed);
    for group in GROUPS.iter().filter(|group| typed(group.name)) {
        let mut named = Command::new(group.name).about(group.about).disable_help_subcommand(true);
        named = named.subcommand_required(true).arg_required_else_help(true);
        command = command.subcommand(named.defer(group.define));
    }
    command
}

fn find<'a>(verbs: &'static [Verb], matches: &'a ArgMatches) -> Option<(&'static Verb, &'a ArgMatches)> {
    let (name, matches) = matches.subcommand()?;
    Some((verbs.iter().find(|verb| verb.name == name)?, matches))
}

/// A reader of our output that has gone, as in `berth ps | head -1`, is the end of the work and no fault.
fn end_with_the_reader() {
    /// 128 and SIGPIPE, as the shell says it.
    const PIPE: i32 = 141;
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let said = panic.payload_as_str().unwrap_or_default();
        if said.starts_with("failed printing to std") && said.contains("Broken pipe") {
            std::process::exit(PIPE);
        }
        usual(panic);
    }));
}

pub(crate) fn main() -> ExitCode {
    end_with_the_reader();
    let arguments: Vec<_> = std::env::args_os().collect();
    let typed = |name: &str| arguments.iter().any(|argument| argument == name);
    // Defining every verb takes longer than parsing one: all of them only for help, and to say what is wrong.
    let parsed = root_command(&typed).try_get_matches_from(&arguments);
    let matches = match parsed.or_else(|_| root_command(&|_| true).try_get_matches_from(&arguments)) {
        Ok(matches) => matches,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(code_of_usage(&error));
        }
    };
    let globals = match Globals::from_arg_matches(&matches) {
        Ok(globals) => globals.or_environment(),
        Err(error) => error.exit(),
    };
    let found = find(TOP, &matches).or_else(|| find(HIDDEN, &matches)).or_else(|| {
        let (group, inner) = matches.subcommand()?;
        find(GROUPS.iter().find(|known| known.name == group)?.verbs, inner)
    });
    let Some((verb, arguments)) = found else { unreachable!("clap accepts only verbs of the tables") };
    // Several verbs are called `create`: Docker's words about the help stand with the container's.
    let of_containers = matches.subcommand_name().is_none_or(|name| name == verb.name || name == "container");
    let usage = (of_containers && matches!(verb.name, "run" | "create")).then_some(verb.name);
    finish(perform(verb, arguments, globals), usage)
}

fn perform(verb: &Verb, arguments: &ArgMatches, globals: Globals) -> anyhow::Result<u8> {
    let unknown = berth_arch::pretend::unknown();
    anyhow::ensure!(
        unknown.is_empty(),
        "unknown facility in BERTH_PRETEND_WITHOUT: {}\nknown ones: {}",
        unknown.join(", "),
        berth_arch::pretend::FACILITIES.join(", ")
    );
    if let Some(local) = verb.local {
        return local(arguments, globals);
    }
    if globals.debug {
        log_to_stderr(true);
    }
    crate::sys::keep_the_heap();
    let session = match Session::open(&globals) {
        // The codes below are those of the container's program.
        Err(error) if verb.name == "run" => return Err(Exit { code: 125, error }.into()),
        session => session?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on((verb.act)(arguments, session));
    // What still reads a terminal or waits for a container must not hold up the end, nor need what the end of the
    // process takes away anyway be taken down first.
    std::mem::forget(runtime);
    outcome
}

pub(crate) fn log_to_stderr(debug: bool) {
    let level = if debug { tracing::Level::DEBUG } else { tracing::Level::INFO };
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).init();
}
