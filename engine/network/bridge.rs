//! The host's side of a bridge network, and forwarding.

use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;

use crate::route::{LinkInfo, NewLink, Route};
use crate::{Error, Result, attach, namespace, sysctl};

/// What bridges of this engine, whosever state root they are of, say of themselves (`ip link` shows it).
const ALIAS: &str = "berth network";

/// Whether containers are behind it.
pub fn is_ours(link: &LinkInfo) -> bool {
    link.kind == "bridge" && link.alias == ALIAS
}

/// A bridge as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    pub name: String,
    pub mac: [u8; 6],
    pub mtu: Option<u32>,
    /// The host's addresses in it: the containers' gateways, with their subnets' length.
    pub addresses: Vec<IpNet>,
}

/// The bridge of that name; anything else of that name is a conflict.
pub fn find(route: &Route, name: &str) -> Result<Option<LinkInfo>> {
    match route.link(name)? {
        Some(link) if link.kind == "bridge" => Ok(Some(link)),
        Some(link) => {
            let kind = if link.kind.is_empty() { "no bridge" } else { &link.kind };
            Err(Error::Conflict(format!("the interface {name} is there and is {kind}; remove or rename it")))
        }
        None => Ok(None),
    }
}

/// Makes it if it is not there, and gives it what it lacks, all but to be up: that it gets when its rules are there, so
/// that one that is up is whole. Idempotent; undone if it cannot be finished. True if it was made.
pub fn ensure(route: &Route, bridge: &Bridge) -> Result<bool> {
    if let Some(link) = find(route, &bridge.name)? {
        complete(route, bridge, &link)?;
        return Ok(false);
    }
    match route.add_bridge(&NewLink { name: &bridge.name, mac: Some(bridge.mac), mtu: bridge.mtu }, ALIAS) {
        // Somebody else was faster.
        Err(Error::Conflict(_)) if matches!(find(route, &bridge.name), Ok(Some(_))) => {}
        other => other?,
    }
    let made = find(route, &bridge.name)?
        .ok_or_else(|| Error::NotFound(format!("the bridge {} is gone again", bridge.name)))
        .and_then(|link| complete(route, bridge, &link));
    if let Err(error) = made {
        let _ = route.remove_link(&bridge.name);
        return Err(error);
    }
    Ok(true)
}

fn complete(route: &Route, bridge: &Bridge, link: &LinkInfo) -> Result<()> {
    let name = &bridge.name;
    namespace::at_home(|| settings(bridge))??;
    let v6 = bridge.addresses.iter().any(|address| address.addr().is_ipv6());
    if v6 && namespace::is_away() {
        // The monitors take what leads out: nobody else is to answer it.
        route.drop_the_rest()?;
    }
    for &address in &bridge.addresses {
        route.add_address(name, link.index, address)?;
    }
    Ok(())
}

fn settings(bridge: &Bridge) -> Result<()> {
    let name = &bridge.name;
    // What containers advertise is not for this host (CVE-2020-13401).
    sysctl::set(&format!("ipv6/conf/{name}/accept_ra"), "0")?;
    if !bridge.addresses.iter().any(|address| address.addr().is_ipv6()) {
        return sysctl::set(&format!("ipv6/conf/{name}/disable_ipv6"), "1");
    }
    // Its own link-local address is made from its own hardware address: nobody else has it. While it waited to be sure
    // of that, about two seconds, nothing could be forwarded to a container.
    ["accept_dad", "disable_ipv6"]
        .iter()
        .try_for_each(|setting| sysctl::set(&format!("ipv6/conf/{name}/{setting}"), "0"))
}

/// Idempotent.
pub fn set_up(route: &Route, name: &str) -> Result<()> {
    match find(route, name)? {
        Some(link) if link.up => Ok(()),
        Some(link) => route.set_up(link.index),
        None => Err(Error::NotFound(format!("the bridge {name} is gone again"))),
    }
}

/// The settings of forwarding, by family.
fn setting(v6: bool) -> &'static str {
    if v6 { "ipv6/conf/all/forwarding" } else { "ipv4/ip_forward" }
}

/// Lets packets through this host. What was set before is noted in `folder`, once, if it was something else.
pub fn allow_forwarding(folder: &Path, v6: bool) -> Result<()> {
    let name = setting(v6);
    let Some(before) = sysctl::read(name).filter(|value| value != "1") else { return Ok(()) };
    let note = folder.join(name.replace('/', "."));
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&note, &before))
        .map_err(Error::io(format!("write {}", note.display())))?;
    sysctl::set(name, "1")
}

/// Sets back what [`allow_forwarding`] changed, unless somebody else may have come to need it: by an interface that
/// is made for passing packets on.
pub fn restore_forwarding(route: &Route, folder: &Path) -> Result<()> {
    const PASSING_ON: &[&str] = &["bridge", "veth", "tun", "wireguard", "vxlan", "macvlan", "ipvlan", "ppp"];
    for v6 in [false, true] {
        let note = folder.join(setting(v6).replace('/', "."));
        let Ok(before) = std::fs::read_to_string(&note) else { continue };
        let links = route.links()?;
        // A container's end stays for as long as the kernel takes to clear its namespace away.
        let passes_on = |link: &&LinkInfo| PASSING_ON.contains(&link.kind.as_str()) && link.master.is_none();
        let needed = links.iter().filter(passes_on).any(|link| !attach::is_host_interface(link));
        if !needed {
            sysctl::set(setting(v6), before.trim())?;
        }
        std::fs::remove_file(&note).map_err(Error::io(format!("remove {}", note.display())))?;
    }
    Ok(())
}

/// What already leads to a part of `subnet`, where the bridges are or at the host: an interface's own network, or a route.
pub fn overlap(route: &Route, subnet: IpNet, except: Option<&str>) -> Result<Option<(IpNet, String)>> {
    match overlap_of(route, subnet, except)? {
        None if namespace::is_away() => overlap_of(&Route::open()?, subnet, None),
        found => Ok(found),
    }
}

fn overlap_of(route: &Route, subnet: IpNet, except: Option<&str>) -> Result<Option<(IpNet, String)>> {
    let links = route.links()?;
    let name = |index: u32| links.iter().find(|link| link.index == index).map(|link| link.name.clone());
    let meets = |other: &IpNet| other.contains(&subnet) || subnet.contains(other);
    let networks = route.addresses()?.into_iter().map(|found| (found.address.trunc(), found.index));
    let routes = route.destinations()?.into_iter().map(|found| (found.to, found.index));
    for (network, index) in networks.chain(routes) {
        let name = name(index).unwrap_or_default();
        // A link-local network is on every interface.
        let local = matches!(network.addr(), IpAddr::V6(address) if address.is_unicast_link_local());
        if meets(&network) && !local && except != Some(name.as_str()) {
            return Ok(Some((network, name)));
        }
    }
    Ok(None)
}
