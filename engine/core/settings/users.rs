//! `--userns` and `userns-remap`: whether a container has users of its own.

use berth_api::models::HostConfig;
use berth_arch::Host;

use super::isolation::Chosen;
use super::modes::{self, Network, Pid, Userns};
use crate::{EngineConfig, Error, Result};

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Users {
    /// Those of the host.
    Host,
    /// The ranges of this user of the host's, as in `userns-remap`.
    Remap(String),
    /// A range that no other container has, of so many numbers.
    Auto(Option<u32>),
}

/// The numbers of `userns-remap` where `--userns remap` asks and the configuration does not say.
const DEFAULT: &str = "default";

/// Refuses what cannot be had together, in Docker's words, and what the backend cannot make.
pub(crate) fn check(host: &HostConfig, engine: &EngineConfig, machine: &Host, backend: &Chosen) -> Result<Users> {
    let text = host.userns_mode.as_deref().unwrap_or_default();
    let rootless = berth_rootless::inside().is_some();
    let (users, asked) = match (modes::userns(text)?, &engine.userns_remap) {
        (Userns::Host, _) | (Userns::Default, None) => return Ok(Users::Host),
        // An ordinary user's containers have no numbers of root's.
        (Userns::Default, Some(_)) if rootless => return Ok(Users::Host),
        (Userns::Default, Some(whose)) => (Users::Remap(whose.clone()), "userns-remap".to_owned()),
        (Userns::Remap, whose) => {
            (Users::Remap(whose.clone().unwrap_or_else(|| DEFAULT.to_owned())), format!("--userns {text}"))
        }
        (Userns::Auto(size), _) => (Users::Auto(size), format!("--userns {text}")),
    };
    if rootless {
        return Err(Error::Unavailable(format!(
            "{asked}: without root, all containers have their owner's users, which are mapped already; leave the option out"
        )));
    }
    if !backend.isolation.user {
        let reason = match berth_arch::kernel::userns::probe() {
            berth_arch::Probe::Unavailable { reason, .. } if machine.kernel.version < (3, 8) => reason,
            _ => "it makes no user namespaces here".to_owned(),
        };
        return Err(Error::Unavailable(format!(
            "{asked}: the {} backend cannot do that: {reason}; --userns host gives the container the host's users, or use \
             another backend (--isolation, see berth doctor)",
            backend.name
        )));
    }
    if host.privileged == Some(true) {
        return Err(Error::invalid(
            "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when \
             running privileged mode (--userns host)",
        ));
    }
    if modes::network(host.network_mode.as_deref().unwrap_or_default())? == Network::Host {
        return Err(Error::invalid(
            "cannot share the host's network namespace when user namespaces are enabled (--userns host)",
        ));
    }
    if modes::pid(host.pid_mode.as_deref().unwrap_or_default())? == Pid::Host {
        return Err(Error::invalid(
            "cannot share the host PID namespace when user namespaces are enabled (--userns host)",
        ));
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use berth_backends::Isolation;

    use super::*;

    #[test]
    fn the_option_wins_over_the_configuration_and_conflicts_are_refused() {
        let mut engine = EngineConfig::within(Path::new("/x"));
        let machine = Host::detect();
        let able = |user| Chosen { name: "x".to_owned(), isolation: Isolation { user, ..Isolation::default() } };
        let with = |mode: &str| HostConfig { userns_mode: Some(mode.to_owned()), ..HostConfig::default() };
        let answer = |host: &HostConfig, engine: &EngineConfig| check(host, engine, &machine, &able(true));
        assert_eq!(answer(&with(""), &engine).unwrap(), Users::Host);
        assert_eq!(answer(&with("remap"), &engine).unwrap(), Users::Remap("default".to_owned()));
        assert_eq!(answer(&with("auto:size=7"), &engine).unwrap(), Users::Auto(Some(7)));
        engine.userns_remap = Some("ann:ann".to_owned());
        assert_eq!(answer(&with(""), &engine).unwrap(), Users::Remap("ann:ann".to_owned()));
        assert_eq!(answer(&with("host"), &engine).unwrap(), Users::Host);
        let refused = [
            (HostConfig { privileged: Some(true), ..with("") }, "privileged mode is incompatible"),
            (HostConfig { network_mode: Some("host".to_owned()), ..with("") }, "host's network namespace"),
            (HostConfig { pid_mode: Some("host".to_owned()), ..with("") }, "host PID namespace"),
        ];
        for (host, words) in refused {
            assert!(answer(&host, &engine).unwrap_err().to_string().contains(words), "{words}");
            assert!(answer(&HostConfig { userns_mode: Some("host".to_owned()), ..host }, &engine).is_ok());
        }
        let unable = check(&with(""), &engine, &machine, &able(false)).unwrap_err().to_string();
        assert!(unable.contains("userns-remap: the x backend") && unable.contains("--userns host"), "{unable}");
    }
}
