//! `--network` and the flags beside it: which networks a container joins, and as what.

use std::collections::HashMap;
use std::num::IntErrorKind;

use anyhow::{Context, bail, ensure};
use berth_api::models::{EndpointIpamConfig, EndpointSettings};

use super::{csv, invalid};

/// One `--network`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Attachment {
    pub(super) name: String,
    aliases: Vec<String>,
    driver_opts: HashMap<String, String>,
    links: Vec<String>,
    ip: Option<String>,
    ip6: Option<String>,
    link_local_ips: Vec<String>,
    mac_address: Option<String>,
    gw_priority: i64,
}

/// The flags that speak of the first network.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct First<'a> {
    pub(super) aliases: &'a [String],
    pub(super) links: &'a [String],
    pub(super) ip: Option<&'a str>,
    pub(super) ip6: Option<&'a str>,
    pub(super) link_local_ips: &'a [String],
    pub(super) mac_address: Option<&'a str>,
}

/// Whether a name is one of a network that somebody made; the others stand for a mode.
fn is_user_defined(name: &str) -> bool {
    !matches!(name, "default" | "bridge" | "host" | "none" | "container") && !name.starts_with("container:")
}

/// Whether somewhere a word meets a word over a `=`: then it is a list of options, else a name.
fn is_long(text: &str) -> bool {
    let word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let bytes = text.as_bytes();
    (1..bytes.len()).any(|at| bytes[at] == b'=' && word(bytes.get(at - 1)) && word(bytes.get(at + 1)))
}

/// `NETWORK`, or `name=NETWORK,alias=ALIAS,ip=...`.
pub(super) fn parse(text: &str) -> anyhow::Result<Attachment> {
    if !is_long(text) {
        return Ok(Attachment { name: text.to_owned(), ..Attachment::default() });
    }
    long(text).map_err(|why| invalid("--network", text, why))
}

fn long(text: &str) -> anyhow::Result<Attachment> {
    let mut found = Attachment::default();
    for field in csv::fields(text)? {
        // As Docker reads it, the values too.
        let lower = field.to_lowercase();
        let (key, value) = lower.split_once('=').unwrap_or_default();
        ensure!(!key.is_empty(), "invalid field {field}");
        let (key, value) = (key.trim(), value.trim());
        match key {
            "name" => value.clone_into(&mut found.name),
            "alias" => found.aliases.push(value.to_owned()),
            "ip" => found.ip = Some(value.to_owned()),
            "ip6" => found.ip6 = Some(value.to_owned()),
            "mac-address" => found.mac_address = Some(value.to_owned()),
            "link-local-ip" => found.link_local_ips.push(value.to_owned()),
            "driver-opt" => {
                let pair = value.split_once('=').filter(|(key, _)| !key.is_empty());
                let (key, value) = pair.context("invalid key value pair format in driver options")?;
                found.driver_opts.insert(key.trim().to_owned(), value.trim().to_owned());
            }
            "gw-priority" => found.gw_priority = priority(value)?,
            _ => bail!("invalid field key {key}"),
        }
    }
    ensure!(!found.name.is_empty(), "network name/id is not specified");
    Ok(found)
}

fn priority(text: &str) -> anyhow::Result<i64> {
    text.parse().map_err(|error: std::num::ParseIntError| match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => {
            anyhow::anyhow!("invalid gw-priority ({text}): value out of range")
        }
        _ => anyhow::anyhow!("invalid gw-priority ({text}): invalid syntax"),
    })
}

/// Six, eight or twenty bytes, in one of the three notations that Go reads.
fn is_mac_address(text: &str) -> bool {
    let text = text.trim();
    let notation = |separator: char, digits: usize, lengths: [usize; 3]| {
        let groups: Vec<&str> = text.split(separator).collect();
        let group = |group: &&str| group.len() == digits && group.bytes().all(|byte| byte.is_ascii_hexdigit());
        lengths.contains(&groups.len()) && groups.iter().all(group)
    };
    notation(':', 2, [6, 8, 20]) || notation('-', 2, [6, 8, 20]) || notation('.', 4, [3, 4, 10])
}

/// What a `--mac-address` has to be.
pub(super) fn check_mac_address(text: Option<&str>) -> anyhow::Result<()> {
    match text.filter(|text| !text.is_empty()) {
        Some(text) => {
            ensure!(is_mac_address(text), "{text} is not a valid mac address");
            Ok(())
        }
        None => Ok(()),
    }
}

impl Attachment {
    /// Takes what the flags beside `--network` say of it.
    fn first(&mut self, flags: First<'_>) -> anyhow::Result<()> {
        let conflict = |both: bool, flag: &str, option: &str| {
            ensure!(!both, "conflicting options: cannot specify both {flag} and per-network {option}");
            Ok(())
        };
        let set = |flag: Option<&str>| flag.filter(|text| !text.is_empty()).map(str::to_owned);
        let (ip, ip6, mac) = (set(flags.ip), set(flags.ip6), set(flags.mac_address));
        conflict(!self.aliases.is_empty() && !flags.aliases.is_empty(), "--network-alias", "alias")?;
        conflict(self.ip.is_some() && ip.is_some(), "--ip", "IPv4 address")?;
        conflict(self.ip6.is_some() && ip6.is_some(), "--ip6", "IPv6 address")?;
        conflict(self.mac_address.is_some() && mac.is_some(), "--mac-address", "MAC address")?;
        let both = !self.link_local_ips.is_empty() && !flags.link_local_ips.is_empty();
        conflict(both, "--link-local-ip", "link-local IP addresses")?;
        self.aliases.extend_from_slice(flags.aliases);
        self.link_local_ips.extend_from_slice(flags.link_local_ips);
        self.ip = ip.or(self.ip.take());
        self.ip6 = ip6.or(self.ip6.take());
        self.mac_address = mac.or(self.mac_address.take());
        // In a network of one's own a link is one more name; on the default bridge it is a link of the old kind, which
        // stands with the container's configuration.
        if is_user_defined(&self.name) {
            self.links.extend_from_slice(flags.links);
        }
        Ok(())
    }

    fn endpoint(self) -> anyhow::Result<EndpointSettings> {
        ensure!(!self.name.trim().is_empty(), "no name set for network");
        if !is_user_defined(&self.name) {
            let only = "are only supported for user-defined networks";
            ensure!(self.aliases.is_empty(), "network-scoped aliases {only}");
            ensure!(self.links.is_empty(), "links {only}");
        }
        check_mac_address(self.mac_address.as_deref())?;
        let list = |list: Vec<String>| (!list.is_empty()).then_some(list);
        let ipam = EndpointIpamConfig {
            ipv4_address: self.ip,
            ipv6_address: self.ip6,
            link_local_ips: list(self.link_local_ips),
        };
        Ok(EndpointSettings {
            ipam_config: (ipam != EndpointIpamConfig::default()).then_some(ipam),
            links: list(self.links),
            mac_address: self.mac_address.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()),
            aliases: list(self.aliases),
            driver_opts: (!self.driver_opts.is_empty()).then_some(self.driver_opts),
            gw_priority: (self.gw_priority != 0).then_some(self.gw_priority),
            ..EndpointSettings::default()
        })
    }
}

/// The endpoints that the API is told of: all, but not a single network that nothing more is said of.
pub(super) fn endpoints(
    networks: Vec<Attachment>,
    flags: First<'_>,
) -> anyhow::Result<HashMap<String, EndpointSettings>> {
    let mut endpoints = HashMap::new();
    let default = || vec![Attachment { name: "default".to_owned(), ..Attachment::default() }];
    let (networks, named) = if networks.is_empty() { (default(), false) } else { (networks, true) };
    let (mut user_defined, mut others) = (false, false);
    let single = networks.len() == 1;
    for (index, mut network) in networks.into_iter().enumerate() {
        if index == 0 {
            network.first(flags)?;
        }
        let name = network.name.clone();
        if is_user_defined(&name) {
            user_defined = true
        } else {
            others = true
        }
        let endpoint = network.endpoint()?;
        ensure!(!endpoints.contains_key(&name), "network {name:?} is specified multiple times");
        if !(named && single && endpoint == EndpointSettings::default()) {
            endpoints.insert(name, endpoint);
        }
    }
    ensure!(
        !(user_defined && others),
        "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
    );
    Ok(endpoints)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_network_is_a_name_or_a_list_of_options() {
        for name in ["foo", "container:x", "name=", "foo,bar", "=", "", "a =b"] {
            assert_eq!(parse(name).unwrap(), Attachment { name: name.to_owned(), ..Attachment::default() }, "{name}");
        }
        let text = "Name=Foo,alias=a, alias=B,ip=1.2.3.4,ip6=::1,mac-address=02:42:ac:11:00:09,link-local-ip=169.254.1.1,\
                    \"driver-opt=K=V\",gw-priority=-5";
        let expected = Attachment {
            name: "foo".to_owned(),
            aliases: strings(&["a", "b"]),
            driver_opts: HashMap::from([("k".to_owned(), "v".to_owned())]),
            links: Vec::new(),
            ip: Some("1.2.3.4".to_owned()),
            ip6: Some("::1".to_owned()),
            link_local_ips: strings(&["169.254.1.1"]),
            mac_address: Some("02:42:ac:11:00:09".to_owned()),
            gw_priority: -5,
        };
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn wrong_options_of_a_network_are_refused_in_dockers_words() {
        let bad = [
            ("alias=x", "network name/id is not specified"),
            ("name=foo,bad=1", "invalid field key bad"),
            ("name=foo,alias", "invalid field alias"),
            ("name=foo,=x", "invalid field =x"),
            ("name=foo,driver-opt=x", "invalid key value pair format in driver options"),
            ("name=foo,driver-opt==x", "invalid key value pair format in driver options"),
            ("name=foo,gw-priority=x", "invalid gw-priority (x): invalid syntax"),
            (
                "name=foo,gw-priority=99999999999999999999",
                "invalid gw-priority (99999999999999999999): value out of range",
            ),
            ("name=foo,alias=a\"b", "parse error on line 1, column 17: bare \" in non-quoted-field"),
        ];
        for (text, words) in bad {
            let said = format!("invalid argument {text:?} for \"--network\" flag: {words}");
            assert_eq!(parse(text).unwrap_err().to_string(), said, "{text}");
        }
    }

    #[test]
    fn a_network_is_joined_once_and_modes_are_not_mixed() {
        let flags = First::default();
        let fails = |networks: &[&str], flags: First<'_>| {
            let networks = networks.iter().map(|text| parse(text).unwrap()).collect();
            endpoints(networks, flags).unwrap_err().to_string()
        };
        let some = strings(&["x"]);
        assert_eq!(fails(&["foo", "foo"], flags), "network \"foo\" is specified multiple times");
        assert_eq!(
            fails(&["foo", "host"], flags),
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
        );
        assert_eq!(fails(&[""], flags), "no name set for network");
        let aliases = First { aliases: &some, ..flags };
        for networks in [&[][..], &["host"], &["bridge"], &["container:x"]] {
            let said = fails(networks, aliases);
            assert_eq!(said, "network-scoped aliases are only supported for user-defined networks", "{networks:?}");
        }
        let conflicts = [
            ("alias=b", aliases, "--network-alias and per-network alias"),
            ("ip=1.2.3.4", First { ip: Some("1.2.3.5"), ..flags }, "--ip and per-network IPv4 address"),
            ("ip6=::1", First { ip6: Some("::2"), ..flags }, "--ip6 and per-network IPv6 address"),
            (
                "mac-address=02:42:ac:11:00:09",
                First { mac_address: Some("02:42:ac:11:00:08"), ..flags },
                "--mac-address and per-network MAC address",
            ),
            (
                "link-local-ip=169.254.1.1",
                First { link_local_ips: &some, ..flags },
                "--link-local-ip and per-network link-local IP addresses",
            ),
        ];
        for (option, flags, words) in conflicts {
            let said = format!("conflicting options: cannot specify both {words}");
            assert_eq!(fails(&[&format!("name=foo,{option}")], flags), said);
        }
    }

    #[test]
    fn flags_beside_networks_speak_of_the_first() {
        let (aliases, links) = (strings(&["a"]), strings(&["c:d"]));
        let flags = First { aliases: &aliases, links: &links, ip: Some("1.2.3.4"), ..First::default() };
        let found = endpoints(vec![parse("foo").unwrap(), parse("bar").unwrap()], flags).unwrap();
        let foo = &found["foo"];
        assert_eq!((&foo.aliases, &foo.links), (&Some(aliases.clone()), &Some(links.clone())));
        assert_eq!(foo.ipam_config.as_ref().unwrap().ipv4_address.as_deref(), Some("1.2.3.4"));
        assert_eq!(found["bar"], EndpointSettings::default());
        // Links of the default bridge are the container's.
        let old = endpoints(Vec::new(), First { links: &links, ..First::default() }).unwrap();
        assert_eq!(old["default"], EndpointSettings::default());
        assert!(endpoints(vec![parse("host").unwrap()], First::default()).unwrap().is_empty());
    }

    #[test]
    fn addresses_of_links_come_in_three_notations() {
        for good in ["02:42:ac:11:00:09", "02-42-AC-11-00-09", "0242.ac11.0009 ", "02:42:ac:11:00:09:00:01"] {
            assert!(is_mac_address(good), "{good}");
        }
        for bad in ["", "zz", "02:42:ac:11:00", "02:42:ac:11:00:9", "02:42-ac:11:00:09", "0242ac110009"] {
            assert!(!is_mac_address(bad), "{bad}");
        }
        assert_eq!(check_mac_address(Some("zz")).unwrap_err().to_string(), "zz is not a valid mac address");
    }
}
