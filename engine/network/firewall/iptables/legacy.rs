//! The tables of iptables-legacy, read without a process: a list of entries whose jumps are offsets.

use super::Snapshot;
use crate::firewall::sys;

/// Offsets in `struct ipt_entry` and `struct ip6t_entry`: where `target_offset` is (`next_offset` follows).
const TARGET_OFFSET: [usize; 2] = [88, 140];
/// `struct xt_entry_target`: size, name, revision, and then the verdict or, of an ERROR target, the chain's name.
const NAME: usize = 2;
const DATA: usize = 32;
const HOOKS: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];

/// Names of the tables that are in force in this network namespace; a table that is not loaded has no rules.
fn tables(v6: bool) -> String {
    let file = if v6 { "ip6_tables_names" } else { "ip_tables_names" };
    // The thread's namespace; before Linux 3.17 the process's.
    ["/proc/thread-self/net/", "/proc/net/"]
        .iter()
        .find_map(|folder| std::fs::read_to_string(format!("{folder}{file}")).ok())
        .unwrap_or_default()
}

pub(in crate::firewall) fn is_loaded(v6: bool, table: &str) -> bool {
    tables(v6).lines().any(|name| name == table)
}

/// Entries of the tables filter and nat together: changes when anything is added or removed. No process, one call a
/// table.
pub(in crate::firewall) fn count() -> u64 {
    let mut sum = 0;
    for v6 in [false, true] {
        let loaded = tables(v6);
        for table in loaded.lines().filter(|name| ["filter", "nat"].contains(name)) {
            sum += sys::info(v6, table).map_or(0, |info| u64::from(info.num_entries) << 32 | u64::from(info.size));
        }
    }
    sum
}

/// Whether the chain FORWARD's policy is to drop.
pub(in crate::firewall) fn forward_drops() -> bool {
    [false, true].into_iter().any(|v6| {
        let verdict = || {
            let (info, bytes) = read(v6, "filter")?;
            entry(&bytes, v6, info.underflow[2] as usize)?.verdict
        };
        // -NF_DROP - 1
        is_loaded(v6, "filter") && verdict() == Some(-1)
    })
}

fn read(v6: bool, table: &str) -> Option<(sys::Info, Vec<u8>)> {
    for _ in 0..20 {
        let info = sys::info(v6, table).ok()?;
        match sys::entries(v6, table, info.size) {
            Err(rustix::io::Errno::AGAIN) => {}
            bytes => return Some((info, bytes.ok()?)),
        }
    }
    None
}

struct Entry {
    length: usize,
    /// Of a standard target: negative for accept and the like, else where it jumps to.
    verdict: Option<i32>,
    /// Of the entry that begins a chain of users.
    chain: Option<String>,
}

fn entry(bytes: &[u8], v6: bool, at: usize) -> Option<Entry> {
    let field = |offset: usize| Some(usize::from(u16::from_ne_bytes(*bytes.get(at + offset..)?.first_chunk()?)));
    let target_offset = field(TARGET_OFFSET[usize::from(v6)])?;
    let length = field(TARGET_OFFSET[usize::from(v6)] + 2)?;
    let target = bytes.get(at + target_offset..at + length)?;
    let text =
        |bytes: &[u8]| String::from_utf8_lossy(bytes.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned();
    let name = text(target.get(NAME..DATA - 1)?);
    let verdict =
        (name.is_empty()).then(|| target.get(DATA..)?.first_chunk().map(|code| i32::from_ne_bytes(*code))).flatten();
    let chain = (name == "ERROR").then(|| target.get(DATA..).map(text)).flatten();
    (length > 0).then_some(Entry { length, verdict, chain })
}

/// The rules of the table's chains, without the policies.
pub(super) fn snapshot(v6: bool, table: &str) -> Snapshot {
    if !is_loaded(v6, table) {
        return Snapshot::new();
    }
    let Some((info, bytes)) = read(v6, table) else { return Snapshot::new() };
    let mut entries = Vec::new();
    let mut at = 0;
    while let Some(entry) = entry(&bytes, v6, at) {
        entries.push((at, entry));
        at += entries.last().map_or(1, |(_, entry)| entry.length);
    }
    // A chain of a user's begins with an entry that names it, and jumps lead to the one behind.
    let starts: std::collections::HashMap<usize, String> =
        entries.iter().filter_map(|(at, entry)| Some((at + entry.length, entry.chain.clone()?))).collect();
    let mut chain = String::new();
    let mut rules = Snapshot::new();
    for (at, entry) in entries {
        if let Some(hook) =
            (0..5).find(|&hook| info.valid_hooks & 1 << hook != 0 && info.hook_entry[hook] as usize == at)
        {
            chain = HOOKS[hook].to_owned();
        }
        if let Some(name) = entry.chain {
            chain = name;
            continue;
        }
        if (0..5).any(|hook| info.valid_hooks & 1 << hook != 0 && info.underflow[hook] as usize == at) {
            continue;
        }
        let jump = entry.verdict.and_then(|verdict| starts.get(&usize::try_from(verdict).ok()?).cloned());
        // Each chain of a user's ends with a return of its own, which is no rule; see below.
        rules.push((chain.clone(), jump));
    }
    rules
}

/// How many entries a chain of a user's has beside its rules: the return at its end.
pub(super) const RETURN: usize = 1;
