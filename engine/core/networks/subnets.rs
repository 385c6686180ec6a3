//! Subnets: what a user asks for, judged; and what is free otherwise.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use berth_api::models::{Ipam, IpamConfig};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::record::Subnet;
use crate::{Error, Result};

/// The subnets of `ipam`, in order; empty if none is named.
pub(super) fn asked(ipam: Option<&Ipam>, v4: bool, v6: bool) -> Result<Vec<Subnet>> {
    let mut subnets: Vec<Subnet> = Vec::new();
    let configs = ipam.and_then(|ipam| ipam.config.as_deref()).unwrap_or_default();
    for config in configs.iter().filter(|config| **config != IpamConfig::default()) {
        let subnet = one(config)?;
        let is_v6 = subnet.subnet.addr().is_ipv6();
        if is_v6 && !v6 || !is_v6 && !v4 {
            let (family, flag) = if is_v6 { ("IPv6", "--ipv6") } else { ("IPv4", "--ipv4") };
            return Err(invalid(format!(
                "{family} subnet {} is for a network without {family} ({flag})",
                subnet.subnet
            )));
        }
        if let Some(other) = subnets.iter().find(|other| overlap(other.subnet, subnet.subnet)) {
            return Err(invalid(format!("subnets {} and {} overlap", other.subnet, subnet.subnet)));
        }
        if subnets.iter().any(|other| other.subnet.addr().is_ipv6() == is_v6) {
            let family = if is_v6 { "IPv6" } else { "IPv4" };
            return Err(Error::Unsupported(format!(
                "subnet {}: a second {family} subnet in one network is not supported; make another network",
                subnet.subnet
            )));
        }
        subnets.push(subnet);
    }
    Ok(subnets)
}

fn invalid(message: impl std::fmt::Display) -> Error {
    Error::invalid(format!("invalid network config:\n{message}"))
}

fn one(config: &IpamConfig) -> Result<Subnet> {
    let text = config.subnet.as_deref().unwrap_or_default();
    if text.is_empty() {
        return Err(invalid("a gateway, an IP range or an auxiliary address needs a subnet: give one with --subnet"));
    }
    let subnet = network(text, "subnet")?;
    let (most, least) = if subnet.addr().is_ipv6() { (128, 8) } else { (31, 8) };
    if subnet.prefix_len() > most || subnet.prefix_len() < least {
        return Err(invalid(format!("invalid subnet {text}: its length must be from /{least} to /{most}")));
    }
    if subnet.addr().is_loopback() || subnet.addr().is_multicast() || subnet.addr().is_unspecified() {
        return Err(invalid(format!("invalid subnet {text}: these addresses are not for networks of containers")));
    }
    let inside = |text: &str, what: &str| -> Result<IpAddr> {
        let address: IpAddr = text.parse().map_err(|_| invalid(format!("invalid {what} {text}: it is no address")))?;
        if !subnet.contains(&address) {
            return Err(invalid(format!("invalid {what} {text}: parent subnet {subnet} doesn't contain it")));
        }
        Ok(address)
    };
    let range = match config.ip_range.as_deref().filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => {
            let range = network(text, "ip-range")?;
            if !subnet.contains(&range) {
                return Err(invalid(format!(
                    "invalid ip-range {text}: parent subnet {subnet} doesn't contain ip-range"
                )));
            }
            Some(range)
        }
    };
    let gateway = config.gateway.as_deref().filter(|text| !text.is_empty());
    let gateway = gateway.map(|text| inside(text, "gateway")).transpose()?;
    let mut reserved = BTreeMap::new();
    for (name, text) in config.auxiliary_addresses.iter().flatten() {
        let address = inside(text, "auxiliary address")?;
        if gateway == Some(address) || reserved.values().any(|other| *other == address) {
            return Err(invalid(format!("invalid auxiliary address {text}: it is given twice")));
        }
        reserved.insert(name.clone(), address);
    }
    Ok(Subnet { subnet, range, gateway, reserved })
}

/// In CIDR notation, without bits set below its length.
fn network(text: &str, what: &str) -> Result<IpNet> {
    let net: IpNet =
        text.parse().map_err(|_| invalid(format!("invalid {what} {text}: invalid CIDR block notation")))?;
    if net.trunc() != net {
        return Err(invalid(format!("invalid {what} {text}: it should be {}", net.trunc())));
    }
    Ok(net)
}

pub(super) fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b) || b.contains(&a)
}

/// Docker's pools: 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/20 and its neighbours.
fn pools() -> impl Iterator<Item = Ipv4Net> {
    let large = (17..=31).map(|second| Ipv4Net::new_assert(Ipv4Addr::new(172, second, 0, 0), 16));
    let small = (0..16).map(|part: u8| Ipv4Net::new_assert(Ipv4Addr::new(192, 168, part * 16, 0), 20));
    large.chain(small)
}

/// The first of Docker's pools that `taken` has nothing of; the first `skip` are left out.
pub(super) fn free_v4(skip: usize, taken: &dyn Fn(IpNet) -> Result<bool>) -> Result<IpNet> {
    for pool in pools().skip(skip) {
        if !taken(pool.into())? {
            return Ok(pool.into());
        }
    }
    Err(Error::Unavailable(
        "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network; name \
         one with --subnet"
            .to_owned(),
    ))
}

/// A unique local network (RFC 4193) out of random bytes.
pub(super) fn unique_local(random: [u8; 16]) -> IpNet {
    let mut bytes = [0; 16];
    bytes[0] = 0xfd;
    bytes[1..8].copy_from_slice(&random[..7]);
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from(bytes), 64))
}

/// The first address that can be a host's.
pub(super) fn first_address(subnet: IpNet) -> Option<IpAddr> {
    match subnet {
        IpNet::V4(net) => net.hosts().next().map(IpAddr::V4),
        IpNet::V6(net) if net.prefix_len() >= 127 => Some(net.network().into()),
        IpNet::V6(net) => Some(Ipv6Addr::from(u128::from(net.network()) + 1).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(subnet: &str, range: &str, gateway: &str) -> Ipam {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let config =
            IpamConfig { subnet: text(subnet), ip_range: text(range), gateway: text(gateway), ..IpamConfig::default() };
        Ipam { config: Some(vec![config]), ..Ipam::default() }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (subnet, range, gateway, words) in [
            ("10.0.0.300/24", "", "", "invalid subnet 10.0.0.300/24: invalid CIDR block notation"),
            ("10.0.0.1/24", "", "", "invalid subnet 10.0.0.1/24: it should be 10.0.0.0/24"),
            ("10.0.0.0/32", "", "", "its length must be"),
            ("127.0.0.0/8", "", "", "not for networks of containers"),
            ("10.0.0.0/24", "10.0.1.0/25", "", "parent subnet 10.0.0.0/24 doesn't contain ip-range"),
            ("10.0.0.0/24", "", "10.0.1.1", "invalid gateway 10.0.1.1"),
            ("", "", "10.0.0.1", "needs a subnet"),
            ("fd00::/64", "", "", "without IPv6"),
        ] {
            let error = asked(Some(&config(subnet, range, gateway)), true, false).unwrap_err().to_string();
            assert!(error.starts_with("invalid network config:\n") && error.contains(words), "{error}");
        }
        let found = asked(Some(&config("10.0.0.0/24", "10.0.0.128/25", "10.0.0.9")), true, false).unwrap();
        assert_eq!(found[0].gateway, Some("10.0.0.9".parse().unwrap()));
    }

    #[test]
    fn pools_are_taken_in_order() {
        let taken: [IpNet; 2] = ["172.16.0.0/15".parse().unwrap(), "172.18.3.0/24".parse().unwrap()];
        let free = free_v4(0, &|pool| Ok(taken.iter().any(|&other| overlap(other, pool)))).unwrap();
        assert_eq!(free.to_string(), "172.19.0.0/16");
        assert!(free_v4(0, &|_| Ok(true)).is_err());
        assert_eq!(first_address(free).unwrap().to_string(), "172.19.0.1");
    }
}
