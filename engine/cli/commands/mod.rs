//! The verbs. One file each holds its arguments and its action; `table.rs` says what it is called.
//!
//! Docker has two names for most things (`berth ps` and `berth container ls`); both stand in the table. A verb's
//! arguments are only built when it is the one that was typed.

mod attach;
mod check;
mod checkpoint;
mod commit;
pub(crate) mod completion;
mod config;
mod cp;
mod create;
mod df;
mod diff;
mod each;
mod emulation;
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
mod log;
mod login;
mod logs;
mod manifest;
#[cfg(feature = "manual")]
mod manual;
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
mod table;
mod top;
mod unpause;
mod update;
mod version;
mod volume;
mod wait;

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgAction, ArgMatches, Command, FromArgMatches};

pub(crate) use self::ending::Exit;
use self::ending::{code_of_usage, finish};
use self::table::{GROUPS, HIDDEN, TOP};
use crate::built;
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
        .after_help("The verbs and flags are docker's. For other engines, `berth oci` is an OCI runtime; see `berth oci --help`.")
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
        .arg(
            clap::Arg::new("verbose")
                .long("verbose")
                .action(ArgAction::SetTrue)
                .requires("version")
                .help("With --version: how the program was built"),
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
            if error.kind() == ErrorKind::DisplayVersion && typed("--verbose") {
                print!("{}", built::lines());
            }
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
        log::to_stderr("debug");
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
