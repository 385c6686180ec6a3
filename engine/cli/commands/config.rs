//! `berth config check` and `berth config show`: the files, looked at without an engine.

use std::path::PathBuf;

use berth_core::config;

use super::{Act, Exit};
use crate::output;
use crate::session::{Globals, Session};

#[derive(Debug, clap::Args)]
#[command(after_help = "Ends with 0 if nothing is wrong, 1 if something is, 2 if a file cannot be read.")]
pub(crate) struct CheckConfig {
    /// Look at this file alone, all of its profiles included
    file: Option<PathBuf>,
    /// Format output: 'json', or a Go template for the list of mistakes
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ShowConfig {
    /// Tell for each value where it comes from
    #[arg(long)]
    origin: bool,
    /// Show what holds on another host: NAME=VALUE,... of arch, kernel, memory, host, cgroup, rootless
    #[arg(long, value_name = "HOST")]
    on: Option<String>,
    /// Format output: 'json' or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Act for CheckConfig {
    const LOCAL: bool = true;

    async fn act(self, _session: Session) -> anyhow::Result<u8> {
        unreachable!("a local verb")
    }

    fn act_locally(self, globals: Globals) -> anyhow::Result<u8> {
        let unreadable = |error: berth_core::Error| Exit { code: 2, error: error.into() };
        let (mistakes, files) = config::check(&globals.overrides(), self.file.as_deref()).map_err(unreadable)?;
        if let Some(format) = &self.format {
            output::print_formatted(format, &serde_json::to_value(&mistakes)?)?;
        } else if mistakes.is_empty() {
            println!("{files} file{}: nothing is wrong", if files == 1 { "" } else { "s" });
        } else {
            mistakes.iter().for_each(|mistake| eprintln!("{mistake}"));
        }
        Ok(u8::from(!mistakes.is_empty()))
    }
}

impl Act for ShowConfig {
    const LOCAL: bool = true;

    async fn act(self, _session: Session) -> anyhow::Result<u8> {
        unreachable!("a local verb")
    }

    fn act_locally(self, globals: Globals) -> anyhow::Result<u8> {
        let shown = config::show(&globals.overrides(), self.on.as_deref())?;
        match &self.format {
            Some(format) => output::print_formatted(format, &shown.json(self.origin))?,
            None => print!("{}", shown.text(self.origin)),
        }
        Ok(0)
    }
}
