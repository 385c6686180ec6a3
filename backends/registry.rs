//! The list of backends, and which one is used.

use std::collections::BTreeMap;

use berth_arch::{Host, Probe};

#[cfg(target_os = "linux")]
use crate::namespace::Namespace;
use crate::oci::{self, External, Runtime};
use crate::{AnyBackend, Error, Isolation, Result, absent, jail};

/// Of the backend that Linux alone has.
const NAMESPACE: &str = "namespace";

/// Berth's own, the strongest first. `oci` stands for every external runtime.
pub const ORDER: &[&str] = &[NAMESPACE, oci::NAME, jail::NAME];

/// Names of the design that no backend of this version has.
const PLANNED: &[&str] = &["lxc", "chroot"];

/// A backend by its name; with `runtime`, the external one of that name. What the state of a container says is found again
/// by this in any process, whatever the configuration says by then.
pub fn by_name(name: &str, runtime: Option<&Runtime>) -> Option<AnyBackend> {
    match (name, runtime) {
        (name, Some(runtime)) => Some(Box::new(External::new(name, runtime.clone()))),
        #[cfg(target_os = "linux")]
        (NAMESPACE, None) => Some(Box::new(Namespace)),
        #[cfg(target_os = "freebsd")]
        (jail::NAME, None) => Some(Box::new(jail::Jail)),
        (name, None) => absent::of(name),
    }
}

/// What was picked, and why not the others.
pub struct Selection {
    pub backend: AnyBackend,
    pub isolation: Isolation,
    pub refused: Vec<Refused>,
}

/// A backend that was asked before the one that was picked.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Refused {
    pub name: String,
    pub reason: String,
    pub hint: Option<String>,
}

/// Berth's own backends and the external runtimes that a configuration names.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    runtimes: BTreeMap<String, Runtime>,
}

impl Registry {
    /// A runtime that has the name of one of berth's own is InvalidArgument.
    pub fn new(runtimes: BTreeMap<String, Runtime>) -> Result<Self> {
        let reserved = |name: &&String| matches!(name.as_str(), "" | "auto") || own(name);
        if let Some(name) = runtimes.keys().find(reserved) {
            return Err(Error::InvalidArgument(format!("runtime name {name:?}: it is reserved; use another one")));
        }
        Ok(Self { runtimes })
    }

    /// Every backend that could be used, in the order of preference.
    pub fn all(&self) -> Vec<AnyBackend> {
        ORDER.iter().flat_map(|name| self.of(name)).collect()
    }

    /// The one that `explicit` names (none, `auto` or a list in order of preference, separated by commas), else the
    /// strongest that works here. A name that does not exist is InvalidArgument; Unavailable says every refusal.
    pub fn select(&self, host: &Host, explicit: Option<&str>) -> Result<Selection> {
        let mut refused = Vec::new();
        for name in self.wanted(explicit.unwrap_or("auto"))? {
            let backends = self.of(&name);
            if backends.is_empty() {
                refused.push(Refused {
                    name,
                    reason: "no OCI runtime is on the PATH".to_owned(),
                    hint: Some(format!("install one of {}, or name one in the table runtimes", oci::KNOWN.join(", "))),
                });
            }
            for backend in backends {
                match backend.probe(host) {
                    Probe::Available { detail } => return Ok(Selection { backend, isolation: detail, refused }),
                    Probe::Unavailable { reason, hint } => {
                        refused.push(Refused { name: backend.name().to_owned(), reason, hint });
                    }
                }
            }
        }
        let said: Vec<String> = refused.iter().map(Refused::to_string).collect();
        Err(Error::Unavailable(format!("no isolation backend works here: {}", said.join("; "))))
    }

    /// Whether `explicit` is something that [`Self::select`] takes, which it tries then.
    pub fn check_names(&self, explicit: &str) -> Result<()> {
        self.wanted(explicit).map(drop)
    }

    /// One of berth's own, a runtime, or all runtimes for `oci`.
    fn of(&self, name: &str) -> Vec<AnyBackend> {
        let external = |name: &str, runtime: Runtime| Box::new(External::new(name, runtime)) as AnyBackend;
        if let Some(runtime) = self.runtimes.get(name) {
            return vec![external(name, runtime.clone())];
        }
        if name != oci::NAME {
            let known = oci::KNOWN.contains(&name).then(|| external(name, Runtime::on_the_path(name)));
            return by_name(name, None).or(known).into_iter().collect();
        }
        let named = self.runtimes.iter().map(|(name, runtime)| external(name, runtime.clone()));
        let installed = oci::KNOWN.iter().filter(|name| !self.runtimes.contains_key(**name));
        let installed = installed.filter(|name| berth_arch::program::find(name).is_some());
        named.chain(installed.map(|name| external(name, Runtime::on_the_path(name)))).collect()
    }

    fn wanted(&self, explicit: &str) -> Result<Vec<String>> {
        let mut names: Vec<&str> = explicit.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        if names.is_empty() || names == ["auto"] {
            return Ok(ORDER.iter().map(|&name| name.to_owned()).collect());
        }
        if names.iter().any(|name| !PLANNED.contains(name)) {
            // Of several, those that this version does not have are passed over.
            names.retain(|name| !PLANNED.contains(name));
        }
        names.into_iter().map(|name| self.known(name)).collect()
    }

    fn known(&self, name: &str) -> Result<String> {
        if own(name) && !PLANNED.contains(&name) || oci::KNOWN.contains(&name) || self.runtimes.contains_key(name) {
            return Ok(name.to_owned());
        }
        let why = if PLANNED.contains(&name) { "this version does not have it" } else { "there is none of that name" };
        let names: Vec<&str> = ORDER.iter().copied().chain(self.runtimes.keys().map(String::as_str)).collect();
        Err(Error::InvalidArgument(format!(
            "isolation backend {name:?}: {why}; use auto or one of {}, or name a runtime in the table runtimes",
            names.join(", ")
        )))
    }
}

fn own(name: &str) -> bool {
    ORDER.contains(&name) || PLANNED.contains(&name)
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

    fn registry() -> Registry {
        let runtime = Runtime { path: "/opt/mine".into(), args: Vec::new() };
        Registry::new(BTreeMap::from([("mine".to_owned(), runtime)])).unwrap()
    }

    #[test]
    fn a_backend_that_does_not_exist_is_said() {
        let said = registry().wanted("magic").unwrap_err().to_string();
        assert!(said.contains("there is none of that name") && said.contains("mine"), "{said}");
    }

    #[test]
    fn auto_asks_all_and_a_list_asks_its_own() {
        assert_eq!(registry().wanted("auto").unwrap(), ORDER);
        assert_eq!(registry().wanted(" namespace, ").unwrap(), ["namespace"]);
        assert_eq!(registry().wanted("mine,crun,namespace").unwrap(), ["mine", "crun", "namespace"]);
    }

    #[test]
    fn a_runtime_that_is_configured_wins_and_may_not_have_our_names() {
        let found = registry().of("mine");
        assert_eq!(found[0].runtime().unwrap().path, std::path::Path::new("/opt/mine"));
        assert_eq!(registry().of("oci")[0].name(), "mine");
        let runtime = Runtime::on_the_path("crun");
        assert!(Registry::new(BTreeMap::from([("chroot".to_owned(), runtime)])).is_err());
    }
}
