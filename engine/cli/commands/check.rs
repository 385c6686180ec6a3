//! `berth system check`: what the store says should be there, compared with what the kernel has.

use berth_api::check::{Finding, SystemCheck};
use serde_json::{Value, json};

use super::Act;
use crate::output::table::{self, Column, Style};
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// Format output: 'table', 'table TEMPLATE', 'json', or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub(super) format: Option<String>,
    /// Bring back what is missing and remove what is left over
    #[arg(long)]
    pub(super) repair: bool,
}

const COLUMNS: &[Column] = &[("KIND", "Kind"), ("NAME", "Name"), ("STATE", "State"), ("OWNER", "Owner")];
const REPAIRED: Column = ("REPAIRED", "Repaired");

impl Act for Check {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let path = "/berth/check";
        let check: SystemCheck = if self.repair {
            session.client.post(path, &(), &()).await?
        } else {
            session.client.get(path, &()).await?
        };
        self.print(&check.findings, "nothing is missing or left over")
    }
}

impl Check {
    /// 0 if all is in order now.
    pub(super) fn print(&self, findings: &[Finding], nothing: &str) -> anyhow::Result<u8> {
        let plain = self.format.as_deref().is_none_or(|format| matches!(format, "" | "table"));
        if plain && findings.is_empty() {
            println!("{nothing}");
            return Ok(0);
        }
        let rows: Vec<Value> = findings.iter().map(row).collect();
        let mut columns = COLUMNS.to_vec();
        if self.repair {
            columns.push(REPAIRED);
        }
        let style = Style { format: self.format.as_deref(), quiet: None, labels: &[] };
        table::print(style, &columns, &[REPAIRED, ("ERROR", "Error")], &rows)?;
        Ok(u8::from(findings.iter().any(|finding| finding.repaired != Some(true))))
    }
}

fn row(finding: &Finding) -> Value {
    let error = finding.error.as_deref().unwrap_or_default();
    let repaired = match (finding.repaired, error) {
        (Some(true), _) => "yes".to_owned(),
        (Some(false), "") => "no".to_owned(),
        (Some(false), why) => format!("no: {why}"),
        (None, _) => String::new(),
    };
    json!({
        "Kind": finding.kind, "Name": finding.name, "State": finding.state, "Owner": finding.owner,
        "Repaired": repaired, "Error": error,
    })
}
