//! What a setting can be set to, and how it is read: from TOML, and from the text of a variable or an option.

use std::path::PathBuf;

use berth_backends::Runtime;
use serde_json::Value as Json;
use toml::de::{DeArray, DeValue};

use super::keys::{Key, Kind, is_absolute};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Flag(bool),
    /// Also of a choice of one.
    List(Vec<String>),
    Program(Runtime),
}

/// What a value belongs to: the setting itself, or an entry of its table.
pub(super) type Entry = Option<String>;

impl Value {
    /// Of a variable: what there may be several of is separated by commas.
    pub(super) fn from_text(key: &Key, text: &str) -> Result<Vec<(Entry, Self)>, String> {
        let several = matches!(key.kind, Kind::Folders | Kind::List | Kind::Table | Kind::Programs);
        let parts: Vec<&str> = if several { text.split(',').map(str::trim).collect() } else { vec![text] };
        Self::from_texts(key, &parts)
    }

    /// Of an option that may be given several times. Tables are KEY=VALUE.
    pub(super) fn from_texts(key: &Key, texts: &[&str]) -> Result<Vec<(Entry, Self)>, String> {
        let last = texts.last().copied().unwrap_or_default();
        let words = || texts.iter().copied().filter(|word| !word.is_empty());
        let value = match key.kind {
            Kind::Flag => Self::Flag(match last {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
                "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
                other => return Err(format!("{other:?}: {} is wanted", key.kind.wanted())),
            }),
            Kind::Path | Kind::Text | Kind::Word(_) | Kind::Number => Self::Text(last.to_owned()),
            Kind::Choice => Self::names(last),
            Kind::Folders | Kind::List => Self::List(words().map(str::to_owned).collect()),
            Kind::Table | Kind::Programs => {
                let pair = |word: &str| match word.split_once('=') {
                    Some((name, value)) => Ok((Some(name.to_owned()), Self::Text(value.to_owned()))),
                    None => Err(format!("{word:?}: KEY=VALUE is wanted")),
                };
                return words().map(pair).collect();
            }
        };
        value.fits(key.kind)?;
        Ok(vec![(None, value)])
    }

    /// Of a setting that has no entries.
    pub(super) fn from_toml(key: &Key, value: &DeValue<'_>) -> Result<Self, String> {
        let value = match (key.kind, value) {
            (Kind::Flag, DeValue::Boolean(flag)) => Self::Flag(*flag),
            (Kind::Path | Kind::Text | Kind::Word(_), DeValue::String(text)) => Self::Text(text.to_string()),
            (Kind::Choice, DeValue::String(text)) => Self::names(text),
            (Kind::Choice | Kind::List | Kind::Folders, DeValue::Array(list)) => Self::List(texts(list)?),
            (Kind::Number, DeValue::Integer(number)) if number.radix() == 10 => Self::Text(number.as_str().to_owned()),
            (kind, other) => return Err(unlike(&kind.wanted(), other)),
        };
        value.fits(key.kind)?;
        Ok(value)
    }

    /// Of an entry of a table. Numbers and switches are the texts that people write for them.
    pub(super) fn entry_from_toml(kind: Kind, value: &DeValue<'_>) -> Result<Self, String> {
        match (kind, value) {
            (Kind::Programs, DeValue::Table(table)) => {
                let mut program = Runtime { path: PathBuf::new(), args: Vec::new() };
                for (name, value) in table {
                    match (name.get_ref().as_ref(), value.get_ref()) {
                        ("path", DeValue::String(path)) => program.path = PathBuf::from(path.as_ref()),
                        // The second is Docker's.
                        ("args" | "runtime-args" | "runtimeArgs", DeValue::Array(list)) => program.args = texts(list)?,
                        ("path", other) => return Err(format!("path: {}", unlike("a text", other))),
                        ("args" | "runtime-args" | "runtimeArgs", other) => {
                            return Err(format!("args: {}", unlike("a list of texts", other)));
                        }
                        (other, _) => return Err(format!("{other}: there is no such key, only path and args")),
                    }
                }
                if program.path.as_os_str().is_empty() {
                    return Err("path is missing: an absolute one, or a name on the PATH".to_owned());
                }
                Ok(Self::Program(program))
            }
            (Kind::Programs, other) => Err(unlike("a table with path and args", other)),
            (_, DeValue::String(text)) => Ok(Self::Text(text.to_string())),
            (_, DeValue::Array(list)) => Ok(Self::Text(texts(list)?.join(","))),
            (_, DeValue::Boolean(flag)) => Ok(Self::Text(flag.to_string())),
            (_, DeValue::Integer(number)) if number.radix() == 10 => Ok(Self::Text(number.as_str().to_owned())),
            (_, other) => Err(unlike("a text", other)),
        }
    }

    /// Names in one text are separated by commas.
    fn names(text: &str) -> Self {
        Self::List(text.split(',').map(|name| name.trim().to_owned()).collect())
    }

    fn fits(&self, kind: Kind) -> Result<(), String> {
        let wrong = match (kind, self) {
            (Kind::Path, Self::Text(path)) => (!is_absolute(path)).then_some(path),
            (Kind::Number, Self::Text(text)) => (!text.parse::<u32>().is_ok_and(|number| number > 0)).then_some(text),
            (Kind::Folders, Self::List(paths)) => paths.iter().find(|path| !is_absolute(path)),
            (Kind::Word(words), Self::Text(word)) => (!words.contains(&word.as_str())).then_some(word),
            (Kind::Choice, Self::List(names)) if names.is_empty() => return Err("the list is empty".to_owned()),
            (Kind::Choice, Self::List(names)) => names.iter().find(|name| name.is_empty() || name.contains(',')),
            _ => None,
        };
        wrong.map_or(Ok(()), |wrong| Err(format!("{wrong:?}: {} is wanted", kind.wanted())))
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// `kind`: a choice of one is a text.
    pub(super) fn to_json(&self, kind: Kind) -> Json {
        match self {
            Self::Text(text) if kind == Kind::Number => text.parse().map_or(Json::Null, Json::Number),
            Self::Text(text) => Json::from(text.as_str()),
            Self::Flag(flag) => Json::from(*flag),
            Self::List(names) if kind == Kind::Choice && names.len() == 1 => Json::from(names[0].as_str()),
            Self::List(list) => Json::from(list.as_slice()),
            Self::Program(program) => serde_json::to_value(program).unwrap_or_default(),
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Flag(flag) => flag.fmt(f),
            Self::List(list) => f.write_str(&list.join(",")),
            Self::Program(program) => program.path.display().fmt(f),
        }
    }
}

fn texts(list: &DeArray<'_>) -> Result<Vec<String>, String> {
    let text = |value: &DeValue<'_>| match value {
        DeValue::String(text) => Ok(text.to_string()),
        other => Err(unlike("a list of texts", other)),
    };
    list.iter().map(|value| text(value.get_ref())).collect()
}

fn unlike(wanted: &str, found: &DeValue<'_>) -> String {
    let article = if matches!(found, DeValue::Integer(_) | DeValue::Array(_)) { "an" } else { "a" };
    format!("{wanted} is wanted, and {article} {} is here", found.type_str())
}
