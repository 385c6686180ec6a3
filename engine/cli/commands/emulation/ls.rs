//! `berth emulation ls`.

use berth_api::emulation::{Emulator, How};
use serde_json::{Value, json};

use crate::commands::Act;
use crate::output::table::{self, Column, Style};
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Emulators {
    /// Format output: 'table', 'table TEMPLATE', 'json', or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Only display the architectures whose programs run here
    #[arg(short, long)]
    quiet: bool,
}

const COLUMNS: &[Column] = &[("ARCHITECTURE", "Architecture"), ("RUN BY", "RunBy")];
const FURTHER: &[Column] = &[
    ("HOW", "How"),
    ("INTERPRETER", "Interpreter"),
    ("REGISTRATION", "Registration"),
    ("INSTALLED", "Installed"),
    ("REMEDY", "Remedy"),
];

impl Act for Emulators {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let mut found: Vec<Emulator> = session.client.get("/berth/emulation", &()).await?;
        if self.quiet {
            found.retain(|emulator| emulator.how != How::Nothing);
        }
        let rows: Vec<Value> = found.iter().map(row).collect();
        let style = Style { format: self.format.as_deref(), quiet: self.quiet.then_some("Architecture"), labels: &[] };
        table::print(style, COLUMNS, FURTHER, &rows)?;
        Ok(0)
    }
}

pub(super) fn describe(emulator: &Emulator) -> String {
    let interpreter = emulator.interpreter.as_deref().unwrap_or_default();
    match emulator.how {
        How::Native => "this host's processor".to_owned(),
        How::Kernel => "this host's kernel".to_owned(),
        How::Registered => {
            let name = emulator.registration.as_deref().unwrap_or_default();
            let place = if emulator.fixed { "" } else { ", given to each container" };
            format!("{interpreter} (registered as {name}{place})")
        }
        How::Interpreter if emulator.installed => format!("{interpreter} (registered when it is needed)"),
        How::Interpreter => format!("{interpreter} (not registered: for a container's first program alone)"),
        How::Nothing => format!("nothing: {}", emulator.reason.as_deref().unwrap_or_default()),
    }
}

fn row(emulator: &Emulator) -> Value {
    json!({
        "Architecture": emulator.architecture,
        "RunBy": describe(emulator),
        "How": emulator.how,
        "Interpreter": emulator.interpreter.as_deref().unwrap_or_default(),
        "Registration": emulator.registration.as_deref().unwrap_or_default(),
        "Installed": emulator.installed.to_string(),
        "Remedy": emulator.remedy.as_deref().unwrap_or_default(),
    })
}
