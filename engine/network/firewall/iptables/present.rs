//! What is in the kernel as `iptables-save` prints it, and the change that makes of it what is wanted.

use std::collections::HashSet;
use std::fmt::Write as _;

use super::programs::Programs;
use super::rules::{self, Rule, TABLES};
use crate::Result;
use crate::firewall::Owner;

/// What is in a family's tables of an owner's, as text.
pub(super) struct Present {
    pub(super) chains: Vec<(&'static str, String)>,
    /// Rules in our chains and jumps to them, by table, chain and normalised text.
    rules: HashSet<(&'static str, String)>,
    /// The same as they were written, for deleting.
    pub(super) lines: Vec<(&'static str, String)>,
}

/// Chains to be made, and the input of one `iptables-restore` after that.
#[derive(Default)]
pub(super) struct Change {
    chains: Vec<(&'static str, String)>,
    tables: [String; 2],
}

impl Change {
    pub(super) fn line(&mut self, table: &str, line: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.tables[usize::from(table == TABLES[1])], "{line}");
    }

    pub(super) fn make(&mut self, table: &'static str, chain: &str) {
        self.chains.push((table, chain.to_owned()));
    }

    /// Each copy, should there be several.
    pub(super) fn delete(&mut self, present: &Present, rule: &Rule) {
        let text = normal(&format!("-A {} {}", rule.chain, rule.text));
        for _ in present.lines.iter().filter(|(table, line)| *table == rule.table && normal(line) == text) {
            self.line(rule.table, format_args!("-D {} {}", rule.chain, rule.text));
        }
    }

    pub(super) fn add(&mut self, rule: &Rule) {
        let how = if rule.first { "-I" } else { "-A" };
        self.line(rule.table, format_args!("{how} {} {}", rule.chain, rule.text));
    }

    pub(super) fn perform(&self, programs: &Programs) -> Result<()> {
        self.chains.iter().try_for_each(|(table, chain)| programs.make_chain(table, chain))?;
        let filled = TABLES.iter().zip(&self.tables).filter(|(_, lines)| !lines.is_empty());
        let text: String = filled.map(|(table, lines)| format!("*{table}\n{lines}COMMIT\n")).collect();
        if text.is_empty() { Ok(()) } else { programs.restore(&text) }
    }
}

/// The words of a rule in one order: versions differ in theirs.
pub(super) fn normal(line: &str) -> String {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    words.sort_unstable();
    words.join(" ")
}

impl Present {
    /// What is there now.
    pub(super) fn read(programs: &Programs, owner: &Owner) -> Result<Self> {
        let mut present = Self { chains: Vec::new(), rules: HashSet::new(), lines: Vec::new() };
        for table in TABLES {
            for line in programs.save(table)?.lines() {
                let mut words = line.split(' ');
                match (words.next(), words.next()) {
                    (Some("-A"), Some(chain)) => {
                        let target = line.rsplit_once("-j ").map(|(_, target)| target.trim());
                        if rules::is_ours(owner, chain) || target.is_some_and(|target| rules::is_ours(owner, target)) {
                            present.rules.insert((table, normal(line)));
                            present.lines.push((table, line.to_owned()));
                        }
                    }
                    (Some(chain), Some(_))
                        if chain.strip_prefix(':').is_some_and(|name| rules::is_ours(owner, name)) =>
                    {
                        present.chains.push((table, chain[1..].to_owned()));
                    }
                    _ => {}
                }
            }
        }
        Ok(present)
    }

    pub(super) fn has(&self, rule: &Rule) -> bool {
        self.rules.contains(&(rule.table, normal(&format!("-A {} {}", rule.chain, rule.text))))
    }

    pub(super) fn has_chain(&self, table: &str, chain: &str) -> bool {
        self.chains.iter().any(|(of, name)| *of == table && name == chain)
    }

    /// The chains and jumps that all networks share, where they are missing.
    pub(super) fn complete(&self, owner: &Owner, v6: bool, change: &mut Change) {
        for table in TABLES {
            for chain in rules::fixed_chains(owner, table).iter().filter(|chain| !self.has_chain(table, chain)) {
                change.make(table, chain);
            }
        }
        rules::jumps(owner, v6).iter().filter(|jump| !self.has(jump)).for_each(|jump| change.add(jump));
    }
}
