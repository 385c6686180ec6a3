//! One file of TOML, taken apart into settings and profiles, with the line of each. Nothing is decided here: profiles that do not
//! hold are read and checked like the others.

use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, KEYS, Key};
use super::nearest::unknown_key;
use super::profile::{Condition, Facts};
use super::value::{Entry, Value};

/// A file's settings, in the order in which they count.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// The first is the file without any profile; the others are in the file's order.
    pub(super) profiles: Vec<Profile>,
    pub(super) mistakes: Vec<Mistake>,
}

#[derive(Debug, Default)]
pub(super) struct Profile {
    /// `when.arch.arm`; empty: none.
    pub(super) name: Arc<str>,
    pub(super) line: usize,
    conditions: Vec<Condition>,
    pub(super) settings: Vec<Set>,
}

/// One key with its value.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) key: &'static Key,
    pub(super) entry: Entry,
    pub(super) value: Value,
    pub(super) line: usize,
}

/// Something in a file that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Mistake {
    /// The file, or the variable or option.
    pub file: String,
    /// From 1; 0: the whole.
    pub line: usize,
    /// The whole key, empty where the text is no TOML.
    pub key: String,
    pub message: String,
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl Profile {
    pub(super) fn holds(&self, facts: &Facts) -> bool {
        self.conditions.iter().all(|condition| condition.holds(facts))
    }

    /// Whether `around` holds wherever this one does: it is the file's own, or this one stands in it.
    pub(super) fn is_within(&self, around: &Self) -> bool {
        self.conditions.starts_with(&around.conditions)
    }
}

type Pair<'a, 'i> = (&'a Spanned<std::borrow::Cow<'i, str>>, &'a Spanned<DeValue<'i>>);

/// Never fails: what cannot be read is among the mistakes, which are in the order of the file.
pub(super) fn parse(text: &str, path: &Path) -> Document {
    let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
    let mut reader = Reader { ends, file: path.display().to_string(), document: Document::default() };
    match DeTable::parse(text) {
        Ok(table) => reader.profile(table.get_ref(), "", 0, Vec::new()),
        Err(error) => {
            let start = error.span().map_or(0, |span| span.start);
            reader.mistake(start, String::new(), error.message().lines().next().unwrap_or("no TOML").to_owned());
        }
    }
    reader.document.profiles.sort_by_key(|profile| profile.line);
    reader.document.mistakes.sort_by_key(|mistake| mistake.line);
    reader.document
}

struct Reader {
    /// Of the lines.
    ends: Vec<usize>,
    file: String,
    document: Document,
}

impl Reader {
    fn line(&self, start: usize) -> usize {
        1 + self.ends.partition_point(|&end| end < start)
    }

    fn mistake(&mut self, start: usize, key: String, message: String) {
        let line = self.line(start);
        self.document.mistakes.push(Mistake { file: self.file.clone(), line, key, message });
    }

    /// A table of settings: the file's, or a profile's of `name`.
    fn profile(&mut self, table: &DeTable<'_>, name: &str, line: usize, conditions: Vec<Condition>) {
        let mut profile = Profile { name: name.into(), line, conditions, settings: Vec::new() };
        self.table(table, "", &mut profile);
        let conditions = profile.conditions.clone();
        self.document.profiles.push(profile);
        let Some(when) = table.get("when") else { return };
        let name = join(name, "when");
        for (condition, values) in self.tables((&Spanned::new(0..0, "when".into()), when), &name) {
            let kind = condition.get_ref();
            let name = join(&name, kind);
            for (value, inner) in self.tables((condition, values), &name) {
                let name = join(&name, value.get_ref());
                let start = value.span().start;
                let read = Condition::parse(kind, value.get_ref());
                match (read, inner.get_ref()) {
                    (Err(message), _) => self.mistake(start, name, message),
                    (Ok(_), other) if !other.is_table() => {
                        self.mistake(start, name, "a table of settings is wanted".to_owned())
                    }
                    (Ok(condition), inner) => {
                        let all = [conditions.as_slice(), &[condition]].concat();
                        let line = self.line(start);
                        self.profile(inner.as_table().unwrap_or(&DeTable::new()), &name, line, all);
                    }
                }
            }
        }
    }

    /// What is in the table that a profile's name goes through.
    fn tables<'a, 'i>(&mut self, (key, value): Pair<'a, 'i>, name: &str) -> Vec<Pair<'a, 'i>> {
        match value.get_ref() {
            DeValue::Table(table) => table.iter().collect(),
            _ => {
                let start = key.span().start.max(value.span().start);
                self.mistake(start, name.to_owned(), "a condition is wanted, as [when.arch.arm]".to_owned());
                Vec::new()
            }
        }
    }

    fn table(&mut self, table: &DeTable<'_>, within: &str, profile: &mut Profile) {
        for (name, value) in table {
            let start = name.span().start;
            let whole =
                if within.is_empty() { name.get_ref().to_string() } else { format!("{within}.{}", name.get_ref()) };
            let found = keys::find(&whole);
            let is_prefix =
                || KEYS.iter().any(|key| key.name.strip_prefix(&whole).is_some_and(|rest| rest.starts_with('.')));
            match (found, value.get_ref()) {
                _ if whole == "when" => {}
                (Some(key), value) if key.kind.has_entries() => self.entries(key, value, start, profile),
                (Some(key), value) => match Value::from_toml(key, value) {
                    Ok(value) => self.set(key, None, value, start, profile),
                    Err(message) => self.mistake(start, join(&profile.name, &whole), message),
                },
                (None, DeValue::Table(inner)) if is_prefix() => self.table(inner, &whole, profile),
                (None, _) if is_prefix() => {
                    self.mistake(start, join(&profile.name, &whole), "a table is wanted".to_owned());
                }
                (None, _) => self.mistake(start, join(&profile.name, &whole), unknown_key(&whole)),
            }
        }
    }

    fn entries(&mut self, key: &'static Key, value: &DeValue<'_>, start: usize, profile: &mut Profile) {
        let Some(table) = value.as_table() else {
            let message = format!("{} is wanted, and a {} is here", key.kind.wanted(), value.type_str());
            return self.mistake(start, join(&profile.name, key.name), message);
        };
        for (entry, value) in table {
            self.entry(key, entry.get_ref().to_string(), value, entry.span().start, profile);
        }
    }

    /// `storage-options.lvm.pool` is the option `lvm.pool`.
    fn entry(
        &mut self,
        key: &'static Key,
        entry: String,
        value: &Spanned<DeValue<'_>>,
        start: usize,
        profile: &mut Profile,
    ) {
        if let (keys::Kind::Table, DeValue::Table(inner)) = (key.kind, value.get_ref()) {
            for (name, value) in inner {
                self.entry(key, format!("{entry}.{}", name.get_ref()), value, name.span().start, profile);
            }
            return;
        }
        match Value::entry_from_toml(key.kind, value.get_ref()) {
            Ok(value) => self.set(key, Some(entry), value, start, profile),
            Err(message) => self.mistake(start, join(&join(&profile.name, key.name), &entry), message),
        }
    }

    fn set(&mut self, key: &'static Key, entry: Entry, value: Value, start: usize, profile: &mut Profile) {
        if let Err(message) = key.check(entry.as_deref(), &value) {
            let name = super::full_name(key.name, entry.as_deref());
            return self.mistake(start, join(&profile.name, &name), message);
        }
        let line = self.line(start);
        profile.settings.push(Set { key, entry, value, line });
    }
}

/// With a dot; a part that TOML would not take as it is gets quotes.
pub(super) fn join(before: &str, part: &str) -> String {
    let plain = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let part = if plain { part.to_owned() } else { format!("{part:?}") };
    if before.is_empty() { part } else { format!("{before}.{part}") }
}
