//! What comes together to the configuration, weakest first: defaults, files with their drop-ins, variables, options.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::document::{self, Mistake};
use super::keys::{self, KEYS, Key};
use super::nearest::nearest;
use super::profile::Facts;
use super::value::{Entry, Value};
use crate::{Error, Result};

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// State and run folder in one place.
    pub root: Option<PathBuf>,
    /// Whether that was said by `--root`, and not by BERTH_ROOT, over which other variables win.
    pub root_by_option: bool,
    /// `--config`: this file and its drop-ins instead of the usual ones. It must exist.
    pub file: Option<PathBuf>,
    /// The settings' names, and what was said by their options.
    pub options: Vec<(&'static str, String)>,
}

/// Who said a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    File {
        path: Arc<Path>,
        line: usize,
        /// `when.arch.arm`; empty: none.
        profile: Arc<str>,
    },
    /// Of the environment.
    Variable(&'static str),
    /// Of the command line, without dashes.
    CommandLine(&'static str),
}

/// A profile of a file that was read.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) name: Arc<str>,
    pub(super) path: Arc<Path>,
    pub(super) line: usize,
    pub(super) holds: bool,
}

/// What is in force: of each setting, or each entry of its table, the last word.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// By the setting's place in the table, and the entry.
    values: BTreeMap<(usize, Entry), (Value, Origin)>,
    pub(super) profiles: Vec<Seen>,
    /// The files that were there.
    pub(super) files: Vec<PathBuf>,
}

impl Settings {
    pub(super) fn set(&mut self, key: &Key, entry: Entry, value: Value, origin: Origin) {
        self.values.insert((place(key.name), entry), (value, origin));
    }

    pub fn get(&self, name: &str) -> Option<&(Value, Origin)> {
        self.values.get(&(place(name), None))
    }

    /// The entries of a table that have been set.
    pub fn entries(&self, name: &str) -> impl Iterator<Item = (&str, &Value)> {
        let all = self.values.range((place(name), None)..(place(name) + 1, None));
        all.filter_map(|((_, entry), (value, _))| Some((entry.as_deref()?, value)))
    }

    /// Who said the first of these entries of a table that has been set.
    pub(super) fn entry(&self, name: &str, entries: &[&str]) -> Option<&Origin> {
        let find = |entry: &&str| self.values.get(&(place(name), Some((*entry).to_owned())));
        entries.iter().find_map(find).map(|(_, origin)| origin)
    }

    /// Everything, in the table's order.
    pub fn all(&self) -> impl Iterator<Item = (&'static Key, Option<&str>, &Value, &Origin)> {
        self.values.iter().map(|((place, entry), (value, origin))| (&KEYS[*place], entry.as_deref(), value, origin))
    }

    /// Goes back to what `old` has where `stays` says so of a setting or of an entry, and names what had another value.
    pub(super) fn keep(&mut self, old: &Self, stays: impl Fn(&Key, Option<&str>) -> bool) -> Vec<String> {
        let all: BTreeSet<_> = old.values.keys().chain(self.values.keys()).cloned().collect();
        let mut kept = Vec::new();
        for name in all.into_iter().filter(|(place, entry)| stays(&KEYS[*place], entry.as_deref())) {
            let before = old.values.get(&name).cloned();
            if before.as_ref().map(|found| &found.0) != self.values.get(&name).map(|found| &found.0) {
                let key = KEYS[name.0].name;
                kept.push(super::full_name(key, name.1.as_deref()));
            }
            match before {
                Some(before) => self.values.insert(name, before),
                None => self.values.remove(&name),
            };
        }
        kept
    }
}

fn place(name: &str) -> usize {
    KEYS.iter().position(|key| key.name == name).unwrap_or(KEYS.len())
}

impl Origin {
    /// Where a mistake in the value is.
    pub(super) fn mistake(&self, key: String, message: String) -> Mistake {
        let (file, line) = match self {
            Self::Default => ("the defaults".to_owned(), 0),
            Self::File { path, line, .. } => (path.display().to_string(), *line),
            Self::Variable(name) => ((*name).to_owned(), 0),
            Self::CommandLine(name) => (format!("--{name}"), 0),
        };
        Mistake { file, line, key, message }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line, profile } if profile.is_empty() => write!(f, "{}:{line}", path.display()),
            Self::File { path, line, profile } => write!(f, "{}:{line} [{profile}]", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::CommandLine(name) => write!(f, "--{name}"),
        }
    }
}

/// Puts all layers together. What cannot be read is an error; what means nothing is among the mistakes.
pub(super) fn gather(overrides: &Overrides, facts: &OnceCell<Facts>) -> Result<(Settings, Vec<Mistake>)> {
    let (mut settings, mut mistakes) = (Settings::default(), Vec::new());
    for key in KEYS.iter().filter(|key| !key.default.is_empty()) {
        let value = Value::from_text(key, key.default);
        value.into_iter().flatten().for_each(|(entry, value)| settings.set(key, entry, value, Origin::Default));
    }
    let required = overrides.file.is_some();
    for main in overrides.file.clone().map_or_else(usual_files, |file| vec![file]) {
        for (index, path) in with_drop_ins(main)?.into_iter().enumerate() {
            read(path, required && index == 0, facts, &mut settings, &mut mistakes)?;
        }
    }
    let root = |settings: &mut Settings, said: bool, origin: Origin| -> Result<()> {
        let Some(root) = overrides.root.as_deref().filter(|_| said) else { return Ok(()) };
        let root = std::path::absolute(root).map_err(Error::io("resolve", root))?;
        for (name, path) in [("root", root.clone()), ("run", root.join("run"))] {
            if let Some(key) = keys::find(name) {
                settings.set(key, None, Value::Text(path.to_string_lossy().into_owned()), origin.clone());
            }
        }
        Ok(())
    };
    root(&mut settings, !overrides.root_by_option, Origin::Variable("BERTH_ROOT"))?;
    for key in KEYS.iter().filter(|key| !key.variable.is_empty()) {
        let Some(text) = std::env::var_os(key.variable).filter(|text| !text.is_empty()) else { continue };
        let values = Value::from_text(key, &text.to_string_lossy());
        said(key, values, &Origin::Variable(key.variable), &mut settings, &mut mistakes);
    }
    root(&mut settings, overrides.root_by_option, Origin::CommandLine("root"))?;
    for key in KEYS {
        let texts: Vec<&str> =
            overrides.options.iter().filter(|(name, _)| *name == key.name).map(|(_, text)| text.as_str()).collect();
        if !texts.is_empty() {
            let values = Value::from_texts(key, &texts);
            said(key, values, &Origin::CommandLine(key.option), &mut settings, &mut mistakes);
        }
    }
    Ok((settings, mistakes))
}

fn said(
    key: &'static Key,
    values: Result<Vec<(Entry, Value)>, String>,
    origin: &Origin,
    settings: &mut Settings,
    mistakes: &mut Vec<Mistake>,
) {
    let checked = values.and_then(|values| {
        values.iter().try_for_each(|(entry, value)| key.check(entry.as_deref(), value))?;
        Ok(values)
    });
    match checked {
        Ok(values) => {
            values.into_iter().for_each(|(entry, value)| settings.set(key, entry, value, origin.clone()));
        }
        Err(message) => mistakes.push(origin.mistake(key.name.to_owned(), message)),
    }
}

fn read(
    path: PathBuf,
    required: bool,
    facts: &OnceCell<Facts>,
    settings: &mut Settings,
    mistakes: &mut Vec<Mistake>,
) -> Result<()> {
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => return Ok(()),
        Err(source) => return Err(Error::Io { action: "read", path, source }),
    };
    let path: Arc<Path> = path.into();
    settings.files.push(path.to_path_buf());
    let document = document::parse(&String::from_utf8_lossy(&text), &path);
    mistakes.extend(document.mistakes);
    if std::str::from_utf8(&text).is_err() {
        let message = "it is not UTF-8".to_owned();
        mistakes.push(Mistake { file: path.display().to_string(), line: 0, key: String::new(), message });
    }
    for profile in document.profiles {
        let is_profile = !profile.name.is_empty();
        let holds = !is_profile || profile.holds(facts.get_or_init(Facts::here));
        if is_profile {
            let (name, path) = (profile.name.clone(), path.clone());
            settings.profiles.push(Seen { name, path, line: profile.line, holds });
        }
        for set in profile.settings.into_iter().filter(|_| holds) {
            let origin = Origin::File { path: path.clone(), line: set.line, profile: profile.name.clone() };
            settings.set(set.key, set.entry, set.value, origin);
        }
    }
    Ok(())
}

/// A file, and what is in the folder of its name with `.d`: `*.toml`, by name. Hidden files are left out.
fn with_drop_ins(file: PathBuf) -> Result<Vec<PathBuf>> {
    let mut folder = file.clone().into_os_string();
    folder.push(".d");
    let folder = PathBuf::from(folder);
    let mut found = Vec::new();
    match std::fs::read_dir(&folder) {
        Ok(entries) => {
            for entry in entries {
                let name = entry.map_err(Error::io("read", &folder))?.file_name();
                let bytes = name.as_encoded_bytes();
                if bytes.ends_with(b".toml") && !bytes.starts_with(b".") {
                    found.push(folder.join(name));
                }
            }
        }
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {}
        Err(source) => return Err(Error::Io { action: "read", path: folder, source }),
    }
    found.sort();
    found.insert(0, file);
    Ok(found)
}

fn usual_files() -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from("/etc/berth/berth.toml")];
    files.extend(super::user_folder("XDG_CONFIG_HOME", ".config").map(|folder| folder.join("berth/berth.toml")));
    files
}

/// Variables that set nothing, and are nearly the name of one that does.
pub(super) fn misspelt_variables() -> Vec<Mistake> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    names
        .filter_map(|name| {
            let meant = misspelt(name.strip_prefix(VARIABLES)?)?;
            let message = format!("there is no such variable; did you mean {VARIABLES}{meant}?");
            Some(Mistake { message, file: name, line: 0, key: String::new() })
        })
        .collect()
}

const VARIABLES: &str = "BERTH_";

/// What a variable's name without [`VARIABLES`] may be a slip of; `None` if it is none.
fn misspelt(name: &str) -> Option<&'static str> {
    // People set the first ones, install.sh takes one, and the last one is between berth's own processes.
    const OTHERS: &[&str] = &["ROOT", "CONFIG", "HOST", "PRETEND_WITHOUT"];
    const OF_NO_INTEREST: &[&str] = &["RELEASE", "ROOTLESS"];
    let known = || KEYS.iter().filter_map(|key| key.variable.strip_prefix(VARIABLES)).chain(OTHERS.iter().copied());
    if known().chain(OF_NO_INTEREST.iter().copied()).any(|known| known == name) {
        return None;
    }
    nearest(name, known())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_others_are_no_slips() {
        assert_eq!(misspelt("LOG_DRIVR"), Some("LOG_DRIVER"));
        assert_eq!(misspelt("ISOLATON"), Some("ISOLATION"));
        for other in ["RELEASE", "ROOTLESS", "NAME", "IMAGE", "LOG_DRIVER", "ROOT"] {
            assert_eq!(misspelt(other), None, "{other}");
        }
    }
}
