//! `berth events`.

use std::io::Write;

use berth_client::Method;
use serde_json::Value;

use super::Act;
use super::each::filters;
use crate::options::moment;
use crate::output;
use crate::session::Session;
use crate::streams::chunks;

#[derive(Debug, clap::Args)]
pub(crate) struct Events {
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// Format output: 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show all events created since timestamp
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Stream events until this timestamp
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// Fields whose name in a template is another than in the JSON.
const GO_NAMES: &[(&str, &str)] = &[
    (".Status", "status"),
    (".ID", "id"),
    (".From", "from"),
    (".Scope", "scope"),
    (".Time", "time"),
    (".TimeNano", "timeNano"),
];

impl Act for Events {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let mut query = Vec::new();
        query.extend(self.since.as_deref().map(moment::parse).transpose()?.map(|time| ("since", time)));
        query.extend(self.until.as_deref().map(moment::parse).transpose()?.map(|time| ("until", time)));
        query.extend(filters(&self.filter)?.map(|filters| ("filters", filters)));
        let template = match self.format.as_deref() {
            None | Some("" | "json") => None,
            Some(format) => Some(output::template(format)?),
        };
        let format = self.format.as_deref().unwrap_or_default();
        let as_json = format == "json";
        let response = session.client.stream(Method::GET, "/events", &query, None, None).await?;
        let mut pending = Vec::new();
        chunks(response.into_body(), |chunk| {
            pending.extend_from_slice(chunk);
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                let Ok(mut event) = serde_json::from_slice::<Value>(&line) else { continue };
                let text = match &template {
                    Some(template) => {
                        for (name, field) in GO_NAMES.iter().filter(|(name, _)| format.contains(name)) {
                            event[name.trim_start_matches('.')] = event[field].clone();
                        }
                        template.render(&event).map_err(std::io::Error::other)?
                    }
                    None if as_json => event.to_string(),
                    None => plain(&event),
                };
                writeln!(std::io::stdout(), "{text}")?;
            }
            std::io::stdout().flush()
        })
        .await?;
        Ok(0)
    }
}

/// `2026-01-02T03:04:05.000000006Z container start ID (image=x, name=y)`.
fn plain(event: &Value) -> String {
    let nanoseconds = event["timeNano"].as_i64().unwrap_or_default();
    let time =
        jiff::Timestamp::from_nanosecond(nanoseconds.into()).map(|time| format!("{time:.9}")).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let attributes: Vec<String> = event["Actor"]["Attributes"]
        .as_object()
        .map(|map| map.iter().map(|(name, value)| format!("{name}={}", text(value))).collect())
        .unwrap_or_default();
    let (kind, action, id) = (text(&event["Type"]), text(&event["Action"]), text(&event["Actor"]["ID"]));
    let tail = if attributes.is_empty() { String::new() } else { format!(" ({})", attributes.join(", ")) };
    format!("{time} {kind} {action} {id}{tail}")
}
