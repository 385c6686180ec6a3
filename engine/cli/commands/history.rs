//! `berth history`.

use berth_client::segment;
use serde_json::{Value, json};

use super::Act;
use crate::output::human::{ago, ellipsis, short_id, short_size};
use crate::output::table::{self, Column, Style};
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct History {
    /// Format output: 'table', 'table TEMPLATE', 'json', or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print sizes and dates in human readable format
    #[arg(short = 'H', long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", action = clap::ArgAction::Set)]
    human: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    image: String,
}

const COLUMNS: &[Column] = &[
    ("IMAGE", "ID"),
    ("CREATED", "CreatedSince"),
    ("CREATED BY", "CreatedBy"),
    ("SIZE", "Size"),
    ("COMMENT", "Comment"),
];

impl Act for History {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let path = format!("/images/{}/history", segment(&self.image));
        let steps: Vec<Value> = session.client.get(&path, &()).await?;
        let rows: Vec<Value> = steps.iter().map(|step| self.row(step)).collect();
        let style = Style { format: self.format.as_deref(), quiet: self.quiet.then_some("ID"), labels: &[] };
        let mut columns = COLUMNS.to_vec();
        if !self.human {
            columns[1].0 = "CREATED AT";
        }
        table::print(style, &columns, &[("CREATED AT", "CreatedAt")], &rows)?;
        Ok(0)
    }
}

impl History {
    fn row(&self, step: &Value) -> Value {
        let text = |name: &str| step[name].as_str().unwrap_or_default();
        let created = step["Created"].as_i64().unwrap_or_default();
        let size = step["Size"].as_i64().unwrap_or_default();
        let stamp = jiff::Timestamp::from_second(created).map(|time| time.to_string()).unwrap_or_default();
        let by = text("CreatedBy").replace('\t', " ");
        json!({
            "ID": if self.no_trunc { text("Id") } else { short_id(text("Id")) },
            "CreatedSince": if self.human { ago(created) } else { stamp.clone() },
            "CreatedAt": stamp,
            "CreatedBy": if self.no_trunc { by } else { ellipsis(&by, 45) },
            "Size": if self.human { short_size(size) } else { size.to_string() },
            "Comment": text("Comment"),
        })
    }
}
