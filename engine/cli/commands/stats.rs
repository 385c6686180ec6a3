//! `berth stats`.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use berth_api::models::{ContainerInspectResponse, ContainerSummary};
use berth_client::Client;
use serde_json::{Value, json};

use super::Act;
use super::each::container;
use crate::output::human::{binary_size, short_id, short_size};
use crate::output::table::{self, Column, Style};
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Stats {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    all: bool,
    /// Format output: 'table', 'table TEMPLATE', 'json', or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Disable streaming stats and only pull the first result
    #[arg(long)]
    no_stream: bool,
    /// Do not truncate output
    #[arg(long)]
    no_trunc: bool,
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

const COLUMNS: &[Column] = &[
    ("CONTAINER ID", "ID"),
    ("NAME", "Name"),
    ("CPU %", "CPUPerc"),
    ("MEM USAGE / LIMIT", "MemUsage"),
    ("MEM %", "MemPerc"),
    ("NET I/O", "NetIO"),
    ("BLOCK I/O", "BlockIO"),
    ("PIDS", "PIDs"),
];

/// The clock and the processor times of the sample before.
type Before = BTreeMap<String, (u64, u64)>;

impl Act for Stats {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let client = &session.client;
        let mut before = Before::new();
        let terminal = std::io::stdout().is_terminal() && self.format.is_none();
        // Processor use is a difference: the first sample only starts it.
        self.sample(client, &mut before).await?;
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let rows = self.sample(client, &mut before).await?;
            let style = Style { format: self.format.as_deref(), quiet: None, labels: &[] };
            let text = table::render(style, COLUMNS, &[("CONTAINER", "Container")], &rows)?;
            if terminal && !self.no_stream {
                print!("\x1b[2J\x1b[H");
            }
            print!("{text}");
            std::io::stdout().flush()?;
            if self.no_stream {
                return Ok(0);
            }
        }
    }
}

impl Stats {
    async fn sample(&self, client: &Client, before: &mut Before) -> anyhow::Result<Vec<Value>> {
        let mut rows = Vec::new();
        for name in self.names(client).await? {
            match client.get::<Value>(&container(&name, "stats"), &[("stream", "false"), ("one-shot", "true")]).await {
                Ok(stats) => rows.push(self.row(&name, &stats, before)),
                // A container that has gone since the list was made.
                Err(error) if error.status() == Some(404) && self.containers.is_empty() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(rows)
    }

    async fn names(&self, client: &Client) -> anyhow::Result<Vec<String>> {
        if self.containers.is_empty() {
            let all: Vec<ContainerSummary> = client.get("/containers/json", &[("all", u8::from(self.all))]).await?;
            return Ok(all.into_iter().filter_map(|container| container.id).collect());
        }
        let mut ids = Vec::new();
        for name in &self.containers {
            let inspected: ContainerInspectResponse = client.get(&container(name, "json"), &()).await?;
            ids.extend(inspected.id);
        }
        Ok(ids)
    }

    fn row(&self, id: &str, stats: &Value, before: &mut Before) -> Value {
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        let cpu = &stats["cpu_stats"];
        let (total, system) = (number(&cpu["cpu_usage"]["total_usage"]), number(&cpu["system_cpu_usage"]));
        let (total_before, system_before) = before.insert(id.to_owned(), (total, system)).unwrap_or((total, system));
        let online = number(&cpu["online_cpus"]).max(1) as f64;
        let passed = system.saturating_sub(system_before) as f64;
        let used = total.saturating_sub(total_before) as f64;
        let percent = if passed > 0.0 { used / passed * online * 100.0 } else { 0.0 };

        let memory = &stats["memory_stats"];
        let cache = ["inactive_file", "total_inactive_file"].iter().find_map(|name| memory["stats"][*name].as_u64());
        let usage = number(&memory["usage"]).saturating_sub(cache.unwrap_or_default());
        let limit = number(&memory["limit"]);
        let memory_percent = if limit > 0 { usage as f64 / limit as f64 * 100.0 } else { 0.0 };

        let networks = stats["networks"].as_object().into_iter().flat_map(|map| map.values());
        let (received, sent) = networks.fold((0, 0), |(received, sent), network| {
            (received + number(&network["rx_bytes"]), sent + number(&network["tx_bytes"]))
        });
        let blocks = stats["blkio_stats"]["io_service_bytes_recursive"].as_array().cloned().unwrap_or_default();
        let sum = |operation: &str| -> u64 {
            let matching =
                blocks.iter().filter(|entry| entry["op"].as_str().is_some_and(|op| op.eq_ignore_ascii_case(operation)));
            matching.map(|entry| number(&entry["value"])).sum()
        };
        let size = |bytes: u64| short_size(i64::try_from(bytes).unwrap_or(i64::MAX));
        let id = if self.no_trunc { id } else { short_id(id) };
        json!({
            "Container": id,
            "ID": id,
            "Name": stats["name"].as_str().unwrap_or_default().trim_start_matches('/'),
            "CPUPerc": format!("{percent:.2}%"),
            "MemUsage": format!("{} / {}", binary_size(usage as f64), binary_size(limit as f64)),
            "MemPerc": format!("{memory_percent:.2}%"),
            "NetIO": format!("{} / {}", size(received), size(sent)),
            "BlockIO": format!("{} / {}", size(sum("read")), size(sum("write"))),
            "PIDs": number(&stats["pids_stats"]["current"]).to_string(),
        })
    }
}
