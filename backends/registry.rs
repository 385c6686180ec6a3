//! The list of backends, and which one is used.

use berth_arch::{Host, Probe};

use crate::namespace::{self, Namespace};
use crate::{Backend, Entry, Error, Isolation, Result};

/// The strongest first.
pub const BACKENDS: &[Entry] = &[Entry { name: namespace::NAME, backend: &Namespace }];

/// Names of the design that no backend of this version has.
const PLANNED: &[&str] = &["lxc", "oci", "jail", "chroot"];

/// What was picked, and why not the others.
pub struct Selection {
    pub backend: &'static (dyn Backend + Sync),
    pub isolation: Isolation,
    pub refused: Vec<Refused>,
}

/// A backend that was asked before the one that was picked.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Refused {
    pub name: &'static str,
    pub reason: String,
    pub hint: Option<String>,
}

/// A backend by its name.
pub fn by_name(name: &str) -> Option<&'static (dyn Backend + Sync)> {
    BACKENDS.iter().find(|entry| entry.name == name).map(|entry| entry.backend)
}

/// The one that `explicit` names (none, `auto` or a list in order of preference, separated by commas), else the
/// strongest that works here. A name that does not exist is InvalidArgument; Unavailable says every refusal.
pub fn select(host: &Host, explicit: Option<&str>) -> Result<Selection> {
    let mut refused = Vec::new();
    for entry in wanted(explicit.unwrap_or("auto"))? {
        match entry.backend.probe(host) {
            Probe::Available { detail } => {
                return Ok(Selection { backend: entry.backend, isolation: detail, refused });
            }
            Probe::Unavailable { reason, hint } => refused.push(Refused { name: entry.name, reason, hint }),
        }
    }
    let said: Vec<String> = refused.iter().map(Refused::to_string).collect();
    Err(Error::Unavailable(format!("no isolation backend works here: {}", said.join("; "))))
}

/// Whether `explicit` is something that [`select`] takes, which it tries then.
pub fn check_names(explicit: &str) -> Result<()> {
    wanted(explicit).map(drop)
}

fn wanted(explicit: &str) -> Result<Vec<&'static Entry>> {
    let mut names: Vec<&str> = explicit.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if names.is_empty() || names == ["auto"] {
        return Ok(BACKENDS.iter().collect());
    }
    if names.iter().any(|name| !PLANNED.contains(name)) {
        // Of several, those that this version does not have are passed over.
        names.retain(|name| !PLANNED.contains(name));
    }
    let known = || BACKENDS.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ");
    let find = |name: &str| {
        let entry = BACKENDS.iter().find(|entry| entry.name == name);
        entry.ok_or_else(|| {
            let why =
                if PLANNED.contains(&name) { "this version does not have it" } else { "there is none of that name" };
            Error::InvalidArgument(format!("isolation backend {name:?}: {why}; use auto or one of {}", known()))
        })
    };
    names.into_iter().map(find).collect()
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.reason)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_that_does_not_exist_is_said() {
        let said = |name| wanted(name).err().unwrap().to_string();
        assert!(said("chroot").contains("this version does not have it"));
        assert!(said("magic").contains("there is none of that name"));
    }

    #[test]
    fn auto_asks_all_and_a_list_asks_its_own() {
        let names = |text| wanted(text).unwrap().iter().map(|entry| entry.name).collect::<Vec<_>>();
        assert_eq!(names("auto").len(), BACKENDS.len());
        assert_eq!(names(" namespace, "), ["namespace"]);
        assert_eq!(names("lxc,namespace"), ["namespace"]);
    }
}
