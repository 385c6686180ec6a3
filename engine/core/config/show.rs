//! The configuration in force, for people and programs; and what is wrong with a file.

use std::cell::OnceCell;
use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::document::{self, Mistake, Profile};
use super::layers::{self, Origin, Overrides, Settings};
use super::profile::Facts;
use super::value::Value;
use super::{EngineConfig, Registry, assemble};
use crate::{Error, Result};

/// What the layers come to on a host.
pub struct Shown {
    settings: Settings,
    facts: Facts,
}

/// What an engine that is opened now with `overrides` goes by; `host` describes another one ([`Facts::pretend`]). Mistakes are
/// InvalidArgument.
pub fn show(overrides: &Overrides, host: Option<&str>) -> Result<Shown> {
    let facts = OnceCell::from(other(host)?);
    let settings = EngineConfig::gather(overrides, &facts)?.settings;
    Ok(Shown { settings, facts: facts.into_inner().unwrap_or_else(Facts::here) })
}

/// All that is wrong, and how many files were read: with the files that `overrides` leads to and the environment, or with one
/// file by itself.
pub fn check(overrides: &Overrides, file: Option<&Path>) -> Result<(Vec<Mistake>, usize)> {
    let Some(path) = file else {
        let (settings, mut mistakes) = layers::gather(overrides, &OnceCell::new())?;
        mistakes.extend(layers::misspelt_variables());
        let files = settings.files.len();
        mistakes.extend(assemble(settings).err());
        return Ok((mistakes, files));
    };
    let only = Overrides { file: Some(path.to_owned()), ..Overrides::default() };
    let text = std::fs::read(path).map_err(Error::io("read", path))?;
    let Ok(text) = String::from_utf8(text) else {
        let message = "it is not UTF-8".to_owned();
        return Ok((vec![only.file_mistake(message)], 1));
    };
    let document = document::parse(&text, path);
    // A drop-in rests on what is said in others.
    let alone = path.parent().and_then(Path::extension) != Some(std::ffi::OsStr::new("d"));
    let mut mistakes = document.mistakes;
    for profile in document.profiles.iter().filter(|_| alone) {
        let found = disagreement(&document.profiles, profile, path).filter(|found| !mistakes.contains(found));
        mistakes.extend(found);
    }
    // Names of runtimes that the file has are names of isolation backends, in whichever profile they are.
    let mut settings = Settings::default();
    let mut chosen = Vec::new();
    for profile in document.profiles {
        for set in profile.settings {
            let origin = Origin::File { path: path.into(), line: set.line, profile: profile.name.clone() };
            match (set.key.name, &set.value) {
                ("isolation", Value::List(_)) => chosen.push((set.value, origin)),
                _ => settings.set(set.key, set.entry, set.value, origin),
            }
        }
    }
    let registry = super::registry(&settings);
    mistakes.extend(chosen.iter().filter_map(|(value, origin)| super::unknown_backend(&registry, value, origin)));
    mistakes.sort_by_key(|mistake| mistake.line);
    Ok((mistakes, 1))
}

/// What does not go together where `profile` holds, and maybe no other than those around it.
fn disagreement(profiles: &[Profile], profile: &Profile, path: &Path) -> Option<Mistake> {
    let mut settings = Settings::default();
    for around in profiles.iter().filter(|around| profile.is_within(around)) {
        for set in &around.settings {
            let origin = Origin::File { path: path.into(), line: set.line, profile: around.name.clone() };
            settings.set(set.key, set.entry.clone(), set.value.clone(), origin);
        }
    }
    super::disagreement(&EngineConfig::of(settings, Registry::default(), super::default_paths()))
}

impl Overrides {
    fn file_mistake(&self, message: String) -> Mistake {
        let file = self.file.as_deref().unwrap_or(Path::new("")).display().to_string();
        Mistake { file, line: 0, key: String::new(), message }
    }
}

fn other(host: Option<&str>) -> Result<Facts> {
    let mut facts = Facts::here();
    if let Some(host) = host {
        facts.pretend(host).map_err(Error::invalid)?;
    }
    Ok(facts)
}

impl Shown {
    /// TOML that says the same when it is read again; `origins` are comments in it.
    pub fn text(&self, origins: bool) -> String {
        let mut text = String::new();
        if origins {
            text += &format!("# host: {}\n", self.host());
            for seen in &self.settings.profiles {
                let holds = if seen.holds { "holds" } else { "does not hold" };
                text += &format!("# {holds}: [{}] {}:{}\n", seen.name, seen.path.display(), seen.line);
            }
        }
        for (key, entry, value, origin) in self.settings.all() {
            let name = entry.map_or_else(|| key.name.to_owned(), |entry| format!("{}.{}", key.name, quoted(entry)));
            text += &format!("{name} = {}", toml(&value.to_json(key.kind)));
            text += &if origins { format!("  # {origin}\n") } else { "\n".to_owned() };
        }
        text
    }

    /// One object with the tables of `berth.toml`; with `origins` the host, the profiles, and a list of the settings.
    pub fn json(&self, origins: bool) -> Json {
        if !origins {
            let mut root = Map::new();
            for (key, entry, value, _) in self.settings.all() {
                let mut table = &mut root;
                let (tables, last) = key.name.rsplit_once('.').map_or(("", key.name), |(tables, last)| (tables, last));
                let tables = tables.split('.').filter(|name| !name.is_empty()).chain(entry.map(|_| last));
                for name in tables {
                    let inner = table.entry(name).or_insert_with(|| json!({}));
                    let Json::Object(inner) = inner else { unreachable!("a setting is no table of others") };
                    table = inner;
                }
                table.insert(entry.unwrap_or(last).to_owned(), value.to_json(key.kind));
            }
            return Json::Object(root);
        }
        let settings: Vec<Json> = self
            .settings
            .all()
            .map(|(key, entry, value, origin)| {
                json!({ "key": super::full_name(key.name, entry), "value": value.to_json(key.kind), "origin": described(origin) })
            })
            .collect();
        let profiles: Vec<Json> = self
            .settings
            .profiles
            .iter()
            .map(|seen| {
                json!({ "profile": *seen.name, "file": seen.path.display().to_string(), "line": seen.line, "holds": seen.holds })
            })
            .collect();
        let facts = &self.facts;
        json!({
            "host": {
                "arch": platform(facts), "kernel": facts.kernel, "memory": facts.memory, "host": facts.host,
                "cgroup": facts.cgroup(), "rootless": facts.rootless,
            },
            "files": self.settings.files,
            "profiles": profiles,
            "settings": settings,
        })
    }

    /// As `--on` takes it.
    fn host(&self) -> String {
        let facts = &self.facts;
        format!(
            "arch={},kernel={},memory={},host={},cgroup={},rootless={}",
            platform(facts),
            facts.kernel,
            facts.memory,
            facts.host,
            facts.cgroup(),
            facts.rootless
        )
    }
}

fn platform(facts: &Facts) -> String {
    let variant = facts.platform.variant.as_ref().map(|variant| format!("/{variant}")).unwrap_or_default();
    format!("{}{variant}", facts.platform.architecture)
}

fn described(origin: &Origin) -> Json {
    match origin {
        Origin::Default => json!({ "kind": "default" }),
        Origin::File { path, line, profile } if profile.is_empty() => {
            json!({ "kind": "file", "file": path.display().to_string(), "line": line })
        }
        Origin::File { path, line, profile } => {
            json!({ "kind": "file", "file": path.display().to_string(), "line": line, "profile": **profile })
        }
        Origin::Variable(name) => json!({ "kind": "environment", "name": name }),
        Origin::CommandLine(name) => json!({ "kind": "option", "name": format!("--{name}") }),
    }
}

/// A key that TOML takes.
fn quoted(name: &str) -> String {
    let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if plain { name.to_owned() } else { Json::from(name).to_string() }
}

/// JSON's texts are TOML's: both have the same escapes for what has to be escaped.
fn toml(value: &Json) -> String {
    match value {
        Json::Array(list) => format!("[{}]", list.iter().map(toml).collect::<Vec<_>>().join(", ")),
        Json::Object(table) => {
            let pairs = table.iter().map(|(name, value)| format!("{} = {}", quoted(name), toml(value)));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
        // The one character that TOML wants escaped and JSON does not.
        other => other.to_string().replace('\u{7f}', "\\u007f"),
    }
}
