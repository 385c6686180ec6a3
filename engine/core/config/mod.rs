//! The configuration: what an engine is opened with.
//!
//! `keys.rs` is the table of settings. `document.rs` takes a file apart, `profile.rs` says which of its parts are for this host,
//! `layers.rs` puts files, environment and command line on one another, `show.rs` shows what comes of it.

mod document;
mod keys;
mod layers;
mod nearest;
mod profile;
mod show;
mod value;

#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_backends::Registry;
use berth_store::Paths;

pub use self::document::Mistake;
pub use self::keys::{KEYS, Key, Kind};
pub use self::layers::{Origin, Overrides, Settings};
pub use self::profile::{CONDITIONS, Facts};
pub use self::show::{Shown, check, show};
pub use self::value::Value;
use crate::settings::log;
use crate::{Error, Result};

/// The source of a program, as its versions tell it.
#[derive(Debug, Clone, Default)]
pub struct Build {
    pub commit: String,
    /// As RFC 3339 has it.
    pub date: String,
}

/// What an engine is opened with.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    pub paths: Paths,
    /// Where a daemon listens; none: in the run folder.
    pub listen: Vec<String>,
    /// Whose members may use a daemon's unix sockets, by name or number; `None`: `docker` or `berth`, if there is one.
    pub group: Option<String>,
    /// Where a daemon writes its process's number.
    pub pidfile: Option<PathBuf>,
    /// `debug`, `info`, `warn` or `error`.
    pub log_level: String,
    /// The storage driver, or several in order of preference, separated by commas; `None`: what the state was made
    /// with, else the best that works.
    pub storage_driver: Option<String>,
    /// What `--storage-opt` is for containers that do not say, and options of storage drivers.
    pub storage_options: BTreeMap<String, String>,
    /// The isolation backend for containers that name none, or several; `None`: the strongest that works.
    pub isolation: Option<String>,
    /// The isolation backends that there are to choose from.
    pub backends: Registry,
    /// The program that writes containers to files; `None`: the one that is installed.
    pub criu: Option<PathBuf>,
    /// How packets get to and from containers' networks, or several ways; `None`: the best that works.
    pub packet_path: Option<String>,
    /// Whose ranges of subuid(5) and subgid(5) are the users of root's containers: `default`, or USER or USER:GROUP by name or
    /// number. `None`: those of the host.
    pub userns_remap: Option<String>,
    /// What is known of registries.
    pub registries: berth_distribution::Config,
    /// Refuse what would otherwise be a warning about limits.
    pub strict: bool,
    pub log_driver: String,
    pub log_options: BTreeMap<String, String>,
    /// Where plugins are looked for: sockets (`NAME.sock`) and addresses (`NAME.spec`, `NAME.json`).
    pub plugin_folders: Vec<PathBuf>,
    /// The program that becomes monitors, reapers and container inits: berth itself.
    pub program: PathBuf,
    /// The arguments that lead that program to the same state.
    pub arguments: Vec<String>,
    /// What the program is made of; whoever makes a program of the engine says it.
    pub build: Build,
    /// All of the above that can be set, with who said it.
    pub(crate) settings: Settings,
}

impl EngineConfig {
    /// Everything below one folder, and defaults.
    pub fn within(root: &Path) -> Self {
        Self {
            arguments: vec!["--root".to_owned(), root.to_string_lossy().into_owned()],
            ..Self::of(Settings::default(), Registry::default(), Paths::within(root))
        }
    }

    /// Reads the configuration files and applies `overrides`. Mistakes are InvalidArgument, all of them in one message, a line
    /// each.
    pub fn load(overrides: &Overrides) -> Result<Self> {
        let mut config = Self::gather(overrides, &OnceCell::new())?;
        let path = |path: &Path| -> Result<String> {
            let path = std::path::absolute(path).map_err(Error::io("resolve", path))?;
            Ok(path.to_string_lossy().into_owned())
        };
        let mut arguments = Vec::new();
        if let Some(file) = &overrides.file {
            arguments.extend(["--config".to_owned(), path(file)?]);
        }
        for (option, folder) in [("--data-root", &config.paths.state), ("--exec-root", &config.paths.run)] {
            arguments.extend([option.to_owned(), path(folder)?]);
        }
        config.arguments = arguments;
        Ok(config)
    }

    fn gather(overrides: &Overrides, facts: &OnceCell<Facts>) -> Result<Self> {
        let (mut settings, mut mistakes) = layers::gather(overrides, facts)?;
        let usual = default_paths();
        for (name, folder) in [("root", usual.state), ("run", usual.run)] {
            if settings.get(name).is_none()
                && let Some(key) = keys::find(name)
            {
                settings.set(key, None, Value::Text(folder.to_string_lossy().into_owned()), Origin::Default);
            }
        }
        if mistakes.is_empty() {
            match assemble(settings) {
                Ok(config) => return Ok(config),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        let lines: Vec<String> = mistakes.iter().map(Mistake::to_string).collect();
        Err(Error::InvalidArgument(lines.join("\n")))
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// `new` as far as a running engine can take it, and the names of what it cannot, which stays as it is.
    pub(crate) fn renewed(&self, new: &Self) -> Result<(Self, Vec<String>)> {
        let stays = |key: &Key, entry: Option<&str>| {
            !key.reloads || entry.is_some_and(berth_fs_drivers::registry::is_driver_option)
        };
        let mut settings = new.settings.clone();
        let kept = settings.keep(&self.settings, stays);
        let config = assemble(settings).map_err(|mistake| Error::InvalidArgument(mistake.to_string()))?;
        let (program, arguments, build) = (self.program.clone(), self.arguments.clone(), self.build.clone());
        Ok((Self { program, arguments, build, ..config }, kept))
    }

    /// What an engine on these folders does, it does from here: for somebody who is not root, in the namespaces where
    /// he is. To be called before the first thread; for root, nothing happens.
    pub fn enter(&self) -> Result<()> {
        berth_rootless::enter(&self.paths.run).map_err(|error| Error::Unavailable(error.to_string()))?;
        if let Some(inside) = berth_rootless::inside() {
            berth_network::namespace::set_home(inside.network());
        }
        Ok(())
    }

    fn of(settings: Settings, backends: Registry, paths: Paths) -> Self {
        let list = |name: &str| match settings.get(name) {
            Some((Value::List(list), _)) => list.clone(),
            _ => default_list(name),
        };
        let choice = |name: &str| Some(list(name).join(",")).filter(|names| !matches!(names.as_str(), "" | "auto"));
        let word = |name: &str| {
            let said = settings.get(name).and_then(|(value, _)| value.text());
            said.or(keys::find(name).map(|key| key.default)).unwrap_or_default().to_owned()
        };
        let text = |name: &str| {
            settings.get(name).and_then(|(value, _)| value.text()).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let table = |name: &str| -> BTreeMap<String, String> {
            let texts = settings.entries(name).filter_map(|(entry, value)| Some((entry, value.text()?)));
            texts.map(|(entry, text)| (entry.to_owned(), text.to_owned())).collect()
        };
        let log_driver = word("log.driver");
        Self {
            listen: list("listen"),
            group: text("group"),
            pidfile: text("pidfile").map(PathBuf::from),
            log_level: word("log-level"),
            storage_driver: choice("storage"),
            storage_options: table("storage-options"),
            isolation: choice("isolation"),
            backends,
            registries: registries(&list, &word, table("registries.mirrors")),
            criu: text("criu").map(PathBuf::from),
            userns_remap: text("userns-remap"),
            packet_path: choice("network.packet-path"),
            strict: matches!(settings.get("strict"), Some((Value::Flag(true), _))),
            // They are json-file's.
            log_options: if log_driver == "json-file" { table("log.options") } else { BTreeMap::new() },
            log_driver,
            plugin_folders: list("plugin-folders").into_iter().map(PathBuf::from).collect(),
            program: PathBuf::from("/proc/self/exe"),
            arguments: Vec::new(),
            build: Build::default(),
            paths,
            settings,
        }
    }
}

fn registries(
    list: &impl Fn(&str) -> Vec<String>,
    word: &impl Fn(&str) -> String,
    mirrors: BTreeMap<String, String>,
) -> berth_distribution::Config {
    let number = |name: &str| word(&format!("registries.{name}")).parse::<u32>().unwrap_or(1).max(1);
    let addresses = |text: String| text.split(',').map(|url| url.trim().to_owned()).collect();
    let stall = Duration::from_secs(number("timeout").into());
    let usual = berth_distribution::Config::default();
    berth_distribution::Config {
        insecure: list("registries.insecure"),
        mirrors: mirrors.into_iter().map(|(domain, urls)| (domain, addresses(urls))).collect(),
        certificates: list("registries.certificates").into_iter().map(PathBuf::from).collect(),
        downloads: number("max-concurrent-downloads") as usize,
        uploads: number("max-concurrent-uploads") as usize,
        connect: usual.connect.min(stall),
        stall,
        retries: number("max-download-attempts").min(20) - 1,
    }
}

/// What single settings do not show: that names of backends are there, and that options agree.
fn assemble(settings: Settings) -> Result<EngineConfig, Mistake> {
    let backends = registry(&settings);
    if let Some((value, origin)) = settings.get("isolation")
        && let Some(mistake) = unknown_backend(&backends, value, origin)
    {
        return Err(mistake);
    }
    let usual = default_paths();
    let folder = |name: &str, usual: PathBuf| {
        settings.get(name).and_then(|(value, _)| value.text()).map_or(usual, PathBuf::from)
    };
    let paths = Paths::new(folder("root", usual.state), folder("run", usual.run));
    let config = EngineConfig::of(settings, backends, paths);
    disagreement(&config).map_or(Ok(config), Err)
}

/// Options that are good by themselves and not together.
fn disagreement(config: &EngineConfig) -> Option<Mistake> {
    let error = log::check(&config.log_options).err()?;
    let origin = config.settings.entry("log.options", &["max-file", "compress"]).unwrap_or(&Origin::Default);
    Some(origin.mistake("log.options".to_owned(), error.to_string()))
}

fn registry(settings: &Settings) -> Registry {
    let programs = settings.entries("runtimes").filter_map(|(name, value)| match value {
        Value::Program(program) => Some((name.to_owned(), program.clone())),
        _ => None,
    });
    // Each name was looked at when it was read.
    Registry::new(programs.collect()).unwrap_or_default()
}

fn unknown_backend(registry: &Registry, value: &Value, origin: &Origin) -> Option<Mistake> {
    let Value::List(names) = value else { return None };
    let error = registry.check_names(&names.join(",")).err()?;
    let profile = match origin {
        Origin::File { profile, .. } => profile,
        _ => "",
    };
    Some(origin.mistake(document::join(profile, "isolation"), error.to_string()))
}

/// Of a setting or an entry of its table.
pub(crate) fn full_name(key: &str, entry: Option<&str>) -> String {
    entry.map_or_else(|| key.to_owned(), |entry| document::join(key, entry))
}

fn default_list(name: &str) -> Vec<String> {
    let text = keys::find(name).map_or("", |key| key.default);
    text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn user_folder(variable_name: &str, below_home: &str) -> Option<PathBuf> {
    variable(variable_name).or_else(|| variable("HOME").map(|home| home.join(below_home)))
}

/// Root's folders, or the user's.
fn default_paths() -> Paths {
    let Some(user) = berth_rootless::owner() else { return Paths::new("/var/lib/berth", "/run/berth") };
    let state = user_folder("XDG_DATA_HOME", ".local/share").unwrap_or_else(|| PathBuf::from("/var/tmp"));
    let run = variable("XDG_RUNTIME_DIR").map(|folder| folder.join("berth"));
    // Whose that is will be looked at.
    Paths::new(state.join("berth"), run.unwrap_or_else(|| PathBuf::from(format!("/tmp/berth-{user}"))))
}
