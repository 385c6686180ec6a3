//! One call of the command line: its global options, and the engine that it talks to.

use std::path::PathBuf;
use std::sync::Arc;

use berth_client::{Client, Connector, Endpoint};
use berth_core::config::Overrides;
use berth_core::{Engine, EngineConfig};

use crate::built;

/// The size of the in-memory stream to an engine in the same process, each way.
const DUPLEX: usize = 256 * 1024;

/// Options before the verb.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Globals {
    /// Engine to talk to (unix:///PATH or tcp://HOST:PORT)
    #[arg(short = 'H', long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Keep all state below this folder [env: BERTH_ROOT]
    #[arg(long, value_name = "FOLDER", global = true)]
    pub(crate) root: Option<PathBuf>,
    #[arg(skip)]
    root_by_variable: bool,
    /// Folder of what survives a reboot [env: BERTH_DATA_ROOT]
    #[arg(long, value_name = "FOLDER")]
    data_root: Option<String>,
    /// Folder of what does not [env: BERTH_EXEC_ROOT]
    #[arg(long, value_name = "FOLDER")]
    exec_root: Option<String>,
    /// Configuration file, with drop-ins in FILE.d [env: BERTH_CONFIG]
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Storage driver for this call (runs the engine in this process)
    #[arg(long, value_name = "NAME", global = true)]
    pub(crate) storage_driver: Option<String>,
    /// Option of the storage driver (KEY=VALUE, kept with the state)
    #[arg(long = "storage-opt", id = "driver-opt", value_name = "KEY=VALUE")]
    pub(crate) storage_options: Vec<String>,
    /// Log what the engine does
    #[arg(short = 'D', long, global = true)]
    pub(crate) debug: bool,
}

/// What a verb works with.
pub(crate) struct Session {
    pub(crate) client: Client,
}

impl Session {
    /// A named host, else the engine that listens on the default socket, else an engine in this process.
    pub(crate) fn open(globals: &Globals) -> anyhow::Result<Self> {
        Ok(Self { client: Client::new(connector(globals)?) })
    }

    /// As [`Session::open`], and `None` where that would make a new state.
    pub(crate) fn of_what_is_there(globals: &Globals) -> anyhow::Result<Option<Self>> {
        let there = globals.named_host().is_some() || {
            let paths = globals.engine_config()?.paths;
            paths.database().exists() || paths.socket().exists()
        };
        if there { Self::open(globals).map(Some) } else { Ok(None) }
    }
}

impl Globals {
    /// What was not said, from the environment; an empty variable says nothing. (clap would count the variables as
    /// arguments that were given: no help without any, and a usage line that names them.)
    pub(crate) fn or_environment(mut self) -> Self {
        let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        self.root_by_variable = self.root.is_none();
        self.root = self.root.or_else(|| path("BERTH_ROOT"));
        self.config = self.config.or_else(|| path("BERTH_CONFIG"));
        self
    }

    /// What the options before the verb say of the configuration.
    pub(crate) fn overrides(&self) -> Overrides {
        let mut options: Vec<(&'static str, String)> = Vec::new();
        for (name, said) in [("root", &self.data_root), ("run", &self.exec_root), ("storage", &self.storage_driver)] {
            options.extend(said.clone().map(|text| (name, text)));
        }
        options.extend(self.storage_options.iter().map(|option| ("storage-options", option.clone())));
        options.extend(self.debug.then(|| ("log-level", "debug".to_owned())));
        Overrides {
            root: self.root.clone(),
            root_by_option: !self.root_by_variable,
            file: self.config.clone(),
            options,
        }
    }

    pub(crate) fn engine_config(&self) -> anyhow::Result<EngineConfig> {
        Ok(built::engine_config(&self.overrides())?)
    }

    /// What only an engine in this process can keep to.
    fn chooses_storage(&self) -> bool {
        self.storage_driver.is_some() || !self.storage_options.is_empty()
    }

    fn named_host(&self) -> Option<String> {
        let from_environment = || {
            // A root of one's own means the engine of that root, whatever the environment says.
            if self.root.is_some() || self.data_root.is_some() || self.exec_root.is_some() {
                return None;
            }
            ["BERTH_HOST", "DOCKER_HOST"]
                .iter()
                .find_map(|name| std::env::var(name).ok().filter(|host| !host.is_empty()))
        };
        self.host.clone().or_else(from_environment)
    }
}

/// Of an engine in another process: nothing that this one executes needs more rights than it has.
fn client_of(engine: Endpoint) -> Connector {
    berth_arch::kernel::misleading::hide_for_good();
    Connector::Endpoint(engine)
}

fn connector(globals: &Globals) -> anyhow::Result<Connector> {
    if let Some(host) = globals.named_host() {
        anyhow::ensure!(
            !globals.chooses_storage(),
            "--storage-driver and --storage-opt are for an engine in this process, and the engine at {host} was named; name one of them"
        );
        return Ok(client_of(host.parse()?));
    }
    let config = globals.engine_config()?;
    let socket = config.paths.socket();
    if !globals.chooses_storage() && std::os::unix::net::UnixStream::connect(&socket).is_ok() {
        return Ok(client_of(Endpoint::Unix(socket)));
    }
    config.enter()?;
    let engine = Arc::new(Engine::open(config)?);
    Ok(Connector::in_process(move || {
        let (ours, theirs) = tokio::io::duplex(DUPLEX);
        tokio::spawn(berth_server::serve_connection(engine.clone(), theirs));
        Ok(Box::new(ours))
    }))
}
