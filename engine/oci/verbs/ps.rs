//! `ps`.

use anyhow::Context as _;
use berth_backends::ContainerId;

use super::{Format, print, print_json};
use crate::Context;
use crate::container::Container;

#[derive(clap::Args)]
pub(crate) struct Ps {
    #[arg(short, long, value_enum, default_value_t)]
    format: Format,
    /// The container's ID
    id: ContainerId,
    /// Options of the host's ps, which draws the table
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

impl Ps {
    pub(crate) fn act(self, context: &Context) -> anyhow::Result<u8> {
        let mut pids = Container::find(context, &self.id)?.sandbox(None)?.pids()?;
        pids.sort_unstable();
        match self.format {
            Format::Json => print_json(&pids),
            Format::Table => print(&table(&pids, &self.options)?),
        }
    }
}

/// The lines of the host's `ps` that are about `pids`.
fn table(pids: &[i32], options: &[String]) -> anyhow::Result<String> {
    let usual = ["-ef".to_owned()];
    let options = if options.is_empty() { &usual[..] } else { options };
    let output = std::process::Command::new("ps").args(options).output();
    let output = output.context("run the host's ps; without it, use --format json")?;
    anyhow::ensure!(output.status.success(), "ps {options:?}: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let column = header.split_whitespace().position(|word| word == "PID");
    let column = column.with_context(|| format!("ps {options:?}: it prints no column PID"))?;
    let wanted = |line: &&str| {
        let number = line.split_whitespace().nth(column).and_then(|word| word.parse().ok());
        number.is_some_and(|number: i32| pids.contains(&number))
    };
    let chosen = std::iter::once(header).chain(lines.filter(wanted));
    Ok(chosen.map(|line| format!("{line}\n")).collect())
}
