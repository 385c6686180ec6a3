//! Which network a jail has.
//!
//! The specification's network namespace is a network stack of the jail's own (`vnet`), where only the loopback interface is
//! until others are moved in. Without one the jail has the host's addresses, or those of them that an annotation names. The
//! annotations begin with `org.freebsd.jail.`, as in other engines on FreeBSD.

use std::net::{Ipv4Addr, Ipv6Addr};

use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::parameters::{Parameters, Share, Value};
use super::refuse::asks_for;
use crate::{Error, Result};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Network {
    /// The host's.
    Inherit,
    /// Addresses of the host's that the jail may use.
    Shared { v4: Vec<Ipv4Addr>, v6: Vec<Ipv6Addr> },
    /// A stack of its own.
    Own { interfaces: Vec<String>, pair: Option<Pair> },
}

/// An epair(4): one end joins a bridge, the other one is the jail's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) bridge: String,
    /// `10.0.0.2/24`, for the jail's end.
    pub(super) address: Option<String>,
    pub(super) gateway: Option<String>,
}

const PREFIX: &str = "org.freebsd.jail.";

pub(super) fn annotation<'s>(spec: &'s Spec, name: &str) -> Option<&'s str> {
    let annotations = spec.annotations().as_ref()?;
    annotations.get(&format!("{PREFIX}{name}")).map(String::as_str).filter(|value| !value.is_empty())
}

pub(super) fn list(spec: &Spec, name: &str) -> Vec<String> {
    let words = annotation(spec, name).unwrap_or_default().split(',').map(str::trim);
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

impl Network {
    pub(super) fn of(spec: &Spec) -> Result<Self> {
        let own = match annotation(spec, "vnet") {
            Some("new") => true,
            Some("inherit") => false,
            Some(other) => return Err(invalid("vnet", other, "new or inherit")),
            None => asks_for(spec, LinuxNamespaceType::Network).unwrap_or(false),
        };
        let (v4, v6) = (addresses(spec, "ip4.addr")?, addresses(spec, "ip6.addr")?);
        let interfaces = list(spec, "vnet.interface");
        let pair = Pair::of(spec)?;
        match own {
            true if !v4.is_empty() || !v6.is_empty() => Err(Error::InvalidArgument(
                "annotations org.freebsd.jail.ip4.addr and ip6.addr: they share the host's addresses, and the network is \
                 the jail's own; use org.freebsd.jail.vnet.bridge and vnet.address"
                    .into(),
            )),
            true => {
                interfaces.iter().try_for_each(|name| interface(name))?;
                Ok(Self::Own { interfaces, pair })
            }
            false if !interfaces.is_empty() || pair.is_some() => Err(Error::InvalidArgument(
                "annotations org.freebsd.jail.vnet.*: they are for a network of the jail's own (org.freebsd.jail.vnet=new)"
                    .into(),
            )),
            false if v4.is_empty() && v6.is_empty() => Ok(Self::Inherit),
            false => Ok(Self::Shared { v4, v6 }),
        }
    }

    pub(super) fn is_own(&self) -> bool {
        matches!(self, Self::Own { .. })
    }

    pub(super) fn parameters(&self, parameters: &mut Parameters) {
        match self {
            Self::Own { .. } => parameters.set("vnet", Value::Share(Share::New)),
            Self::Inherit => {
                parameters.set("ip4", Value::Share(Share::Inherit));
                parameters.set("ip6", Value::Share(Share::Inherit));
            }
            Self::Shared { v4, v6 } => {
                if v4.is_empty() {
                    parameters.set("ip4", Value::Share(Share::Disable));
                } else {
                    parameters.set("ip4.addr", Value::Addresses4(v4.clone()));
                }
                if v6.is_empty() {
                    parameters.set("ip6", Value::Share(Share::Disable));
                } else {
                    parameters.set("ip6.addr", Value::Addresses6(v6.clone()));
                }
            }
        }
    }
}

impl Pair {
    fn of(spec: &Spec) -> Result<Option<Self>> {
        let text = |name| annotation(spec, name).map(str::to_owned);
        let (address, gateway) = (text("vnet.address"), text("vnet.gateway"));
        let Some(bridge) = text("vnet.bridge") else {
            return match address.or(gateway) {
                Some(value) => Err(invalid("vnet.address or vnet.gateway", &value, "vnet.bridge beside it")),
                None => Ok(None),
            };
        };
        interface(&bridge)?;
        if let Some(address) = &address {
            let parts = address.split_once('/').map(|(host, length)| (host.parse(), length.parse()));
            match parts {
                Some((Ok(std::net::IpAddr::V4(_)), Ok(0..=32u8)) | (Ok(std::net::IpAddr::V6(_)), Ok(0..=128u8))) => {}
                _ => return Err(invalid("vnet.address", address, "an address with its prefix length")),
            }
        }
        if let Some(gateway) = gateway.as_deref().filter(|gateway| gateway.parse::<std::net::IpAddr>().is_err()) {
            return Err(invalid("vnet.gateway", gateway, "an address"));
        }
        Ok(Some(Self { bridge, address, gateway }))
    }
}

/// IFNAMSIZ of net/if.h is 16 with the final NUL. Names are arguments of ifconfig(8).
fn interface(name: &str) -> Result<()> {
    let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'-');
    if name.len() > 15 || name.starts_with('-') || name.is_empty() || !name.bytes().all(fits) {
        return Err(invalid("vnet", name, "a name of an interface"));
    }
    Ok(())
}

fn addresses<T: std::str::FromStr>(spec: &Spec, name: &str) -> Result<Vec<T>> {
    let parse = |word: String| word.parse().map_err(|_| invalid(name, &word, "addresses, separated by commas"));
    list(spec, name).into_iter().map(parse).collect()
}

pub(super) fn invalid(name: &str, value: &str, wanted: &str) -> Error {
    Error::InvalidArgument(format!("annotation {PREFIX}{name}: {value:?}; it takes {wanted}"))
}
