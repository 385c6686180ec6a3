//! `berth volume ls`.

use serde_json::{Value, json};

use crate::commands::Act;
use crate::commands::each::filters;
use crate::output::human::short_size;
use crate::output::table::{self, Column, Style};
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Volumes {
    /// Provide filter values (e.g. "dangling=true")
    #[arg(short, long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// Format output: 'table', 'table TEMPLATE', 'json', or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Only display volume names
    #[arg(short, long)]
    quiet: bool,
}

const COLUMNS: &[Column] = &[("DRIVER", "Driver"), ("VOLUME NAME", "Name")];
const FURTHER: &[Column] = &[
    ("SCOPE", "Scope"),
    ("MOUNTPOINT", "Mountpoint"),
    ("LABELS", "Labels"),
    ("LINKS", "Links"),
    ("SIZE", "Size"),
    ("AVAILABILITY", "Availability"),
    ("GROUP", "Group"),
    ("STATUS", "Status"),
];

impl Act for Volumes {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let query: Vec<_> = filters(&self.filter)?.map(|filters| ("filters", filters)).into_iter().collect();
        let found: Value = session.client.get("/volumes", &query).await?;
        for warning in found["Warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            eprintln!("WARNING: {warning}");
        }
        let volumes = found["Volumes"].as_array().map_or(&[][..], Vec::as_slice);
        let own = |volume: &Value| volume["Labels"].as_object().cloned().unwrap_or_default();
        let labels: Vec<Value> = volumes.iter().map(|volume| own(volume).into()).collect();
        let rows: Vec<Value> = volumes.iter().map(row).collect();
        let style = Style { format: self.format.as_deref(), quiet: self.quiet.then_some("Name"), labels: &labels };
        table::print(style, COLUMNS, FURTHER, &rows)?;
        Ok(0)
    }
}

fn row(volume: &Value) -> Value {
    let text = |name: &str| volume[name].as_str().unwrap_or_default();
    let labels = volume["Labels"].as_object().into_iter().flatten();
    let labels: Vec<String> =
        labels.map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default())).collect();
    let used = &volume["UsageData"];
    let known = |shown: fn(i64) -> String, value: &Value| value.as_i64().map_or("N/A".to_owned(), shown);
    json!({
        "Driver": text("Driver"),
        "Name": text("Name"),
        "Scope": text("Scope"),
        "Mountpoint": text("Mountpoint"),
        "Labels": labels.join(","),
        "Links": known(|count| count.to_string(), &used["RefCount"]),
        "Size": known(short_size, &used["Size"]),
        "Availability": "N/A",
        "Group": "N/A",
        "Status": "N/A",
    })
}
