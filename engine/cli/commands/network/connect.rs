//! `berth network connect`.

use std::collections::HashMap;

use anyhow::Context;
use berth_api::models::{EndpointIpamConfig, EndpointSettings, NetworkConnectRequest};

use super::{Exit, path};
use crate::commands::Act;
use crate::options::names;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Connect {
    /// Add network-scoped alias for the container
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    alias: Vec<String>,
    /// Driver options for the network
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    driver_opt: Vec<String>,
    /// Highest gw-priority provides the default gateway. Accepts positive and negative values.
    #[arg(long, value_name = "INT", allow_negative_numbers = true)]
    gw_priority: Option<i64>,
    /// IPv4 address (e.g., "172.30.100.104")
    #[arg(long, value_name = "IP")]
    ip: Option<String>,
    /// IPv6 address (e.g., "2001:db8::33")
    #[arg(long, value_name = "IP")]
    ip6: Option<String>,
    /// Add link to another container
    #[arg(long, value_name = "NAME:ALIAS")]
    link: Vec<String>,
    /// Add a link-local address for the container
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    link_local_ip: Vec<String>,
    #[arg(value_name = "NETWORK")]
    network: String,
    #[arg(value_name = "CONTAINER")]
    container: String,
}

fn driver_options(list: &[String]) -> anyhow::Result<HashMap<String, String>> {
    list.iter()
        .map(|text| {
            let pair = text.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
            let (key, value) =
                pair.filter(|(key, _)| !key.is_empty()).context("invalid key/value pair format in driver options")?;
            Ok((key.to_owned(), value.to_owned()))
        })
        .collect()
}

impl Connect {
    fn request(&self) -> anyhow::Result<NetworkConnectRequest> {
        let list = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
        let links: anyhow::Result<Vec<_>> = self.link.iter().map(|text| names::link(text)).collect();
        let links = links.map_err(|error| Exit { code: 125, error })?;
        let ipam = EndpointIpamConfig {
            ipv4_address: self.ip.clone(),
            ipv6_address: self.ip6.clone(),
            link_local_ips: list(&self.link_local_ip),
        };
        Ok(NetworkConnectRequest {
            container: self.container.clone(),
            endpoint_config: Some(EndpointSettings {
                ipam_config: (ipam != EndpointIpamConfig::default()).then_some(ipam),
                links: list(&links),
                aliases: list(&self.alias),
                driver_opts: Some(driver_options(&self.driver_opt)?).filter(|options| !options.is_empty()),
                gw_priority: self.gw_priority,
                ..EndpointSettings::default()
            }),
        })
    }
}

impl Act for Connect {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let request = self.request()?;
        let path = format!("{}/connect", path(&self.network)?);
        let () = session.client.post(&path, &(), &request).await?;
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn driver_options_are_pairs() {
        let strings = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let options = driver_options(&strings(&["a=b", " c = d=e", "f="])).unwrap();
        let expected = [("a", "b"), ("c", "d=e"), ("f", "")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(options, HashMap::from(expected));
        for bad in ["", "a", "=b", " =b"] {
            assert!(driver_options(&strings(&[bad])).is_err(), "{bad:?}");
        }
    }
}
