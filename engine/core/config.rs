//! The configuration: `berth.toml` (system, then user), then what the command line says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use berth_backends::Registry;
use berth_backends::Runtime;
use berth_store::Paths;
use serde::Deserialize;

use crate::settings::storage;
use crate::{Error, Result, registries};

/// What an engine is opened with.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    pub paths: Paths,
    /// The storage driver, or several in order of preference, separated by commas; `None`: what the state was made
    /// with, else the best that works.
    pub storage_driver: Option<String>,
    /// What `--storage-opt` is for containers that do not say, and options of storage drivers.
    pub storage_options: BTreeMap<String, String>,
    /// The isolation backend for containers that name none, or several; `None`: the strongest that works.
    pub isolation: Option<String>,
    /// The isolation backends that there are to choose from.
    pub backends: Registry,
    /// How packets get to and from containers' networks, or several ways; `None`: the best that works.
    pub packet_path: Option<String>,
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
}

/// Docker's.
const PLUGIN_FOLDERS: &[&str] = &["/run/docker/plugins", "/etc/docker/plugins", "/usr/lib/docker/plugins"];

/// `berth.toml`. Every key is optional; a key that means nothing is an error.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    /// The state folder.
    root: Option<PathBuf>,
    /// The run folder.
    run: Option<PathBuf>,
    strict: Option<bool>,
    storage: Option<Choice>,
    #[serde(default)]
    storage_options: BTreeMap<String, String>,
    isolation: Option<Choice>,
    #[serde(default, deserialize_with = "runtimes", rename = "runtimes")]
    backends: Registry,
    #[serde(default)]
    network: Network,
    log: Option<Log>,
    #[serde(default)]
    registries: registries::Settings,
    /// Folders instead of Docker's.
    plugin_folders: Option<Vec<PathBuf>>,
}

/// `"auto"`, a name, or a list of names of which the first that works is taken.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "a name, or a list of names, is wanted")]
enum Choice {
    One(String),
    FirstOf(Vec<String>),
}

impl Choice {
    /// As the registries take it.
    fn into_text(self) -> String {
        match self {
            Self::One(name) => name,
            Self::FirstOf(names) => names.join(","),
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Network {
    packet_path: Option<Choice>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Log {
    driver: Option<String>,
    #[serde(default)]
    options: BTreeMap<String, String>,
}

/// What the command line or the environment says; it wins over the files.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--root` or `BERTH_ROOT`: state and run folder in one place; no configuration file's folders count then.
    pub root: Option<PathBuf>,
    /// `--config`: this file instead of the usual ones. It must exist.
    pub file: Option<PathBuf>,
    pub storage_driver: Option<String>,
    /// `--storage-opt`, `KEY=VALUE` each.
    pub storage_options: Vec<String>,
    pub isolation: Option<String>,
}

impl EngineConfig {
    /// Everything below one folder, and defaults.
    pub fn within(root: &Path) -> Self {
        Self {
            arguments: vec!["--root".to_owned(), root.to_string_lossy().into_owned()],
            ..Self::new(Paths::within(root))
        }
    }

    pub fn new(paths: Paths) -> Self {
        Self {
            paths,
            storage_driver: None,
            storage_options: BTreeMap::new(),
            isolation: None,
            backends: Registry::default(),
            packet_path: None,
            registries: berth_distribution::Config::default(),
            strict: false,
            log_driver: "json-file".to_owned(),
            log_options: BTreeMap::new(),
            plugin_folders: PLUGIN_FOLDERS.iter().map(PathBuf::from).collect(),
            program: PathBuf::from("/proc/self/exe"),
            arguments: Vec::new(),
        }
    }

    /// Reads the configuration files and applies `overrides`.
    pub fn load(overrides: &Overrides) -> Result<Self> {
        let files = match &overrides.file {
            Some(file) => vec![(file.clone(), true)],
            None => usual_files().into_iter().map(|file| (file, false)).collect(),
        };
        let mut config = Self::new(default_paths());
        for (path, required) in files {
            match std::fs::read_to_string(&path) {
                Ok(text) => config.apply(parse(&text, &path)?),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => {}
                Err(source) => return Err(Error::Io { action: "read", path, source }),
            }
        }
        for (option, path) in [("--config", &overrides.file), ("--root", &overrides.root)] {
            let Some(path) = path else { continue };
            let path = std::path::absolute(path).map_err(Error::io("resolve", path))?;
            config.arguments.extend([option.to_owned(), path.to_string_lossy().into_owned()]);
            if option == "--root" {
                config.paths = Paths::within(&path);
            }
        }
        if overrides.storage_driver.is_some() {
            config.storage_driver.clone_from(&overrides.storage_driver);
        }
        for option in &overrides.storage_options {
            let (key, value) = option
                .split_once('=')
                .ok_or_else(|| Error::invalid(format!("storage option {option}: KEY=VALUE is wanted")))?;
            config.storage_options.insert(key.to_owned(), value.to_owned());
        }
        storage::check(&config.storage_options)?;
        if overrides.isolation.is_some() {
            config.isolation.clone_from(&overrides.isolation);
        }
        Ok(config)
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

    fn apply(&mut self, file: File) {
        if let Some(root) = file.root {
            self.paths.state = root;
        }
        if let Some(run) = file.run {
            self.paths.run = run;
        }
        self.strict = file.strict.unwrap_or(self.strict);
        self.storage_driver = file.storage.map(Choice::into_text).or(self.storage_driver.take());
        self.storage_options.extend(file.storage_options);
        self.isolation = file.isolation.map(Choice::into_text).or(self.isolation.take());
        self.backends.extend(file.backends);
        self.packet_path = file.network.packet_path.map(Choice::into_text).or(self.packet_path.take());
        file.registries.apply(&mut self.registries);
        if let Some(folders) = file.plugin_folders {
            self.plugin_folders = folders;
        }
        if let Some(log) = file.log {
            if let Some(driver) = log.driver {
                self.log_driver = driver;
            }
            self.log_options.extend(log.options);
        }
    }
}

fn runtimes<'d, D: serde::Deserializer<'d>>(table: D) -> Result<Registry, D::Error> {
    Registry::new(BTreeMap::<String, Runtime>::deserialize(table)?).map_err(serde::de::Error::custom)
}

fn parse(text: &str, path: &Path) -> Result<File> {
    let invalid = |error: toml::de::Error| {
        let before = |start: usize| text.bytes().take(start).filter(|&byte| byte == b'\n').count();
        let line = 1 + error.span().map_or(0, |span| before(span.start));
        Error::invalid(format!("{} line {line}: {}{}", path.display(), error.message(), nearest(error.message())))
    };
    let file: File = toml::from_str(text).map_err(invalid)?;
    let in_file = |error: &dyn std::fmt::Display| Error::invalid(format!("{}: {error}", path.display()));
    storage::check(&file.storage_options).map_err(|error| in_file(&error))?;
    if let Some(isolation) = file.isolation.clone() {
        file.backends.check_names(&isolation.into_text()).map_err(|error| in_file(&error))?;
    }
    file.registries.check(path)?;
    for folder in [&file.root, &file.run].into_iter().flatten() {
        if !folder.is_absolute() {
            let folder = folder.display();
            return Err(Error::invalid(format!("{}: {folder} must be an absolute path", path.display())));
        }
    }
    Ok(file)
}

/// `; did you mean ...?` for serde's words about a key that it does not know.
fn nearest(message: &str) -> String {
    let Some(("", rest)) = message.split_once("unknown field ") else { return String::new() };
    let mut words = rest.split('`').skip(1).step_by(2);
    let Some(unknown) = words.next() else { return String::new() };
    let found = words.map(|known| (distance(unknown, known), known)).min();
    match found {
        Some((distance, known)) if distance <= 1 + known.len() / 3 => format!("; did you mean `{known}`?"),
        _ => String::new(),
    }
}

/// How many letters are to be put in, left out or exchanged to get from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, have) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, want) in to.bytes().enumerate() {
            let exchanged = diagonal + usize::from(have != want);
            diagonal = row[column + 1];
            row[column + 1] = exchanged.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn user_folder(variable_name: &str, below_home: &str) -> Option<PathBuf> {
    variable(variable_name).or_else(|| variable("HOME").map(|home| home.join(below_home)))
}

fn usual_files() -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from("/etc/berth/berth.toml")];
    files.extend(user_folder("XDG_CONFIG_HOME", ".config").map(|folder| folder.join("berth/berth.toml")));
    files
}

/// Root's folders, or the user's.
fn default_paths() -> Paths {
    let Some(user) = berth_rootless::owner() else { return Paths::new("/var/lib/berth", "/run/berth") };
    let state = user_folder("XDG_DATA_HOME", ".local/share").unwrap_or_else(|| PathBuf::from("/var/tmp"));
    let run = variable("XDG_RUNTIME_DIR").map(|folder| folder.join("berth"));
    // Whose that is will be looked at.
    Paths::new(state.join("berth"), run.unwrap_or_else(|| PathBuf::from(format!("/tmp/berth-{user}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_an_error_that_names_file_line_and_the_nearest_key() {
        let said = |text| parse(text, Path::new("/etc/berth.toml")).unwrap_err().to_string();
        let message = said("strict = true\n\n[log]\ndrivr = \"none\"\n");
        assert!(message.starts_with("/etc/berth.toml line 4: unknown field `drivr`"), "{message}");
        assert!(message.ends_with("; did you mean `driver`?"), "{message}");
        assert!(said("stroage = 'vfs'").ends_with("; did you mean `storage`?"));
        assert!(!said("colour = 'red'").contains("did you mean"));
        assert!(said("storage = 3").contains("a list of names"));
    }

    #[test]
    fn later_files_win_and_log_options_add_up() {
        let mut config = EngineConfig::within(Path::new("/x"));
        let path = Path::new("berth.toml");
        config.apply(parse("root='/a'\nstorage='vfs'\nlog.options.max-size='1m'", path).unwrap());
        config.apply(
            parse("run='/b'\nstorage-options.size='10G'\nlog.options.max-file='3'\nisolation='namespace'", path)
                .unwrap(),
        );
        assert_eq!((config.paths.state.clone(), config.paths.run.clone()), (PathBuf::from("/a"), PathBuf::from("/b")));
        assert_eq!(config.storage_driver.as_deref(), Some("vfs"));
        assert_eq!(config.isolation.as_deref(), Some("namespace"));
        assert_eq!(config.log_options.len(), 2);
        assert_eq!(config.storage_options["size"], "10G");
        assert!(parse("storage-options.size='much'", path).is_err());
        config.apply(parse("storage=['btrfs','overlay']\nisolation=['lxc','namespace']", path).unwrap());
        assert_eq!(config.storage_driver.as_deref(), Some("btrfs,overlay"));
        assert_eq!(config.isolation.as_deref(), Some("lxc,namespace"));
    }

    #[test]
    fn relative_folders_are_refused() {
        assert!(parse("root = 'x'", Path::new("berth.toml")).is_err());
    }
}
