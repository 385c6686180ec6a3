//! `berth system df`.

use serde::Serialize;
use serde_json::{Value, json};

use super::Act;
use crate::output::human::{ago, short_id, short_size, size as human_size};
use crate::output::table::{self, Column, Style};
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Df {
    /// Format output: 'table', 'table TEMPLATE', 'json', or a Go template
    #[arg(long, value_name = "FORMAT", conflicts_with = "verbose")]
    format: Option<String>,
    /// Show detailed information on space usage
    #[arg(short, long)]
    verbose: bool,
}

#[derive(Debug, Serialize)]
struct Query {
    verbose: bool,
}

const COLUMNS: &[Column] = &[
    ("TYPE", "Type"),
    ("TOTAL", "TotalCount"),
    ("ACTIVE", "Active"),
    ("SIZE", "Size"),
    ("RECLAIMABLE", "Reclaimable"),
];

fn list<'a>(usage: &'a Value, name: &str) -> &'a [Value] {
    usage[name].as_array().map_or(&[], Vec::as_slice)
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

impl Act for Df {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let usage: Value = session.client.get("/system/df", &Query { verbose: self.verbose }).await?;
        if self.verbose {
            verbose(&usage)?;
            return Ok(0);
        }
        let images = list(&usage, "Images");
        let containers = list(&usage, "Containers");
        let layers = number(&usage["LayersSize"]);
        let used: i64 = images
            .iter()
            .filter(|image| number(&image["Containers"]) > 0)
            .map(|image| number(&image["Size"]) - number(&image["SharedSize"]))
            .sum();
        let running =
            |container: &&Value| matches!(container["State"].as_str(), Some("running" | "paused" | "restarting"));
        let written = |container: &Value| number(&container["SizeRw"]);
        let all: i64 = containers.iter().map(written).sum();
        let idle: i64 = containers.iter().filter(|container| !running(container)).map(written).sum();
        let row = |kind: &str, total: usize, active: usize, size: i64, free: i64| {
            let percent = if size > 0 { format!(" ({}%)", free.max(0) * 100 / size) } else { String::new() };
            json!({
                "Type": kind, "TotalCount": total.to_string(), "Active": active.to_string(),
                "Size": human_size(size), "Reclaimable": format!("{}{percent}", human_size(free.max(0))),
            })
        };
        let volumes = list(&usage, "Volumes");
        let in_use = |volume: &&Value| number(&volume["UsageData"]["RefCount"]) > 0;
        let kept = |which: &dyn Fn(&Value) -> bool| -> i64 {
            volumes
                .iter()
                .filter(|volume| which(volume))
                .map(|volume| number(&volume["UsageData"]["Size"]).max(0))
                .sum()
        };
        let active_images = images.iter().filter(|image| number(&image["Containers"]) > 0).count();
        let rows = [
            row("Images", images.len(), active_images, layers, layers - used),
            row("Containers", containers.len(), containers.iter().filter(running).count(), all, idle),
            row(
                "Local Volumes",
                volumes.len(),
                volumes.iter().filter(in_use).count(),
                kept(&|_| true),
                kept(&|v| !in_use(&v)),
            ),
            row("Build Cache", list(&usage, "BuildCache").len(), 0, 0, 0),
        ];
        table::print(Style { format: self.format.as_deref(), quiet: None, labels: &[] }, COLUMNS, &[], &rows)?;
        Ok(0)
    }
}

fn verbose(usage: &Value) -> anyhow::Result<()> {
    const IMAGES: &[Column] = &[
        ("REPOSITORY", "Repository"),
        ("TAG", "Tag"),
        ("IMAGE ID", "ID"),
        ("CREATED", "Created"),
        ("SIZE", "Size"),
        ("SHARED SIZE", "Shared"),
        ("UNIQUE SIZE", "Unique"),
        ("CONTAINERS", "Containers"),
    ];
    const CONTAINERS: &[Column] = &[
        ("CONTAINER ID", "ID"),
        ("IMAGE", "Image"),
        ("COMMAND", "Command"),
        ("LOCAL VOLUMES", "LocalVolumes"),
        ("SIZE", "Size"),
        ("CREATED", "Created"),
        ("STATUS", "Status"),
        ("NAMES", "Names"),
    ];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let images: Vec<Value> = list(usage, "Images")
        .iter()
        .map(|image| {
            let name = image["RepoTags"][0].as_str().unwrap_or("<none>:<none>");
            let (repository, tag) = name.rsplit_once(':').unwrap_or((name, "<none>"));
            let (size, shared) = (number(&image["Size"]), number(&image["SharedSize"]));
            json!({
                "Repository": repository, "Tag": tag, "ID": short_id(&text(&image["Id"])),
                "Created": ago(number(&image["Created"])), "Size": short_size(size), "Shared": human_size(shared),
                "Unique": human_size(size - shared), "Containers": number(&image["Containers"]).to_string(),
            })
        })
        .collect();
    let containers: Vec<Value> = list(usage, "Containers")
        .iter()
        .map(|container| {
            json!({
                "ID": short_id(&text(&container["Id"])), "Image": text(&container["Image"]),
                "Command": format!("{:?}", text(&container["Command"])), "Size": short_size(number(&container["SizeRw"])),
                "LocalVolumes": list(container, "Mounts").iter().filter(|mount| mount["Type"] == "volume").count().to_string(),
                "Created": ago(number(&container["Created"])), "Status": text(&container["Status"]),
                "Names": text(&container["Names"][0]).trim_start_matches('/'),
            })
        })
        .collect();
    println!("Images space usage:\n");
    table::print(Style::default(), IMAGES, &[], &images)?;
    println!("\nContainers space usage:\n");
    table::print(Style::default(), CONTAINERS, &[], &containers)?;
    const VOLUMES: &[Column] = &[("VOLUME NAME", "Name"), ("LINKS", "Links"), ("SIZE", "Size")];
    let volumes: Vec<Value> = list(usage, "Volumes")
        .iter()
        .map(|volume| {
            let used = &volume["UsageData"];
            let size = number(&used["Size"]);
            json!({
                "Name": text(&volume["Name"]), "Links": number(&used["RefCount"]).to_string(),
                "Size": if size < 0 { "N/A".to_owned() } else { human_size(size) },
            })
        })
        .collect();
    println!("\nLocal Volumes space usage:\n");
    table::print(Style::default(), VOLUMES, &[], &volumes)?;
    layers(&usage["Berth"])
}

/// What the storage driver keeps, without what layers share with those below them.
fn layers(storage: &Value) -> anyhow::Result<()> {
    const LAYERS: &[Column] = &[
        ("LAYER", "Layer"),
        ("DIFF ID", "DiffID"),
        ("CONTENT", "Content"),
        ("ON DISK", "Disk"),
        ("IMAGES", "Images"),
        ("CONTAINERS", "Containers"),
    ];
    let layers = list(storage, "Layers");
    let on_disk = |which: &dyn Fn(&Value) -> bool| -> String {
        human_size(layers.iter().filter(|layer| which(layer)).map(|layer| number(&layer["DiskSize"])).sum())
    };
    let rows: Vec<Value> = layers
        .iter()
        .map(|layer| {
            let diff_id = layer["DiffId"].as_str().unwrap_or_default();
            json!({
                "Layer": layer["Id"], "Disk": human_size(number(&layer["DiskSize"])),
                "DiffID": if diff_id.is_empty() { "(a container's own)" } else { short_id(diff_id) },
                "Content": if diff_id.is_empty() { String::new() } else { human_size(number(&layer["Size"])) },
                "Images": number(&layer["Images"]).to_string(), "Containers": number(&layer["Containers"]).to_string(),
            })
        })
        .collect();
    println!(
        "\nStorage of {}: {} in {} layer{} ({} in those of several images), {} free:\n",
        storage["Driver"].as_str().unwrap_or_default(),
        on_disk(&|_| true),
        layers.len(),
        if layers.len() == 1 { "" } else { "s" },
        on_disk(&|layer| number(&layer["Images"]) > 1),
        human_size(number(&storage["Free"])),
    );
    table::print(Style::default(), LAYERS, &[], &rows)
}
