//! The programs of iptables: where they are, which variant they are, and calling them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use berth_arch::program::{find, first_line};

use super::Variant;
use crate::{Error, Result};

/// The pair that changes and reads the tables of one family.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    restore: PathBuf,
    save: PathBuf,
    single: PathBuf,
}

impl Programs {
    pub(super) fn find(variant: Variant, v6: bool) -> Option<Self> {
        let stem = if v6 { "ip6tables" } else { "iptables" };
        let own = find(&format!("{stem}-{}-restore", variant.word()));
        let restore =
            own.or_else(|| find(&format!("{stem}-restore")).filter(|path| Variant::of(path) == Some(variant)))?;
        let name = restore.file_name()?.to_str()?;
        let beside = |ending: &str| restore.with_file_name(name.replace("-restore", ending));
        let (save, single) = (beside("-save"), beside(""));
        (save.exists() && single.exists()).then_some(Self { restore, save, single })
    }

    /// One call for all tables in `input`.
    pub(super) fn restore(&self, input: &str) -> Result<()> {
        change(&self.restore, &["--noflush"], input)
    }

    /// Refused if another process made the chain meanwhile. Not by `iptables-restore`: a line `:CHAIN` empties one that is there, and
    /// so does `-N CHAIN` of the variant nft, if rules of anybody were changed while it looked (nft_refresh_transaction, iptables 1.8).
    pub(super) fn make_chain(&self, table: &str, chain: &str) -> Result<()> {
        change(&self.single, &["-t", table, "-N", chain], "")
    }

    /// The table's rules as iptables writes them.
    pub(super) fn save(&self, table: &str) -> Result<String> {
        let action = || format!("read rules with {}", self.save.display());
        let output =
            Command::new(&self.save).args(["-t", table]).stdin(Stdio::null()).output().map_err(Error::io(action()))?;
        if !output.status.success() {
            return Err(Error::Unavailable(format!("{}: {}", action(), first_line(&output.stderr))));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Waits for others who hold the lock.
fn change(program: &Path, arguments: &[&str], input: &str) -> Result<()> {
    match feed(program, &[&["-w"], arguments].concat(), input) {
        // iptables before 1.6.2: no lock, and none for us to wait for.
        Err(reason)
            if ["invalid", "unrecognized", "unknown"].iter().any(|word| reason.contains(&format!("{word} option"))) =>
        {
            feed(program, arguments, input)
        }
        answer => answer,
    }
    .map_err(|reason| Error::Unavailable(format!("change rules with {}: {reason}", program.display())))
}

fn feed(program: &Path, arguments: &[&str], input: &str) -> Result<(), String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that gives up early says why on its standard error.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(first_line(&output.stderr)) }
}

impl Variant {
    /// What `--version` says; before 1.8 there was only one, which says nothing.
    fn of(program: &Path) -> Option<Self> {
        let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Some(if text.contains("nf_tables") { Self::Nft } else { Self::Legacy })
    }
}
