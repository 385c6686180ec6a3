//! `berth ps`, `berth container ls`.

use berth_api::models::{ContainerSummary, PortSummary};
use serde_json::{Value, json};

use super::Act;
use super::each::filters;
use crate::output::human::{ago, ellipsis, short_id, short_size};
use crate::output::natural;
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
    networks.sort_by(|one, other| natural::order(one, other));
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

/// Ports with their own number outside, and exposed ones, as ranges where they are in a row; then each of the others.
fn ports(mut ports: Vec<PortSummary>) -> String {
    let kind = |port: &PortSummary| port.typ.map(|kind| kind.to_string()).unwrap_or_default();
    ports.sort_by_key(|port| (port.private_port, port.ip.clone(), port.public_port, kind(port)));
    let mut others: Vec<String> = Vec::new();
    let mut closed: Vec<Range> = Vec::new();
    // The last range of each address and protocol, in the order in which the first came.
    let mut open: Vec<Range> = Vec::new();
    for port in ports {
        let (number, kind) = (port.private_port, kind(&port));
        let ip = port.ip.filter(|ip| !ip.is_empty());
        let public = port.public_port.unwrap_or_default();
        if let Some(ip) = ip.as_deref().filter(|_| public != number) {
            others.push(format!("{}:{public}->{number}/{kind}", bracketed(ip)));
            continue;
        }
        match open.iter_mut().find(|range| range.ip == ip && range.kind == kind) {
            Some(range) if range.last.checked_add(1) == Some(number) => range.last = number,
            Some(range) => closed.push(std::mem::replace(range, Range { ip, first: number, last: number, kind })),
            None => open.push(Range { ip, first: number, last: number, kind }),
        }
    }
    closed.iter().chain(&open).map(Range::to_string).chain(others).collect::<Vec<_>>().join(", ")
}

/// Ports in a row. With an address they are published there under the same numbers.
struct Range {
    ip: Option<String>,
    first: u16,
    last: u16,
    kind: String,
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ports = match self.first == self.last {
            true => self.first.to_string(),
            false => format!("{}-{}", self.first, self.last),
        };
        match &self.ip {
            Some(ip) => write!(f, "{}:{ports}->{ports}/{}", bracketed(ip), self.kind),
            None => write!(f, "{ports}/{}", self.kind),
        }
    }
}

fn bracketed(ip: &str) -> String {
    if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() }
}

#[cfg(test)]
mod tests {
    use berth_api::models::PortSummaryTypeEnum;

    use super::*;

    #[test]
    fn ports_are_joined_as_docker_joins_them() {
        let port = |ip: &str, public: u16, private: u16, udp: bool| PortSummary {
            ip: (!ip.is_empty()).then(|| ip.to_owned()),
            public_port: (public > 0).then_some(public),
            private_port: private,
            typ: Some(if udp { PortSummaryTypeEnum::UDP } else { PortSummaryTypeEnum::TCP }),
        };
        let both = |public, private| [port("0.0.0.0", public, private, false), port("::", public, private, false)];
        let cases = [
            (vec![], ""),
            (vec![port("", 0, 80, false)], "80/tcp"),
            (vec![port("", 0, 82, false), port("", 0, 81, false), port("", 0, 80, false)], "80-82/tcp"),
            (vec![port("", 0, 80, false), port("", 0, 80, true)], "80/tcp, 80/udp"),
            (vec![port("", 0, 80, false), port("", 0, 82, false)], "80/tcp, 82/tcp"),
            (both(8080, 80).to_vec(), "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"),
            ([both(80, 80), both(81, 81)].concat(), "0.0.0.0:80-81->80-81/tcp, [::]:80-81->80-81/tcp"),
            (
                vec![port("127.0.0.1", 5000, 80, false), port("", 0, 443, false), port("127.0.0.1", 53, 53, true)],
                "127.0.0.1:53->53/udp, 443/tcp, 127.0.0.1:5000->80/tcp",
            ),
        ];
        for (ports, expected) in cases {
            assert_eq!(super::ports(ports), expected);
        }
    }
}
