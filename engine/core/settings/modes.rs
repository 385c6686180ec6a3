//! Which namespaces a container has of its own, and whose it shares.

use crate::{Error, Result};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Network {
    None,
    Host,
    Container(String),
    /// One of the store's, and maybe others beside it.
    Named(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pid {
    Private,
    Host,
    Container(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ipc {
    /// A namespace, but no /dev/shm.
    None,
    Private,
    /// A namespace that others may join, /dev/shm included.
    Shareable,
    Host,
    Container(String),
}

fn other(text: &str, what: &str) -> Result<Option<String>> {
    match text.strip_prefix("container:") {
        Some("") => Err(Error::invalid(format!("invalid {what}: container:, a container's name or ID is missing"))),
        other => Ok(other.map(str::to_owned)),
    }
}

/// Nothing at all means the default network, which Docker calls `bridge`.
pub(crate) fn network(text: &str) -> Result<Network> {
    Ok(match text {
        "" | "default" => Network::Named("bridge".to_owned()),
        "none" => Network::None,
        "host" => Network::Host,
        _ => match other(text, "network mode")? {
            Some(name) => Network::Container(name),
            None => Network::Named(text.to_owned()),
        },
    })
}

pub(crate) fn pid(text: &str) -> Result<Pid> {
    match text {
        "" | "private" => Ok(Pid::Private),
        "host" => Ok(Pid::Host),
        _ => other(text, "PID mode")?
            .map(Pid::Container)
            .ok_or_else(|| Error::invalid(format!("invalid PID mode: {text}"))),
    }
}

pub(crate) fn ipc(text: &str) -> Result<Ipc> {
    match text {
        "none" => Ok(Ipc::None),
        "" | "private" => Ok(Ipc::Private),
        "shareable" => Ok(Ipc::Shareable),
        "host" => Ok(Ipc::Host),
        _ => other(text, "IPC mode")?
            .map(Ipc::Container)
            .ok_or_else(|| Error::invalid(format!("invalid IPC mode: {text}"))),
    }
}

/// Whether the namespace is the host's.
pub(crate) fn uts_is_host(text: &str) -> Result<bool> {
    match text {
        "" => Ok(false),
        "host" => Ok(true),
        _ => Err(Error::invalid(format!("invalid UTS mode: {text}"))),
    }
}

/// Whose users a container has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Userns {
    /// As the configuration says.
    Default,
    Host,
    Remap,
    /// How many numbers, if that was said.
    Auto(Option<u32>),
}

/// Docker's `host`, and `remap`, `auto` and `auto:size=N`.
pub(crate) fn userns(text: &str) -> Result<Userns> {
    match text {
        "" => Ok(Userns::Default),
        "host" => Ok(Userns::Host),
        "remap" => Ok(Userns::Remap),
        "auto" => Ok(Userns::Auto(None)),
        _ => {
            let size = text.strip_prefix("auto:size=").and_then(|size| size.parse().ok()).filter(|size| *size > 0);
            size.map(|size| Userns::Auto(Some(size))).ok_or_else(|| {
                Error::invalid(format!("invalid user namespace mode: {text}: use host, remap, auto or auto:size=N"))
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_are_no_mode_name_a_network() {
        for (text, name) in [("", "bridge"), ("default", "bridge"), ("bridge", "bridge"), ("web", "web")] {
            assert_eq!(network(text).unwrap(), Network::Named(name.to_owned()), "{text}");
        }
        assert_eq!(network("container:web").unwrap(), Network::Container("web".to_owned()));
        assert!(network("container:").is_err());
    }

    #[test]
    fn unknown_modes_are_invalid() {
        assert!(pid("web").is_err() && ipc("foo").is_err() && uts_is_host("private").is_err());
        for text in ["keep-id", "auto:", "auto:size=0", "auto:size=x", "auto:uidmapping=0:1:1", "Remap"] {
            assert!(userns(text).is_err(), "{text}");
        }
        assert_eq!(userns("auto:size=4096").unwrap(), Userns::Auto(Some(4096)));
        assert_eq!(ipc("container:a").unwrap(), Ipc::Container("a".to_owned()));
    }
}
