//! Every setting there is: its name in `berth.toml`, its variable, its option of `berth serve`, and what Docker calls it. All
//! that reads, checks, prints or documents settings goes by this table (`docs/configuration.md` has it, kept by a test).

use std::collections::BTreeMap;
use std::path::Path;

use berth_backends::Registry;
use berth_network::firewall;

use super::value::Value;
use crate::settings::{log, storage};
use crate::storage::names as storage_names;

#[derive(Debug)]
pub struct Key {
    /// As in `berth.toml`, with the tables that it is in: `log.driver`.
    pub name: &'static str,
    pub kind: Kind,
    /// Of the environment; empty: none.
    pub variable: &'static str,
    /// Of `berth serve`, without dashes; empty: none.
    pub option: &'static str,
    /// The option by one letter.
    pub letter: Option<char>,
    /// What dockerd calls the same thing in `daemon.json`.
    pub docker: &'static [&'static str],
    /// Whether a daemon takes a new value at SIGHUP.
    pub reloads: bool,
    /// As people would write it; empty: nothing.
    pub default: &'static str,
    pub about: &'static str,
    /// What is wrong with a value of the right kind, by itself.
    check: fn(Option<&str>, &Value) -> Result<(), String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One absolute path.
    Path,
    Folders,
    Text,
    Flag,
    /// One of these words.
    Word(&'static [&'static str]),
    /// `auto`, a name, or a list of names of which the first that works is taken.
    Choice,
    List,
    /// From 1 on.
    Number,
    /// Texts by name; of several, separated by commas or in a list.
    Table,
    /// Programs by name: `path`, `args`.
    Programs,
}

impl Kind {
    /// What is wanted, for messages and the documentation.
    pub fn wanted(self) -> String {
        match self {
            Self::Path => "an absolute path".to_owned(),
            Self::Folders => "a list of absolute paths".to_owned(),
            Self::Text => "a text".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::Word(words) => format!("one of {}", words.join(", ")),
            Self::Choice => "\"auto\", a name, or a list of names".to_owned(),
            Self::List => "a list of texts".to_owned(),
            Self::Number => "a whole number from 1 on".to_owned(),
            Self::Table => "a table of texts".to_owned(),
            Self::Programs => "a table with path and args for each name".to_owned(),
        }
    }

    /// Whether its entries are settings of their own, which add up.
    pub const fn has_entries(self) -> bool {
        matches!(self, Self::Table | Self::Programs)
    }
}

impl Key {
    pub(crate) fn check(&self, entry: Option<&str>, value: &Value) -> Result<(), String> {
        (self.check)(entry, value)
    }
}

const PLAIN: Key = Key {
    name: "",
    kind: Kind::Flag,
    variable: "",
    option: "",
    letter: None,
    docker: &[],
    reloads: true,
    default: "",
    about: "",
    check: |_, _| Ok(()),
};

/// In the order in which they are shown.
pub const KEYS: &[Key] = &[
    Key {
        name: "root",
        kind: Kind::Path,
        variable: "BERTH_DATA_ROOT",
        option: "data-root",
        docker: &["data-root", "graph"],
        reloads: false,
        about: "Folder of what survives a reboot",
        ..PLAIN
    },
    Key {
        name: "run",
        kind: Kind::Path,
        variable: "BERTH_EXEC_ROOT",
        option: "exec-root",
        docker: &["exec-root"],
        reloads: false,
        about: "Folder of what does not: the socket, locks, events",
        ..PLAIN
    },
    Key {
        name: "listen",
        kind: Kind::List,
        variable: "BERTH_LISTEN",
        option: "listen",
        docker: &["hosts"],
        reloads: false,
        about: "Where berth serve listens instead of in the run folder (unix:///PATH, tcp://HOST:PORT, or fd:// for a service manager's)",
        check: addresses,
        ..PLAIN
    },
    Key {
        name: "group",
        kind: Kind::Text,
        variable: "BERTH_GROUP",
        option: "group",
        letter: Some('G'),
        docker: &["group"],
        reloads: false,
        about: "Whose members may use unix sockets, by name or number; if not said, docker or berth where there is one",
        ..PLAIN
    },
    Key {
        name: "pidfile",
        kind: Kind::Path,
        variable: "BERTH_PIDFILE",
        option: "pidfile",
        letter: Some('p'),
        docker: &["pidfile"],
        reloads: false,
        about: "File that berth serve writes its process's number to, refusing to start beside another that has it",
        ..PLAIN
    },
    Key {
        name: "log-level",
        kind: Kind::Word(&["debug", "info", "warn", "error"]),
        variable: "BERTH_LOG_LEVEL",
        option: "log-level",
        docker: &["log-level", "debug"],
        default: "info",
        about: "What berth serve says of itself",
        ..PLAIN
    },
    Key {
        name: "strict",
        variable: "BERTH_STRICT",
        option: "strict",
        default: "false",
        about: "Refuse what would otherwise be a warning about limits",
        ..PLAIN
    },
    Key {
        name: "isolation",
        kind: Kind::Choice,
        variable: "BERTH_ISOLATION",
        option: "isolation",
        docker: &["default-runtime"],
        default: "auto",
        about: "Isolation backend of containers that name none",
        ..PLAIN
    },
    Key {
        name: "runtimes",
        kind: Kind::Programs,
        docker: &["runtimes"],
        about: "OCI runtimes by name, beside those on the PATH",
        check: program,
        ..PLAIN
    },
    Key {
        name: "criu",
        kind: Kind::Path,
        variable: "BERTH_CRIU",
        about: "Program that writes containers to files and back, instead of the one on the PATH",
        ..PLAIN
    },
    Key {
        name: "userns-remap",
        kind: Kind::Text,
        variable: "BERTH_USERNS_REMAP",
        option: "userns-remap",
        docker: &["userns-remap"],
        about: "Whose ranges of subuid(5) and subgid(5) are the users of root's containers (default, USER or USER:GROUP)",
        ..PLAIN
    },
    Key {
        name: "storage",
        kind: Kind::Choice,
        variable: "BERTH_STORAGE",
        option: "storage-driver",
        docker: &["storage-driver"],
        reloads: false,
        default: "auto",
        about: "Storage driver",
        check: drivers,
        ..PLAIN
    },
    Key {
        name: "storage-options",
        kind: Kind::Table,
        variable: "BERTH_STORAGE_OPTIONS",
        option: "storage-opt",
        docker: &["storage-opts"],
        about: "size of containers that do not say, and options of storage drivers",
        check: storage_option,
        ..PLAIN
    },
    Key {
        name: "network.packet-path",
        kind: Kind::Choice,
        variable: "BERTH_PACKET_PATH",
        option: "packet-path",
        docker: &["firewall-backend", "iptables", "userland-proxy"],
        default: "auto",
        about: "How packets get to and from containers' networks; one that is in use stays until a reboot",
        check: packet_paths,
        ..PLAIN
    },
    Key {
        name: "log.driver",
        kind: Kind::Word(log::DRIVERS),
        variable: "BERTH_LOG_DRIVER",
        option: "log-driver",
        docker: &["log-driver"],
        default: "json-file",
        about: "Log driver of containers that name none",
        ..PLAIN
    },
    Key {
        name: "log.options",
        kind: Kind::Table,
        variable: "BERTH_LOG_OPTIONS",
        option: "log-opt",
        docker: &["log-opts"],
        about: "Options of json-file for containers that do not say",
        check: log_option,
        ..PLAIN
    },
    Key {
        name: "registries.insecure",
        kind: Kind::List,
        variable: "BERTH_INSECURE_REGISTRIES",
        option: "insecure-registry",
        docker: &["insecure-registries"],
        about: "Hosts, addresses or networks whose certificates are not checked, with or without TLS",
        ..PLAIN
    },
    Key {
        name: "registries.mirrors",
        kind: Kind::Table,
        variable: "BERTH_REGISTRY_MIRRORS",
        option: "registry-mirror",
        docker: &["registry-mirrors"],
        about: "Registries that are asked first (https://HOST[:PORT]), by what names of images begin with (docker.io)",
        check: mirrors,
        ..PLAIN
    },
    Key {
        name: "registries.certificates",
        kind: Kind::Folders,
        variable: "BERTH_REGISTRY_CERTIFICATES",
        default: "/etc/berth/certs.d,/etc/docker/certs.d",
        about: "Folders with a folder for each registry, for its authorities and our own certificate",
        ..PLAIN
    },
    Key {
        name: "registries.max-concurrent-downloads",
        kind: Kind::Number,
        variable: "BERTH_MAX_CONCURRENT_DOWNLOADS",
        option: "max-concurrent-downloads",
        docker: &["max-concurrent-downloads"],
        default: "3",
        about: "Layers that a pull fetches at a time",
        ..PLAIN
    },
    Key {
        name: "registries.max-concurrent-uploads",
        kind: Kind::Number,
        variable: "BERTH_MAX_CONCURRENT_UPLOADS",
        option: "max-concurrent-uploads",
        docker: &["max-concurrent-uploads"],
        default: "3",
        about: "Layers that a push sends at a time",
        ..PLAIN
    },
    Key {
        name: "registries.max-download-attempts",
        kind: Kind::Number,
        variable: "BERTH_MAX_DOWNLOAD_ATTEMPTS",
        option: "max-download-attempts",
        docker: &["max-download-attempts"],
        default: "6",
        about: "How often a download that breaks is tried",
        ..PLAIN
    },
    Key {
        name: "registries.timeout",
        kind: Kind::Number,
        variable: "BERTH_REGISTRY_TIMEOUT",
        default: "60",
        about: "Seconds without progress after which a registry is given up",
        ..PLAIN
    },
    Key {
        name: "plugin-folders",
        kind: Kind::Folders,
        variable: "BERTH_PLUGIN_FOLDERS",
        default: "/run/docker/plugins,/etc/docker/plugins,/usr/lib/docker/plugins",
        about: "Where plugins are looked for: NAME.sock, NAME.spec, NAME.json",
        ..PLAIN
    },
];

/// By its whole name. Every name that the program itself uses is one.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

fn names(value: &Value) -> impl Iterator<Item = &str> {
    match value {
        Value::List(names) => names.as_slice(),
        _ => &[],
    }
    .iter()
    .map(String::as_str)
}

fn drivers(_: Option<&str>, value: &Value) -> Result<(), String> {
    storage_names(&names(value).collect::<Vec<_>>().join(",")).map(drop).map_err(|error| error.to_string())
}

fn packet_paths(_: Option<&str>, value: &Value) -> Result<(), String> {
    match names(value).find(|name| *name != "auto" && firewall::by_name(name).is_none()) {
        Some(unknown) => Err(format!("{unknown:?}: the known ones are auto, {}", firewall::names().join(", "))),
        None => Ok(()),
    }
}

fn addresses(_: Option<&str>, value: &Value) -> Result<(), String> {
    const BEGINNINGS: [&str; 3] = ["unix:///", "tcp://", "fd://"];
    match names(value).find(|address| !BEGINNINGS.iter().any(|beginning| address.starts_with(beginning))) {
        Some(other) => Err(format!("{other:?}: unix:///PATH, tcp://HOST:PORT or fd:// is wanted")),
        None => Ok(()),
    }
}

fn program(entry: Option<&str>, value: &Value) -> Result<(), String> {
    let (Some(entry), Value::Program(program)) = (entry, value) else { return Ok(()) };
    let alone = BTreeMap::from([(entry.to_owned(), program.clone())]);
    Registry::new(alone).map(drop).map_err(|error| error.to_string())
}

fn storage_option(entry: Option<&str>, value: &Value) -> Result<(), String> {
    let (Some(entry), Value::Text(text)) = (entry, value) else { return Ok(()) };
    storage::check(&BTreeMap::from([(entry.to_owned(), text.clone())])).map_err(|error| error.to_string())
}

fn mirrors(_: Option<&str>, value: &Value) -> Result<(), String> {
    let is_address = |text: &&str| !text.starts_with("https://") && !text.starts_with("http://");
    match value.text().unwrap_or_default().split(',').find(is_address) {
        Some(other) => Err(format!("{other:?}: https://HOST[:PORT] is wanted")),
        None => Ok(()),
    }
}

/// The option alone: whether all agree is seen when they are together.
fn log_option(entry: Option<&str>, value: &Value) -> Result<(), String> {
    let (Some(entry), Value::Text(text)) = (entry, value) else { return Ok(()) };
    log::check_alone(entry, text).map_err(|error| error.to_string())
}

pub(super) fn is_absolute(text: &str) -> bool {
    Path::new(text).is_absolute()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_settings_share_a_name() {
        for (index, key) in KEYS.iter().enumerate() {
            for other in &KEYS[..index] {
                assert_ne!(key.name, other.name);
                assert!(key.variable.is_empty() || key.variable != other.variable, "{}", key.name);
                assert!(key.option.is_empty() || key.option != other.option, "{}", key.name);
                assert!(key.docker.iter().all(|name| !other.docker.contains(name)), "{}", key.name);
            }
        }
    }

    #[test]
    fn defaults_are_of_their_kind_and_pass_their_own_checks() {
        for key in KEYS.iter().filter(|key| !key.default.is_empty()) {
            let value = Value::from_text(key, key.default).unwrap().remove(0).1;
            key.check(None, &value).unwrap();
        }
    }

    #[test]
    fn the_documentation_has_this_table() {
        let text = include_str!("../../../docs/configuration.md");
        for key in KEYS {
            let or_none = |text: &str, prefix: &str| {
                if text.is_empty() { "-".to_owned() } else { format!("`{prefix}{text}`") }
            };
            let row = format!(
                "| `{}` | {} | {} | {} | {} | {} |",
                key.name,
                key.kind.wanted(),
                or_none(key.default, ""),
                or_none(key.variable, ""),
                or_none(key.option, "--"),
                if key.reloads { "yes" } else { "no" },
            );
            assert!(text.contains(&row), "docs/configuration.md lacks the row\n{row}");
            assert!(text.contains(key.about), "docs/configuration.md lacks {:?}", key.about);
        }
        let rows =
            text.lines().filter(|line| line.starts_with("| `") && line.contains("BERTH_") | line.contains("runtimes"));
        assert_eq!(rows.count(), KEYS.len(), "docs/configuration.md has rows of settings that are none");
    }
}
