//! `berth serve`: the engine as a daemon. Its options are those of the table of settings (`berth_core::config::KEYS`).

use berth_core::EngineConfig;
use berth_core::config::{KEYS, Key, Kind, Overrides};
use berth_server::ServeOptions;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{Act, log};
use crate::built;
use crate::session::{Globals, Session};

#[derive(Debug)]
pub(crate) struct Serve {
    /// Names of settings, and what was said of them.
    said: Vec<(&'static str, String)>,
}

/// Options that every verb has.
const OF_ALL: &[&str] = &["storage-driver"];

fn own() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(|key| !key.option.is_empty() && !OF_ALL.contains(&key.option))
}

impl clap::Args for Serve {
    fn augment_args(command: Command) -> Command {
        own().fold(command, |command, key| {
            let (action, value) = match key.kind {
                Kind::Flag => (ArgAction::SetTrue, "BOOL"),
                Kind::Path if key.option.ends_with("-root") => (ArgAction::Append, "FOLDER"),
                Kind::Path => (ArgAction::Append, "FILE"),
                Kind::Table | Kind::Programs => (ArgAction::Append, "KEY=VALUE"),
                Kind::Folders | Kind::Text | Kind::Word(_) | Kind::Choice | Kind::Number => (ArgAction::Append, "NAME"),
                Kind::List => (ArgAction::Append, "HOST"),
            };
            let help = format!("{} [env: {}]", key.about, key.variable);
            let option = Arg::new(key.option).long(key.option).short(key.letter);
            command.arg(option.help(help).value_name(value).action(action))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Serve {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut said = Vec::new();
        for key in own().filter(|key| matches.value_source(key.option) == Some(ValueSource::CommandLine)) {
            if key.kind == Kind::Flag {
                said.extend(matches.get_one::<bool>(key.option).map(|flag| (key.name, flag.to_string())));
            } else {
                let texts = matches.get_many::<String>(key.option).into_iter().flatten();
                said.extend(texts.map(|text| (key.name, text.clone())));
            }
        }
        Ok(Self { said })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Act for Serve {
    const LOCAL: bool = true;

    async fn act(self, _session: Session) -> anyhow::Result<u8> {
        unreachable!("a local verb")
    }

    fn act_locally(self, globals: Globals) -> anyhow::Result<u8> {
        // First of all: what is opened after it cannot be taken for one of them.
        let given = berth_server::given_sockets()?;
        let mut overrides = globals.overrides();
        overrides.options.extend(self.said);
        overrides.options.extend(globals.host.clone().map(|host| ("listen", host)));
        let engine = built::engine_config(&overrides)?;
        log::to_stderr(&engine.log_level);
        let addresses = engine.listen.iter().map(|host| host.parse()).collect::<Result<_, _>>()?;
        engine.enter()?;
        berth_server::serve(ServeOptions { engine, addresses, given, reread: Box::new(move || reread(&overrides)) })?;
        Ok(0)
    }
}

/// The files and the environment again; what is wrong with them leaves everything as it is.
fn reread(overrides: &Overrides) -> berth_core::Result<EngineConfig> {
    let config = built::engine_config(overrides)?;
    log::set_level(&config.log_level);
    Ok(config)
}
