//! What this host offers, what was picked and why, and each refusal with its reason and its remedy.

mod lacks;

use berth_api::doctor::{Choice, Finding, Report};
use berth_arch::{Probe, kernel};
use berth_backends::{Isolation, criu};
use berth_fs_drivers::registry::DRIVERS;
use berth_network::{masquerade, namespace};
use serde_json::Value;

use crate::{Engine, Result};

impl Engine {
    /// Tries everything for real, what takes processes once a boot; `refresh` tries that again too.
    pub fn doctor(&self, refresh: bool) -> Result<Report> {
        if refresh {
            berth_arch::answers::forget();
        }
        let mut facilities = Vec::new();
        for (name, purpose, probe) in kernel::PROBES {
            let found = namespace::at_home(probe)?;
            let text = |text: String| if text.is_empty() { Value::Null } else { Value::from(text) };
            facilities.push(finding(name, purpose, found.map(text)));
        }
        let criu = criu::probe(self.config().criu.as_deref());
        let has_criu = criu.is_available();
        facilities.push(finding("criu", "checkpoint and restore of containers", criu.map(Value::from)));
        let found = berth_network::veth::probe().map(|()| Value::Null);
        facilities.push(finding("veth", "leads containers into networks", found));
        let storage = self.storage_choice();
        let isolation = self.isolation_choice(has_criu);
        let mut warnings: Vec<String> = self.storage().caution.iter().map(|caution| (*caution).to_owned()).collect();
        warnings.extend(self.storage().unusable.clone());
        warnings.extend(crate::system::single_user());
        if isolation.picked.is_none() {
            warnings.push("no isolation backend works here: no container can be started".to_owned());
        }
        let packets = self.packet_choice();
        if packets.picked.as_deref() == Some(crate::networks::RELAY) {
            warnings.push(match masquerade::probe()?.reason() {
                None if berth_rootless::inside().is_some() => {
                    "the engine runs without root: ports are relayed and addresses translated by programs".to_owned()
                }
                None => {
                    "no packet filter works here: ports are relayed and addresses translated by programs".to_owned()
                }
                Some(reason) => format!(
                    "no packet filter works here, so ports are relayed by programs, and containers do not reach the \
                    outside: {reason}"
                ),
            });
        }
        if berth_arch::kernel::misleading::is_hidden() {
            warnings.push(
                "a filter around berth, or this kernel, answers system calls that it does not have (clone3, statx, openat2 \
                 and others) with something else than that: berth and its containers run under a filter that says so"
                    .into(),
            );
        }
        let pretended: Vec<_> =
            berth_arch::pretend::FACILITIES.iter().filter(|name| berth_arch::pretend::is_named(name)).collect();
        if !pretended.is_empty() {
            warnings.push(format!("BERTH_PRETEND_WITHOUT hides {pretended:?}"));
        }
        let mut report = Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: json(self.host()),
            facilities,
            storage,
            isolation,
            packet_paths: Some(packets),
            state_root: self.paths().state.display().to_string(),
            run_root: self.paths().run.display().to_string(),
            missing: self.missing(),
            warnings,
        };
        lacks::find(&mut report);
        Ok(report)
    }

    /// Of what the configuration names. A storage driver that does not work keeps the engine from opening.
    fn missing(&self) -> Vec<String> {
        let (config, host) = (self.config(), self.host());
        let mut missing = Vec::new();
        if let Some(asked) = config.isolation.as_deref()
            && let Err(error) = config.backends.select(host, Some(asked))
        {
            missing.push(format!("isolation = {asked:?}: {error}"));
        }
        for name in config.backends.runtimes() {
            if let Err(error) = config.backends.select(host, Some(name)) {
                missing.push(format!("runtimes.{name}: {error}"));
            }
        }
        if let Some(asked) = config.packet_path.as_deref()
            && let Err(error) = self.packet_path_choice()
        {
            missing.push(format!("network.packet-path = {asked:?}: {error}"));
        }
        if let Some(path) = &config.criu
            && let Some(reason) = criu::probe(Some(path)).reason()
        {
            missing.push(format!("criu = {path:?}: {reason}"));
        }
        missing
    }

    fn storage_choice(&self) -> Choice {
        let root = &self.paths().state;
        let picked = self.storage().name;
        let candidates: Vec<Finding> = DRIVERS
            .iter()
            .map(|entry| {
                let probe = if entry.name == picked { entry.probe } else { entry.unasked };
                finding(entry.name, entry.caution.unwrap_or_default(), probe(root).map(Value::from))
            })
            .collect();
        let why = if self.asks_for_driver() {
            "it was asked for"
        } else if first_available(&candidates) == Some(picked) {
            "the first in the order of preference that works here"
        } else {
            "the state on disk was made with it"
        };
        Choice { picked: Some(picked.to_owned()), why: why.to_owned(), candidates }
    }

    fn packet_choice(&self) -> Choice {
        let candidates: Vec<Finding> = berth_network::firewall::registry::probe_all()
            .into_iter()
            .map(|(name, probe)| {
                finding(name, "", probe.map(|found| if found.ipv6 { "IPv4, IPv6" } else { "IPv4" }.into()))
            })
            .collect();
        match self.packet_path_choice() {
            Ok((picked, _)) => {
                let asked = self.config().packet_path.is_some();
                let why = match first_available(&candidates) {
                    _ if asked => "it was asked for",
                    Some(first) if first == picked => "the first in the order of preference that works here",
                    _ => "networks came up with it, and stay so until a reboot",
                };
                Choice { picked: Some(picked), why: why.to_owned(), candidates }
            }
            Err(error) => Choice { picked: None, why: error.to_string(), candidates },
        }
    }

    fn isolation_choice(&self, has_criu: bool) -> Choice {
        let host = self.host();
        let config = self.config();
        let backends = &config.backends;
        let candidates: Vec<Finding> = backends
            .all()
            .iter()
            .map(|backend| {
                let found =
                    backend.probe(host).map(|found| Isolation { checkpoint: found.checkpoint && has_criu, ..found });
                finding(backend.name(), "", found.map(|isolation| json(&isolation)))
            })
            .collect();
        let asked = config.isolation.as_deref();
        match backends.select(host, asked) {
            Ok(selection) => {
                let why = if asked.is_some() { "it was asked for" } else { "the strongest that works here" };
                Choice { picked: Some(selection.backend.name().to_owned()), why: why.to_owned(), candidates }
            }
            Err(error) => Choice { picked: None, why: error.to_string(), candidates },
        }
    }
}

fn first_available(candidates: &[Finding]) -> Option<&str> {
    candidates.iter().find(|candidate| candidate.available).map(|candidate| candidate.name.as_str())
}

fn json(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

fn finding(name: &str, purpose: &str, probe: Probe<Value>) -> Finding {
    let (available, detail, reason, remedy) = match probe {
        Probe::Available { detail } => (true, detail, None, None),
        Probe::Unavailable { reason, hint } => (false, Value::Null, Some(reason), hint),
    };
    Finding { name: name.to_owned(), purpose: purpose.to_owned(), available, detail, reason, remedy, lacks: Vec::new() }
}
