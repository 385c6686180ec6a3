//! Whether nf_tables does here what the layout needs, and whether an accept of ours would count.

use berth_arch::{Probe, pretend};
use rustix::io::Errno;

use super::wire::{Batch, Ip, message};
use super::{NAME, read, write};
use crate::firewall::iptables::{self, legacy};
use crate::firewall::registry::Abilities;
use crate::netlink::{Family, Socket};

const HINT: &str = "use a kernel from 4.10 on with CONFIG_NF_TABLES, CONFIG_NFT_NAT, CONFIG_NFT_MASQ, CONFIG_NFT_CT \
                    and CONFIG_NFT_FIB_IPV4, as root or in an own network namespace";

/// What the trial's table is called. It never exists: the batch that makes it deletes it.
const TRIAL: &str = "berth-trial";

pub(in crate::firewall) fn probe() -> Probe<Abilities> {
    if pretend::without(NAME) {
        return Probe::pretended(NAME);
    }
    let socket = match Socket::open(Family::Netfilter) {
        Ok(socket) => socket,
        Err(errno) => return refused(&format!("open a socket to netfilter: {errno}")),
    };
    if let Err(errno) = attempt(&socket, Ip::V4) {
        return refused(&format!("make a table as containers need it: {errno}"));
    }
    if let Some(rival) = rival(&socket) {
        return rival;
    }
    Probe::available(Abilities { ipv6: attempt(&socket, Ip::V6).is_ok() })
}

fn refused(reason: &str) -> Probe<Abilities> {
    Probe::unavailable(reason, HINT)
}

/// The whole layout, with a set of each kind and every expression.
fn attempt(socket: &Socket, ip: Ip) -> Result<(), Errno> {
    let mut batch = Batch::new(TRIAL);
    write::base(&mut batch, ip);
    batch.change(ip.number(), message::DELTABLE, 0);
    batch.commit(socket)
}

/// Others' rules that ours cannot work beside, while iptables could.
fn rival(socket: &Socket) -> Option<Probe<Abilities>> {
    if let Some(chain) = dropping_chain()
        && iptables::Variant::Nft.is_here()
    {
        let hint = "iptables-nft can, and is taken; or set that chain's policy to accept";
        return Some(Probe::unavailable(
            format!("the chain {chain} drops what it does not accept itself, which no other table can overrule"),
            hint,
        ));
    }
    if legacy::forward_drops() && iptables::Variant::Legacy.is_here() {
        return Some(Probe::unavailable(
            "the chain FORWARD of iptables-legacy drops what it does not accept itself, which no other table can overrule",
            "iptables-legacy can, and is taken; or use iptables-legacy -P FORWARD ACCEPT",
        ));
    }
    // Until then a connection belonged to the NAT table that saw it first, whether it had a rule for it or not.
    let only_one_nat = kernel().is_some_and(|version| version < (4, 18));
    let used = || read::others_translate(socket, "berth").unwrap_or(true);
    (only_one_nat && (legacy::is_loaded(false, "nat") || used() || iptables::Variant::Legacy.is_here())).then(|| {
        Probe::unavailable("kernels before 4.18 let one NAT table work, and iptables has it or may want it", "")
    })
}

/// The chain FORWARD that iptables-nft fills, if its policy is to drop: Docker sets that, and ufw.
pub(in crate::firewall) fn dropping_chain() -> Option<String> {
    let socket = Socket::open(Family::Netfilter).ok()?;
    // NFPROTO_INET is 1; a chain there no variant of iptables can add to, so that nothing is gained by leaving nft.
    Ip::BOTH.into_iter().find_map(|ip| {
        let chains = read::dropping(&socket, ip.number()).ok()?;
        let found = chains.iter().find(|(table, chain)| table == "filter" && chain == "FORWARD")?;
        Some(format!("{} {} {}", ip.name(), found.0, found.1))
    })
}

fn kernel() -> Option<(u32, u32)> {
    let uname = rustix::system::uname();
    let release = uname.release().to_str().ok()?;
    let mut numbers = release.split(['.', '-', '+']).map_while(|part| part.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}
