//! `berth ps`, `berth container ls`.

use berth_api::models::{ContainerSummary, PortSummary};
use serde_json::{Value, json};

use super::Act;
use super::each::filters;
use crate::output::human::{ago, ellipsis, short_id, short_size};
use crate::output::table::{self, Column, Style};
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Ps {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    all: bool,
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// Format output: 'table', 'table TEMPLATE', 'json', or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show n last created containers (includes all states)
    #[arg(short = 'n', long, value_name = "INT", default_value_t = -1, allow_negative_numbers = true, hide_default_value = true)]
    last: i64,
    /// Show the latest created container (includes all states)
    #[arg(short, long)]
    latest: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only display container IDs
    #[arg(short, long)]
    quiet: bool,
    /// Display total file sizes
    #[arg(short, long)]
    size: bool,
}

const COLUMNS: &[Column] = &[
    ("CONTAINER ID", "ID"),
    ("IMAGE", "Image"),
    ("COMMAND", "Command"),
    ("CREATED", "RunningFor"),
    ("STATUS", "Status"),
    ("PORTS", "Ports"),
    ("NAMES", "Names"),
];
const FURTHER: &[Column] = &[
    ("CREATED AT", "CreatedAt"),
    ("SIZE", "Size"),
    ("LABELS", "Labels"),
    ("MOUNTS", "Mounts"),
    ("LOCAL VOLUMES", "LocalVolumes"),
    ("NETWORKS", "Networks"),
    ("STATE", "State"),
    ("PLATFORM", "Platform"),
];

impl Act for Ps {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let limit = if self.latest { 1 } else { self.last };
        let size = self.size || self.format.as_deref().is_some_and(|format| format.contains(".Size"));
        let mut query = vec![("all", u8::from(self.all).to_string()), ("size", u8::from(size).to_string())];
        if limit > 0 {
            query.push(("limit", limit.to_string()));
        }
        query.extend(filters(&self.filter)?.map(|filters| ("filters", filters)));
        let containers: Vec<ContainerSummary> = session.client.get("/containers/json", &query).await?;
        let labels: Vec<Value> = containers.iter().map(|container| json!(container.labels)).collect();
        let rows: Vec<Value> = containers.into_iter().map(|container| row(container, self.no_trunc)).collect();
        let mut columns = COLUMNS.to_vec();
        if self.size {
            columns.push(("SIZE", "Size"));
        }
        let style = Style { format: self.format.as_deref(), quiet: self.quiet.then_some("ID"), labels: &labels };
        table::print(style, &columns, FURTHER, &rows)?;
        Ok(0)
    }
}

fn row(container: ContainerSummary, whole: bool) -> Value {
    let id = container.id.unwrap_or_default();
    let command = container.command.unwrap_or_default();
    let created = container.created.unwrap_or_default();
    let names: Vec<String> =
        container.names.unwrap_or_default().iter().map(|name| name.trim_start_matches('/').to_owned()).collect();
    let mut labels: Vec<String> =
        container.labels.unwrap_or_default().iter().map(|(name, value)| format!("{name}={value}")).collect();
    labels.sort();
    let mounts = container.mounts.unwrap_or_default();
    let local = mounts.iter().filter(|mount| mount.driver.as_deref() == Some("local")).count();
    let mounts: Vec<String> = mounts
        .into_iter()
        .map(|mount| mount.name.filter(|name| !name.is_empty()).or(mount.source).unwrap_or_default())
        .map(|name| if whole { name } else { ellipsis(&name, 15) })
        .collect();
    let networks = container.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    let mut networks: Vec<String> = networks.into_keys().collect();
    networks.sort();
    let image = container.image.unwrap_or_default();
    let rw = container.size_rw.unwrap_or_default();
    let size = match container.size_root_fs {
        Some(total) if total > 0 => format!("{} (virtual {})", short_size(rw), short_size(total)),
        _ => short_size(rw),
    };
    json!({
        "ID": if whole { id.as_str() } else { short_id(&id) },
        "Image": if image.starts_with("sha256:") && !whole { short_id(&image) } else { &image },
        "Command": format!("\"{}\"", if whole { command } else { ellipsis(&command, 20) }),
        "RunningFor": ago(created),
        "CreatedAt": jiff::Timestamp::from_second(created).map(|time| time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string()).unwrap_or_default(),
        "Status": container.status.unwrap_or_default(),
        "State": container.state.map(|state| state.to_string()).unwrap_or_default(),
        "Ports": ports(container.ports.unwrap_or_default()),
        "Names": names.join(","),
        "Size": size,
        "Labels": labels.join(","),
        "Mounts": mounts.join(","),
        "LocalVolumes": local.to_string(),
        "Networks": networks.join(","),
        "Platform": "",
    })
}

/// Published ports one by one; of the others, those in a row as a range.
fn ports(mut ports: Vec<PortSummary>) -> String {
    let kind = |port: &PortSummary| port.typ.map(|kind| kind.to_string()).unwrap_or_default();
    ports.sort_by_key(|port| (port.private_port, port.public_port));
    let (published, exposed): (Vec<_>, Vec<_>) =
        ports.into_iter().partition(|port| port.public_port.is_some_and(|public| public > 0));
    // (first, last, protocol)
    let mut ranges: Vec<(u16, u16, String)> = Vec::new();
    for port in &exposed {
        let (number, kind) = (port.private_port, kind(port));
        match ranges.iter_mut().find(|(_, last, of)| *of == kind && last.checked_add(1) == Some(number)) {
            Some((_, last, _)) => *last = number,
            None => ranges.push((number, number, kind)),
        }
    }
    let ranges = ranges.into_iter().map(|(first, last, kind)| match first == last {
        true => format!("{first}/{kind}"),
        false => format!("{first}-{last}/{kind}"),
    });
    let published = published.into_iter().map(|port| {
        let kind = kind(&port);
        let ip = port.ip.unwrap_or_default();
        let ip = if ip.contains(':') { format!("[{ip}]") } else { ip };
        format!("{ip}:{}->{}/{kind}", port.public_port.unwrap_or_default(), port.private_port)
    });
    ranges.chain(published).collect::<Vec<_>>().join(", ")
}
