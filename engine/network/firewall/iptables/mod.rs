//! iptables, both variants of it, by `iptables-restore`: for hosts whose kernel has no (usable) nf_tables, and for those
//! where others' iptables rules drop what is forwarded, which only a rule in the same chain can prevent.
//!
//! `rules.rs` has the rules as text, `present.rs` what is there and how to change it, `programs.rs` calls the programs, `legacy.rs` and `nft.rs` look into the kernel
//! without a process. A change reads what is there (one `iptables-save` a table), makes chains that are missing, and makes one
//! call of `iptables-restore` a family; a change that another process got in the way of is made anew.

pub(super) mod legacy;
mod nft;
mod present;
mod programs;
mod rules;

use std::collections::HashSet;
use std::fmt::Write as _;

use berth_arch::{Probe, pretend};

use super::registry::Abilities;
use super::{NetworkRules, Owner, PacketPath, PortRule, Wanted, conntrack};
use crate::{Error, Result};
use present::{Change, Present, normal};
use programs::Programs;
use rules::{Rule, TABLES};

pub(super) const NFT: &str = "iptables-nft";
pub(super) const LEGACY: &str = "iptables-legacy";

/// More than there are chains to be made: others may be ahead at each.
const TRIES: usize = 20;

/// Rules in the kernel: the chain that each is in, and the chain that it jumps to.
pub(super) type Snapshot = Vec<(String, Option<String>)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    Nft,
    Legacy,
}

impl Variant {
    fn name(self) -> &'static str {
        match self {
            Self::Nft => NFT,
            Self::Legacy => LEGACY,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Nft => "nft",
            Self::Legacy => "legacy",
        }
    }

    /// Whether its programs are installed and not pretended away.
    pub(super) fn is_here(self) -> bool {
        !pretend::without(self.name()) && Programs::find(self, false).is_some()
    }

    fn snapshot(self, v6: bool, table: &str) -> Result<Snapshot> {
        match self {
            Self::Legacy => Ok(legacy::snapshot(v6, table)),
            Self::Nft => nft::snapshot(v6, table).map_err(Error::io(format!("look into the table {table}"))),
        }
    }

    /// Of a chain of ours: entries that are no rules.
    fn extra(self) -> usize {
        match self {
            Self::Legacy => legacy::RETURN,
            Self::Nft => 0,
        }
    }
}

pub(super) fn probe(variant: Variant) -> Probe<Abilities> {
    if pretend::without(variant.name()) {
        return Probe::pretended(variant.name());
    }
    let package = "install the package iptables";
    let Some(programs) = Programs::find(variant, false) else {
        return Probe::unavailable(format!("find iptables-{}-restore: there is none", variant.word()), package);
    };
    if variant == Variant::Nft && legacy::forward_drops() && super::nft::probe::dropping_chain().is_none() {
        return Probe::unavailable(
            "the rules in force are those of iptables-legacy, whose chain FORWARD drops what it does not accept itself",
            "",
        );
    }
    if let Err(error) = attempt(&programs, false) {
        return Probe::unavailable(error.to_string(), "use a kernel with NAT, conntrack and addrtype for iptables");
    }
    let ipv6 = Programs::find(variant, true).is_some_and(|programs| attempt(&programs, true).is_ok());
    Probe::available(Abilities { ipv6 })
}

/// A chain with every kind of rule, which nothing leads to, made and deleted again.
fn attempt(programs: &Programs, v6: bool) -> Result<()> {
    let chain = format!("BERTH-TRIAL-{}", std::process::id());
    let to = if v6 { "[fd00::1]:1" } else { "192.0.2.1:1" };
    let begin = |table| format!("*{table}\n:{chain} - [0:0]\n");
    let mut input = begin("filter");
    let _ = writeln!(input, "-A {chain} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\nCOMMIT");
    input += &begin("nat");
    let _ = writeln!(
        input,
        "-A {chain} -m addrtype --dst-type LOCAL -p tcp -m tcp --dport 1 -j DNAT --to-destination {to}"
    );
    let _ = writeln!(input, "-A {chain} -m conntrack --ctstate DNAT -j RETURN\nCOMMIT");
    let tried = programs.restore(&input);
    let delete = |table| format!("{}-F {chain}\n-X {chain}\nCOMMIT\n", begin(table));
    let deleted = programs.restore(&format!("{}{}", delete("filter"), delete("nat")));
    tried.and(deleted)
}

/// The packet path.
#[derive(Debug)]
pub(super) struct Iptables {
    variant: Variant,
}

impl Iptables {
    pub(super) fn new(variant: Variant) -> Self {
        Self { variant }
    }

    fn programs(&self, v6: bool) -> Result<Programs> {
        Programs::find(self.variant, v6).ok_or_else(|| {
            let (six, word) = (if v6 { "6" } else { "" }, self.variant.word());
            Error::Unavailable(format!("find ip{six}tables-{word}-restore: there is none"))
        })
    }

    /// Reads, lets `plan` say what to change, and changes it; again if somebody changed something meanwhile.
    fn change(&self, owner: &Owner, v6: bool, plan: impl Fn(&Present, &mut Change)) -> Result<()> {
        let programs = self.programs(v6)?;
        let mut tries = 0;
        loop {
            let mut change = Change::default();
            plan(&Present::read(&programs, owner)?, &mut change);
            match change.perform(&programs) {
                Err(_) if tries < TRIES => tries += 1,
                answer => return answer,
            }
        }
    }

    /// Whether a family that nothing really needs is not there to be handled.
    fn passes_over(&self, v6: bool, needed: bool) -> bool {
        v6 && !needed && Programs::find(self.variant, true).is_none()
    }
}

fn needs(network: &NetworkRules, v6: bool) -> bool {
    network.subnets.iter().any(|subnet| subnet.addr().is_ipv6() == v6)
}

fn write_network(present: &Present, change: &mut Change, part: &rules::Network) {
    if present.has_chain("filter", &part.chain) {
        change.line("filter", format_args!("-F {}", part.chain));
    } else {
        change.make("filter", &part.chain);
    }
    part.contents.iter().for_each(|line| change.line("filter", format_args!("-A {} {line}", part.chain)));
}

impl PacketPath for Iptables {
    fn name(&self) -> &'static str {
        self.variant.name()
    }

    fn add_network(&self, owner: &Owner, network: &NetworkRules) -> Result<()> {
        for v6 in [false, true] {
            let Some(part) = rules::network(owner, network, v6) else { continue };
            if self.passes_over(v6, needs(network, v6)) {
                continue;
            }
            self.change(owner, v6, |present, change| {
                present.complete(owner, v6, change);
                write_network(present, change, &part);
                part.rules.iter().filter(|rule| !present.has(rule)).for_each(|rule| change.add(rule));
            })?;
        }
        Ok(())
    }

    fn remove_network(&self, owner: &Owner, network: &NetworkRules) -> Result<()> {
        for v6 in [false, true] {
            let Some(part) = rules::network(owner, network, v6) else { continue };
            if self.passes_over(v6, needs(network, v6)) {
                continue;
            }
            self.change(owner, v6, |present, change| {
                part.rules.iter().for_each(|rule| change.delete(present, rule));
                if present.has_chain("filter", &part.chain) {
                    change.line("filter", format_args!("-F {0}\n-X {0}", part.chain));
                }
            })?;
        }
        Ok(())
    }

    fn publish(&self, owner: &Owner, ports: &[PortRule]) -> Result<()> {
        for v6 in [false, true] {
            let wanted: Vec<Rule> = of_family(owner, ports, v6);
            if wanted.is_empty() {
                continue;
            }
            self.change(owner, v6, |present, change| {
                present.complete(owner, v6, change);
                // Those of containers that are no more: the same port, another target.
                let whole = |rule: &Rule| format!("-A {} {}", rule.chain, rule.text);
                let port = |text: &str| text.split(" --to-destination ").next().map(normal);
                let keys: HashSet<_> = wanted.iter().map(|rule| port(&whole(rule))).collect();
                let kept: HashSet<_> = wanted.iter().map(|rule| normal(&whole(rule))).collect();
                for (table, line) in &present.lines {
                    if keys.contains(&port(line)) && !kept.contains(&normal(line)) {
                        change.line(table, format_args!("-D{}", line.trim_start_matches("-A")));
                    }
                }
                wanted.iter().filter(|rule| !present.has(rule)).for_each(|rule| change.add(rule));
            })?;
        }
        conntrack::forget(ports);
        Ok(())
    }

    fn unpublish(&self, owner: &Owner, ports: &[PortRule]) -> Result<()> {
        for v6 in [false, true] {
            let gone: Vec<Rule> = of_family(owner, ports, v6);
            if gone.is_empty() {
                continue;
            }
            self.change(owner, v6, |present, change| {
                gone.iter().for_each(|rule| change.delete(present, rule));
            })?;
        }
        conntrack::forget(ports);
        Ok(())
    }

    /// By looking whether the jumps are there and as many rules as there should be.
    fn is_intact(&self, owner: &Owner, wanted: &Wanted) -> Result<bool> {
        for v6 in [false, true] {
            let networks: Vec<_> =
                wanted.networks.iter().filter_map(|network| rules::network(owner, network, v6)).collect();
            let ports = of_family(owner, &wanted.ports, v6);
            let needed = wanted.networks.iter().any(|network| needs(network, v6)) || !ports.is_empty();
            if networks.is_empty() && ports.is_empty() || self.passes_over(v6, needed) {
                continue;
            }
            let all: Vec<&Rule> = networks.iter().flat_map(|network| &network.rules).chain(&ports).collect();
            for table in TABLES {
                let snapshot = self.variant.snapshot(v6, table)?;
                let mut counts = std::collections::HashMap::<&str, usize>::new();
                snapshot.iter().for_each(|(chain, _)| *counts.entry(chain).or_default() += 1);
                let count = |chain: &str| counts.get(chain).copied().unwrap_or_default();
                let jumps = rules::jumps(owner, v6);
                let jumps_are_there = jumps.iter().filter(|jump| jump.table == table).all(|jump| {
                    let to = jump.text.rsplit(' ').next();
                    snapshot.iter().any(|(chain, target)| *chain == jump.chain && target.as_deref() == to)
                });
                let filled = rules::fixed_chains(owner, table).iter().all(|chain| {
                    let wanted = all.iter().filter(|rule| rule.chain == *chain).count();
                    wanted == 0 || count(chain) >= wanted + self.variant.extra()
                });
                let own = table == "nat"
                    || networks.iter().all(|part| count(&part.chain) == part.contents.len() + self.variant.extra());
                if !(jumps_are_there && filled && own) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn restore(&self, owner: &Owner, wanted: &Wanted) -> Result<()> {
        for v6 in [false, true] {
            let networks: Vec<_> =
                wanted.networks.iter().filter_map(|network| rules::network(owner, network, v6)).collect();
            let ports = of_family(owner, &wanted.ports, v6);
            let needed = wanted.networks.iter().any(|network| needs(network, v6)) || !ports.is_empty();
            if !needed && (networks.is_empty() || self.passes_over(v6, false)) {
                if Programs::find(self.variant, v6).is_some() && !self.found_in(owner, v6)?.is_empty() {
                    self.remove_family(owner, v6)?;
                }
                continue;
            }
            self.change(owner, v6, |present, change| {
                for table in TABLES {
                    let fixed = rules::fixed_chains(owner, table);
                    for chain in &fixed {
                        match present.has_chain(table, chain) {
                            true => change.line(table, format_args!("-F {chain}")),
                            false => change.make(table, chain),
                        }
                    }
                }
                // Those from chains of ours were just emptied out.
                let gone = |jump: &&Rule| rules::is_ours(owner, &jump.chain) || !present.has(jump);
                rules::jumps(owner, v6).iter().filter(gone).for_each(|jump| change.add(jump));
                for part in &networks {
                    write_network(present, change, part);
                    part.rules.iter().for_each(|rule| change.add(rule));
                }
                ports.iter().for_each(|rule| change.add(rule));
                for (table, chain) in &present.chains {
                    let known = rules::fixed_chains(owner, table).contains(chain);
                    if !known && !networks.iter().any(|part| part.chain == *chain) {
                        change.line(table, format_args!("-F {chain}\n-X {chain}"));
                    }
                }
            })?;
        }
        conntrack::forget(&wanted.ports);
        Ok(())
    }

    fn remove(&self, owner: &Owner) -> Result<()> {
        for v6 in [false, true] {
            if Programs::find(self.variant, v6).is_some() && !self.found_in(owner, v6)?.is_empty() {
                self.remove_family(owner, v6)?;
            }
        }
        Ok(())
    }

    fn found(&self, owner: &Owner) -> Result<Vec<String>> {
        Ok([self.found_in(owner, false)?, self.found_in(owner, true)?].concat())
    }
}

impl Iptables {
    fn remove_family(&self, owner: &Owner, v6: bool) -> Result<()> {
        self.change(owner, v6, |present, change| {
            for (table, line) in &present.lines {
                let from = line.split(' ').nth(1).unwrap_or_default();
                if !rules::is_ours(owner, from) {
                    change.line(table, format_args!("-D{}", line.trim_start_matches("-A")));
                }
            }
            present.chains.iter().for_each(|(table, chain)| change.line(table, format_args!("-F {chain}")));
            present.chains.iter().for_each(|(table, chain)| change.line(table, format_args!("-X {chain}")));
        })
    }

    fn found_in(&self, owner: &Owner, v6: bool) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for table in TABLES {
            let mut counts = std::collections::BTreeMap::<String, usize>::new();
            for (chain, jump) in self.variant.snapshot(v6, table)? {
                if rules::is_ours(owner, &chain) {
                    *counts.entry(chain).or_default() += 1;
                } else if let Some(to) = jump.filter(|to| rules::is_ours(owner, to)) {
                    // Also tells of a chain without rules.
                    counts.entry(to).or_insert(self.variant.extra());
                }
            }
            let family = if v6 { "ip6tables" } else { "iptables" };
            lines.extend(counts.into_iter().map(|(chain, count)| {
                format!("{family} {table} {chain}: {} rules", count.saturating_sub(self.variant.extra()))
            }));
        }
        Ok(lines)
    }
}

fn of_family(owner: &Owner, ports: &[PortRule], v6: bool) -> Vec<Rule> {
    ports.iter().filter_map(|rule| rules::port(owner, rule)).filter(|(of, _)| *of == v6).map(|(_, rule)| rule).collect()
}

/// In the calling thread's network namespace: what its programs send to an address's port goes to another one.
pub(super) fn redirect(variant: Variant, address: std::net::Ipv4Addr, from: u16, to: u16) -> Result<()> {
    let programs = Programs::find(variant, false)
        .ok_or_else(|| Error::Unavailable(format!("find iptables-{}-restore: there is none", variant.word())))?;
    let mut input = "*nat\n".to_owned();
    for protocol in ["udp", "tcp"] {
        let _ = writeln!(
            input,
            "-A OUTPUT -d {address} -p {protocol} --dport {from} -j DNAT --to-destination {address}:{to}"
        );
    }
    input.push_str("COMMIT\n");
    programs.restore(&input)
}
