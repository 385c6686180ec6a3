//! Parameters of jail_set(2), as jail(8) names them.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The value of a parameter, in the kernel's form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(i32),
    /// A word that is there or not: its opposite has `no` before its last part.
    Set,
    Share(Share),
    Addresses4(Vec<Ipv4Addr>),
    Addresses6(Vec<Ipv6Addr>),
}

/// What of the host a jail has (JAIL_SYS_* of sys/jail.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    Disable = 0,
    New = 1,
    Inherit = 2,
}

/// In the order they are given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Parameters(Vec<(String, Value)>);

impl Parameters {
    pub(super) fn set(&mut self, name: &str, value: Value) {
        self.0.push((name.to_owned(), value));
    }

    pub(super) fn text(&mut self, name: &str, value: impl Into<String>) {
        self.set(name, Value::Text(value.into()));
    }

    pub(super) fn share(&mut self, name: &str, own: bool) {
        self.set(name, Value::Share(if own { Share::New } else { Share::Inherit }));
    }

    /// `allow.raw_sockets` or `allow.noraw_sockets`.
    pub(super) fn word(&mut self, name: &str, on: bool) {
        let name = match name.rsplit_once('.') {
            _ if on => name.to_owned(),
            Some((group, word)) => format!("{group}.no{word}"),
            None => format!("no{name}"),
        };
        self.0.push((name, Value::Set));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    #[cfg(test)]
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

/// Of a container's jail. Dots make a hierarchy and a number is a jail's number, so neither is in a name; colons and slashes
/// separate the parts of rctl(8)'s rules.
pub(super) fn jail_name(container: &str) -> String {
    format!("berth-{}", container.replace('.', "%"))
}
