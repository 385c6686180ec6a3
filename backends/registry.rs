//! The list of backends, and which one is used.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use berth_arch::{Host, Probe};

use crate::runtime::{self, Runtime};
use crate::{AnyBackend, Error, Isolation, Result, absent, jail};
#[cfg(target_os = "linux")]
use crate::{chroot::Chroot, lxc::Lxc, namespace::Namespace, oci::External};

/// Berth's own, the strongest first. `oci` stands for every external runtime.
pub const ORDER: &[&str] = &["namespace", "lxc", runtime::NAME, jail::NAME, "chroot"];

/// A backend by its name; with `runtime`, the external one of that name. What the state of a container says is found again
/// by this in any process, whatever the configuration says by then.
pub fn by_name(name: &str, runtime: Option<&Runtime>) -> Option<AnyBackend> {
    match (name, runtime) {
        (name, Some(runtime)) => Some(external(name, runtime)),
        #[cfg(target_os = "linux")]
        ("namespace", None) => Some(Box::new(Namespace)),
        #[cfg(target_os = "linux")]
        ("lxc", None) => Some(Box::new(Lxc)),
        #[cfg(target_os = "linux")]
        ("chroot", None) => Some(Box::new(Chroot)),
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
    /// What was found last: a container is made, and started a moment later.
    last: Arc<Mutex<Option<Found>>>,
}

#[derive(Debug)]
struct Found {
    name: String,
    isolation: Isolation,
    when: Instant,
}

/// How long the answer of a probe is taken for the host's present state.
const FRESH: Duration = Duration::from_secs(1);

impl Registry {
    /// A runtime that has the name of one of berth's own is InvalidArgument.
    pub fn new(runtimes: BTreeMap<String, Runtime>) -> Result<Self> {
        let reserved = |name: &&String| matches!(name.as_str(), "" | "auto") || ORDER.contains(&name.as_str());
        if let Some(name) = runtimes.keys().find(reserved) {
            return Err(Error::InvalidArgument(format!("runtime name {name:?}: it is reserved; use another one")));
        }
        Ok(Self { runtimes, ..Self::default() })
    }

    /// Every backend that could be used, in the order of preference.
    pub fn all(&self) -> Vec<AnyBackend> {
        ORDER.iter().flat_map(|name| self.of(name)).collect()
    }

    /// The one that `explicit` names (none, `auto` or a list in order of preference, separated by commas), else the
    /// strongest that works here. A name that does not exist is InvalidArgument; Unavailable says every refusal.
    pub fn select(&self, host: &Host, explicit: Option<&str>) -> Result<Selection> {
        let mut refused = Vec::new();
        let wanted = self.wanted(explicit.unwrap_or("auto"))?;
        if let Some(found) = wanted.first().and_then(|name| self.found_just_now(name)) {
            return Ok(found);
        }
        for name in wanted {
            let backends = self.of(&name);
            if backends.is_empty() {
                refused.push(Refused {
                    name,
                    reason: "no OCI runtime is on the PATH".to_owned(),
                    hint: Some(format!(
                        "install one of {}, or name one in the table runtimes",
                        runtime::KNOWN.join(", ")
                    )),
                });
            }
            for backend in backends {
                match backend.probe(host) {
                    Probe::Available { detail } => {
                        let name = backend.name().to_owned();
                        *self.last() = Some(Found { name, isolation: detail.clone(), when: Instant::now() });
                        return Ok(Selection { backend, isolation: detail, refused });
                    }
                    Probe::Unavailable { reason, hint } => {
                        refused.push(Refused { name: backend.name().to_owned(), reason, hint });
                    }
                }
            }
        }
        let said: Vec<String> = refused.iter().map(Refused::to_string).collect();
        Err(Error::Unavailable(format!("no isolation backend works here: {}", said.join("; "))))
    }

    fn found_just_now(&self, name: &str) -> Option<Selection> {
        let last = self.last();
        let found = last.as_ref().filter(|found| found.name == name && found.when.elapsed() < FRESH)?;
        let backend = self.of(name).into_iter().next()?;
        Some(Selection { backend, isolation: found.isolation.clone(), refused: Vec::new() })
    }

    fn last(&self) -> MutexGuard<'_, Option<Found>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The names of the external runtimes that a configuration has.
    pub fn runtimes(&self) -> impl Iterator<Item = &String> {
        self.runtimes.keys()
    }

    /// With further runtimes, which win over those of the same name.
    pub fn extend(&mut self, other: Self) {
        self.runtimes.extend(other.runtimes);
    }

    /// Whether `explicit` is something that [`Self::select`] takes, which it tries then.
    pub fn check_names(&self, explicit: &str) -> Result<()> {
        self.wanted(explicit).map(drop)
    }

    /// One of berth's own, a runtime, or all runtimes for `oci`.
    fn of(&self, name: &str) -> Vec<AnyBackend> {
        if let Some(runtime) = self.runtimes.get(name) {
            return vec![external(name, runtime)];
        }
        if name != runtime::NAME {
            let known = runtime::KNOWN.contains(&name).then(|| external(name, &Runtime::on_the_path(name)));
            return by_name(name, None).or(known).into_iter().collect();
        }
        let named = self.runtimes.iter().map(|(name, runtime)| external(name, runtime));
        let installed = runtime::KNOWN.iter().filter(|name| !self.runtimes.contains_key(**name));
        let installed = installed.filter(|name| berth_arch::program::find(name).is_some());
        named.chain(installed.map(|name| external(name, &Runtime::on_the_path(name)))).collect()
    }

    fn wanted(&self, explicit: &str) -> Result<Vec<String>> {
        let names: Vec<&str> = explicit.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        if names.is_empty() || names == ["auto"] {
            return Ok(ORDER.iter().map(|&name| name.to_owned()).collect());
        }
        names.into_iter().map(|name| self.known(name)).collect()
    }

    fn known(&self, name: &str) -> Result<String> {
        if ORDER.contains(&name) || runtime::KNOWN.contains(&name) || self.runtimes.contains_key(name) {
            return Ok(name.to_owned());
        }
        let names: Vec<&str> = ORDER.iter().copied().chain(self.runtimes.keys().map(String::as_str)).collect();
        Err(Error::InvalidArgument(format!(
            "isolation backend {name:?}: there is none of that name; use auto or one of {}, or name a runtime in the table runtimes",
            names.join(", ")
        )))
    }
}

#[cfg(target_os = "linux")]
fn external(name: &str, runtime: &Runtime) -> AnyBackend {
    Box::new(External::new(name, runtime.clone()))
}

#[cfg(not(target_os = "linux"))]
fn external(name: &str, _runtime: &Runtime) -> AnyBackend {
    absent::runtime(name)
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
