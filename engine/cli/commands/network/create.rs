//! `berth network create`.

use anyhow::{anyhow, bail, ensure};
use berth_api::models::{ConfigReference, Ipam, IpamConfig, NetworkCreateRequest, NetworkCreateResponse};
use ipnet::IpNet;

use crate::commands::{Act, boolean};
use crate::options::map::{labels, map};
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Enable manual container attachment
    #[arg(long)]
    attachable: bool,
    /// Auxiliary IPv4 or IPv6 addresses used by Network driver
    #[arg(long, value_name = "NAME=IP")]
    aux_address: Vec<String>,
    /// The network from which to copy the configuration
    #[arg(long, value_name = "NETWORK")]
    config_from: Option<String>,
    /// Create a configuration only network
    #[arg(long)]
    config_only: bool,
    /// Driver to manage the Network
    #[arg(short, long, value_name = "NAME", default_value = "bridge")]
    driver: String,
    /// IPv4 or IPv6 Gateway for the master subnet
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    gateway: Vec<String>,
    /// Create swarm routing-mesh network
    #[arg(long)]
    ingress: bool,
    /// Restrict external access to the network
    #[arg(long)]
    internal: bool,
    /// Allocate container ip from a sub-range
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    ip_range: Vec<String>,
    /// IP Address Management Driver
    #[arg(long, value_name = "NAME", default_value = "default")]
    ipam_driver: String,
    /// Set IPAM driver specific options
    #[arg(long, value_name = "KEY=VALUE")]
    ipam_opt: Vec<String>,
    /// Enable or disable IPv4 address assignment (default true)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    ipv4: Option<bool>,
    /// Enable or disable IPv6 address assignment
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    ipv6: Option<bool>,
    /// Set metadata on a network
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Set driver specific options
    #[arg(short, long, value_name = "KEY=VALUE")]
    opt: Vec<String>,
    /// Control the network's scope
    #[arg(long, value_name = "SCOPE")]
    scope: Option<String>,
    /// Subnet in CIDR format that represents a network segment
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    subnet: Vec<String>,
    #[arg(value_name = "NETWORK")]
    name: String,
}

/// The subnet and whether it holds the beginning of what is named; what is no address is in no subnet.
fn holds(subnet: &str, named: &str) -> anyhow::Result<bool> {
    let net: IpNet = subnet.parse().map_err(|_| anyhow!("invalid subnet: invalid CIDR address: {subnet}"))?;
    let address = if named.contains('/') {
        let other: IpNet = named.parse().map_err(|_| anyhow!("invalid CIDR address: {named}"))?;
        Some(other.addr())
    } else {
        named.parse().ok()
    };
    Ok(address.is_some_and(|address| net.contains(&address)))
}

impl Create {
    /// Each range, gateway and auxiliary address goes to the subnet that it lies in.
    fn pools(&self) -> anyhow::Result<Vec<IpamConfig>> {
        ensure!(
            self.subnet.len() >= self.ip_range.len() && self.subnet.len() >= self.gateway.len(),
            "every ip-range or gateway must have a corresponding subnet"
        );
        let mut pools: Vec<IpamConfig> = Vec::new();
        for subnet in &self.subnet {
            for other in pools.iter().filter_map(|pool| pool.subnet.as_deref()) {
                ensure!(
                    !holds(subnet, other)? && !holds(other, subnet)?,
                    "multiple overlapping subnet configuration is not supported"
                );
            }
            pools.push(IpamConfig { subnet: Some(subnet.clone()), ..IpamConfig::default() });
        }
        let find = |pools: &[IpamConfig], what: &str, named: &str| {
            for (index, pool) in pools.iter().enumerate() {
                if holds(pool.subnet.as_deref().unwrap_or_default(), named)? {
                    return Ok(index);
                }
            }
            bail!("no matching subnet for {what} {named}")
        };
        for range in &self.ip_range {
            let index = find(&pools, "range", range)?;
            let pool = &mut pools[index];
            if let Some(first) = &pool.ip_range {
                let subnet = pool.subnet.as_deref().unwrap_or_default();
                bail!("cannot configure multiple ranges ({range}, {first}) on the same subnet ({subnet})");
            }
            pool.ip_range = Some(range.clone());
        }
        for gateway in &self.gateway {
            let index = find(&pools, "gateway", gateway)?;
            let pool = &mut pools[index];
            if let Some(first) = &pool.gateway {
                let subnet = pool.subnet.as_deref().unwrap_or_default();
                bail!("cannot configure multiple gateways ({gateway}, {first}) for the same subnet ({subnet})");
            }
            pool.gateway = Some(gateway.clone());
        }
        for text in &self.aux_address {
            let (name, address) = text.split_once('=').unwrap_or((text, ""));
            let index = find(&pools, "aux-address", address)?;
            pools[index].auxiliary_addresses.get_or_insert_default().insert(name.to_owned(), address.to_owned());
        }
        Ok(pools)
    }

    fn request(&self) -> anyhow::Result<NetworkCreateRequest> {
        Ok(NetworkCreateRequest {
            name: self.name.clone(),
            driver: Some(self.driver.clone()),
            scope: self.scope.clone(),
            internal: Some(self.internal),
            attachable: Some(self.attachable),
            ingress: Some(self.ingress),
            config_only: Some(self.config_only),
            config_from: self.config_from.clone().map(|network| ConfigReference { network: Some(network) }),
            ipam: Some(Ipam {
                driver: Some(self.ipam_driver.clone()),
                config: Some(self.pools()?),
                options: Some(map(&self.ipam_opt)),
            }),
            enable_ipv4: self.ipv4,
            enable_ipv6: self.ipv6,
            options: Some(map(&self.opt)),
            labels: Some(labels("--label", &self.label)?),
        })
    }
}

impl Act for Create {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let request = self.request()?;
        let created: NetworkCreateResponse = session.client.post("/networks/create", &(), &request).await?;
        if !created.warning.is_empty() {
            eprintln!("WARNING: {}", created.warning);
        }
        println!("{}", created.id);
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use clap::{Args, Command, FromArgMatches};

    use super::*;

    fn request(arguments: &[&str]) -> anyhow::Result<NetworkCreateRequest> {
        let command = Create::augment_args(Command::new("create").no_binary_name(true));
        let matches = command.try_get_matches_from(arguments.iter().chain(&["net"])).context("parse")?;
        Create::from_arg_matches(&matches)?.request()
    }

    #[test]
    fn ranges_and_gateways_go_to_their_subnets() {
        let arguments = [
            "--subnet",
            "10.1.0.0/16,fd00::/64",
            "--gateway",
            "fd00::1",
            "--gateway=10.1.0.1",
            "--ip-range",
            "10.1.2.0/24",
            "--aux-address",
            "a=10.1.0.7",
            "--aux-address",
            "b=fd00::7",
        ];
        let pools = request(&arguments).unwrap().ipam.unwrap().config.unwrap();
        let auxiliary = |name: &str, address: &str| Some([(name.to_owned(), address.to_owned())].into());
        let text = |text: &str| Some(text.to_owned());
        let expected = [
            IpamConfig {
                subnet: text("10.1.0.0/16"),
                ip_range: text("10.1.2.0/24"),
                gateway: text("10.1.0.1"),
                auxiliary_addresses: auxiliary("a", "10.1.0.7"),
            },
            IpamConfig {
                subnet: text("fd00::/64"),
                ip_range: None,
                gateway: text("fd00::1"),
                auxiliary_addresses: auxiliary("b", "fd00::7"),
            },
        ];
        assert_eq!(pools, expected);
    }

    #[test]
    fn what_does_not_fit_together_is_refused_in_dockers_words() {
        let bad: &[(&[&str], &str)] = &[
            (&["--gateway", "1.2.3.4"], "every ip-range or gateway must have a corresponding subnet"),
            (&["--ip-range", "1.2.3.0/24"], "every ip-range or gateway must have a corresponding subnet"),
            (
                &["--subnet", "10.0.0.0/8", "--subnet", "10.1.0.0/16"],
                "multiple overlapping subnet configuration is not supported",
            ),
            (&["--subnet", "x", "--subnet", "10.0.0.0/8"], "invalid subnet: invalid CIDR address: x"),
            (&["--subnet", "x", "--gateway", "1.2.3.4"], "invalid subnet: invalid CIDR address: x"),
            (&["--subnet", "10.0.0.0/8", "--gateway", "11.0.0.1"], "no matching subnet for gateway 11.0.0.1"),
            (&["--subnet", "10.0.0.0/8", "--gateway", "x"], "no matching subnet for gateway x"),
            (&["--subnet", "10.0.0.0/8", "--ip-range", "11.0.0.0/16"], "no matching subnet for range 11.0.0.0/16"),
            (
                &["--subnet", "10.0.0.0/8,11.0.0.0/8", "--gateway", "10.0.0.1,10.0.0.2"],
                "cannot configure multiple gateways (10.0.0.2, 10.0.0.1) for the same subnet (10.0.0.0/8)",
            ),
            (
                &["--subnet", "10.0.0.0/8,11.0.0.0/8", "--ip-range", "10.0.0.0/16,10.1.0.0/16"],
                "cannot configure multiple ranges (10.1.0.0/16, 10.0.0.0/16) on the same subnet (10.0.0.0/8)",
            ),
            (&["--aux-address", "x"], "no matching subnet for aux-address "),
            (&["--aux-address", "x=1.2.3.4"], "no matching subnet for aux-address 1.2.3.4"),
            (&["--label", "=x"], "invalid argument \"=x\" for \"--label\" flag: invalid label '=x': empty name"),
            (
                &["--label", "a b=x"],
                "invalid argument \"a b=x\" for \"--label\" flag: label 'a b' contains whitespaces",
            ),
        ];
        for (arguments, words) in bad {
            assert_eq!(request(arguments).unwrap_err().to_string(), *words, "{arguments:?}");
        }
    }

    #[test]
    fn families_are_only_sent_when_they_are_said() {
        let families = |arguments: &[&str]| {
            let request = request(arguments).unwrap();
            (request.enable_ipv4, request.enable_ipv6)
        };
        assert_eq!(families(&[]), (None, None));
        assert_eq!(families(&["--ipv4=false", "--ipv6"]), (Some(false), Some(true)));
    }
}
