//! `berth storage check`: the layers, compared with what was recorded of them; and `berth storage migrate`: all of them, to
//! another driver.

use std::io::IsTerminal;

use anyhow::Context;
use berth_api::check::{StorageCheck, StorageMigration};
use berth_client::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Act;
use super::check::Check;
use super::import::messages;
use crate::output::human::size;
use crate::output::progress::Progress;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct CheckStorage {
    /// Format output: 'table', 'table TEMPLATE', 'json', or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Remove images with damaged layers, so that they can be loaded again, and what is left over
    #[arg(long)]
    repair: bool,
}

impl Act for CheckStorage {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let method = if self.repair { Method::POST } else { Method::GET };
        let check: StorageCheck = work(&session, method, "check", &(), "checked", |_| {}).await?;
        let nothing = format!(
            "{} layers, {} of archives ({}): nothing is damaged or left over",
            check.layers,
            bytes(check.bytes),
            check.driver
        );
        if let Some(note) = &check.note {
            eprintln!("{note}");
        }
        Check { format: self.format, repair: self.repair }.print(&check.findings, &nothing)
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Migrate {
    /// Storage driver to move to
    #[arg(long, value_name = "DRIVER")]
    to: String,
}

#[derive(Debug, Serialize)]
struct Target {
    to: String,
}

impl Act for Migrate {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let target = Target { to: self.to };
        let plain = !std::io::stderr().is_terminal();
        let tell = |step: &str| {
            if plain {
                eprintln!("{step}");
            }
        };
        let moved: StorageMigration = work(&session, Method::POST, "migrate", &target, "moved", tell).await?;
        let StorageMigration { from, to, layers, containers, .. } = &moved;
        if from == to {
            println!("the state is kept with {to}: nothing is left to move");
        } else {
            println!("moved {layers} layers and {containers} containers ({}) from {from} to {to}", bytes(moved.bytes));
        }
        Ok(0)
    }
}

fn bytes(count: u64) -> String {
    size(i64::try_from(count).unwrap_or(i64::MAX))
}

/// Has the engine do it, and shows how far it is. `step` is called with each object that is begun.
async fn work<T: DeserializeOwned>(
    session: &Session,
    method: Method,
    verb: &str,
    query: &impl Serialize,
    done: &str,
    step: impl Fn(&str),
) -> anyhow::Result<T> {
    let response = session.client.stream(method, &format!("/berth/storage/{verb}"), query, None, None).await?;
    let progress = Progress::bytes(done, None);
    let note = progress.noter();
    let (mut before, mut current, mut object, mut answer) = (0, 0, String::new(), None);
    messages(response.into_body(), |message| {
        let Some(bytes) = message["progressDetail"]["current"].as_u64() else {
            answer = serde_json::from_value(message["aux"].clone()).ok();
            return;
        };
        let id = message["id"].as_str().unwrap_or_default();
        if id != object {
            (before, object) = (before + current, id.to_owned());
            step(&format!("{} {id}", message["status"].as_str().unwrap_or_default()));
        }
        current = bytes;
        note(before + current);
    })
    .await?;
    drop(progress);
    answer.context("the engine did not say what it did")
}
