//! Names of what the engine has.

use berth_api::models::{ContainerSummary, ImageSummary};
use berth_client::Client;
use serde_json::Value;

use super::Offer;

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// In one of these states; none: in any.
    Containers(&'static [&'static str]),
    Images,
    Networks,
    Volumes,
}

impl Kind {
    /// Those that a verb can do something with.
    pub(super) fn containers_for(verb: &str) -> Self {
        Self::Containers(match verb {
            "start" => &["created", "exited", "dead"],
            "attach" | "exec" | "kill" | "pause" | "port" | "stats" | "stop" | "top" => &["running", "restarting"],
            "unpause" => &["paused"],
            _ => &[],
        })
    }

    pub(super) async fn ask(self, client: &Client) -> berth_client::Result<Vec<Offer>> {
        match self {
            Self::Containers(states) => {
                let found: Vec<ContainerSummary> = client.get("/containers/json", &[("all", "1")]).await?;
                Ok(found.into_iter().flat_map(|container| named(container, states)).collect())
            }
            Self::Images => {
                let found: Vec<ImageSummary> = client.get("/images/json", &()).await?;
                let tags = found.into_iter().flat_map(|image| image.repo_tags);
                Ok(tags.filter(|tag| tag != "<none>:<none>").map(|tag| (tag, String::new())).collect())
            }
            Self::Networks => Ok(of_list(&client.get("/networks", &()).await?)),
            Self::Volumes => Ok(of_list(&client.get::<Value>("/volumes", &()).await?["Volumes"])),
        }
    }
}

fn named(container: ContainerSummary, states: &[&str]) -> Vec<Offer> {
    let state = container.state.map(|state| state.to_string()).unwrap_or_default();
    if !states.is_empty() && !states.contains(&state.as_str()) {
        return Vec::new();
    }
    let about = format!("{}, {}", container.image.unwrap_or_default(), container.status.unwrap_or_default());
    let names = container.names.unwrap_or_default().into_iter();
    // Links have two parts.
    let names = names.filter_map(|name| Some(name.strip_prefix('/')?.to_owned()).filter(|name| !name.contains('/')));
    names.map(|name| (name, about.clone())).collect()
}

fn of_list(list: &Value) -> Vec<Offer> {
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let entries = list.as_array().map(Vec::as_slice).unwrap_or_default();
    entries.iter().map(|entry| (text(entry, "Name"), text(entry, "Driver"))).collect()
}
