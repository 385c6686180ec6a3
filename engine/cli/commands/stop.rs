//! `berth stop` and `berth restart`: the same arguments, another end.

use super::Act;
use super::each::{container, each};
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Stop {
    /// Signal to send to the container
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Seconds to wait before killing the container
    #[arg(short, long, visible_alias = "time", value_name = "SECONDS", allow_negative_numbers = true)]
    timeout: Option<i64>,
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Restart {
    #[command(flatten)]
    stop: Stop,
}

#[derive(serde::Serialize)]
struct Query<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    t: Option<i64>,
}

impl Stop {
    async fn perform(self, session: Session, verb: &str) -> anyhow::Result<u8> {
        let query = Query { signal: self.signal.as_deref(), t: self.timeout };
        each(&self.containers, async |name| {
            session.client.act(&container(name, verb), &query).await?;
            Ok(name.to_owned())
        })
        .await
    }
}

impl Act for Stop {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        self.perform(session, "stop").await
    }
}

impl Act for Restart {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        self.stop.perform(session, "restart").await
    }
}
