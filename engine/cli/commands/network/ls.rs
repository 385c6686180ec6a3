//! `berth network ls`.

use berth_api::models::NetworkSummary;
use serde_json::{Value, json};

use crate::commands::Act;
use crate::commands::each::filters;
use crate::output::human::{moment, short_id};
use crate::output::natural;
use crate::output::table::{self, Column, Style};
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Ls {
    /// Provide filter values (e.g. "driver=bridge")
    #[arg(short, long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// Format output: 'table', 'table TEMPLATE', 'json', or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Do not truncate the output
    #[arg(long)]
    no_trunc: bool,
    /// Only display network IDs
    #[arg(short, long)]
    quiet: bool,
}

const COLUMNS: &[Column] = &[("NETWORK ID", "ID"), ("NAME", "Name"), ("DRIVER", "Driver"), ("SCOPE", "Scope")];
const FURTHER: &[Column] =
    &[("IPV4", "IPv4"), ("IPV6", "IPv6"), ("INTERNAL", "Internal"), ("LABELS", "Labels"), ("CREATED AT", "CreatedAt")];

impl Act for Ls {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let query: Vec<_> = filters(&self.filter)?.map(|filters| ("filters", filters)).into_iter().collect();
        let mut networks: Vec<NetworkSummary> = session.client.get("/networks", &query).await?;
        networks.sort_by(|one, other| {
            let name = |network: &NetworkSummary| network.name.clone().unwrap_or_default();
            natural::order(&name(one), &name(other))
        });
        let labels: Vec<Value> = networks.iter().map(|network| json!(network.labels)).collect();
        let rows: Vec<Value> = networks.into_iter().map(|network| row(network, self.no_trunc)).collect();
        let style = Style { format: self.format.as_deref(), quiet: self.quiet.then_some("ID"), labels: &labels };
        table::print(style, COLUMNS, FURTHER, &rows)?;
        Ok(0)
    }
}

fn row(network: NetworkSummary, whole: bool) -> Value {
    let id = network.id.unwrap_or_default();
    let mut labels: Vec<String> =
        network.labels.unwrap_or_default().iter().map(|(name, value)| format!("{name}={value}")).collect();
    labels.sort();
    let said = |flag: Option<bool>| flag.unwrap_or_default().to_string();
    json!({
        "ID": if whole { id.as_str() } else { short_id(&id) },
        "Name": network.name.unwrap_or_default(),
        "Driver": network.driver.unwrap_or_default(),
        "Scope": network.scope.unwrap_or_default(),
        "IPv4": said(network.enable_ipv4),
        "IPv6": said(network.enable_ipv6),
        "Internal": said(network.internal),
        "Labels": labels.join(","),
        "CreatedAt": moment(&network.created.unwrap_or_default()),
    })
}
