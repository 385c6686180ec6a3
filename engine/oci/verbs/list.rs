//! `list`.

use std::fmt::Write;

use super::state::State;
use super::{Format, print, print_json};
use crate::Context;
use crate::container::Container;

#[derive(clap::Args)]
pub(crate) struct List {
    #[arg(short, long, value_enum, default_value_t)]
    format: Format,
    /// Print IDs only
    #[arg(short, long)]
    quiet: bool,
}

impl List {
    pub(crate) fn act(self, context: &Context) -> anyhow::Result<u8> {
        // One that vanishes meanwhile is left out.
        let found = context.root.ids()?.into_iter().filter_map(|id| Container::find(context, &id).ok());
        let states: Vec<State> = found.map(|container| State::of(context, &container)).collect();
        if self.quiet {
            return print(&states.iter().map(|state| format!("{}\n", state.id)).collect::<String>());
        }
        match self.format {
            Format::Json => print_json(&states),
            Format::Table => print(&table(&states)),
        }
    }
}

fn table(states: &[State]) -> String {
    let width = |what: fn(&State) -> usize| states.iter().map(what).max().unwrap_or(0).max(8) + 2;
    let (id, bundle) = (width(|state| state.id.len()), width(|state| state.bundle.as_os_str().len()));
    let mut text = format!("{:id$}{:12}{:10}{:bundle$}{:32}OWNER\n", "ID", "PID", "STATUS", "BUNDLE", "CREATED");
    for state in states {
        let folder = state.bundle.display().to_string();
        let State { pid, status, created, owner, .. } = state;
        let _ = writeln!(text, "{:id$}{pid:<12}{status:10}{folder:bundle$}{created:32}{owner}", state.id);
    }
    text
}
