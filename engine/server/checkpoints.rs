//! `/containers/ID/checkpoints`.

use std::path::PathBuf;

use berth_core::{CheckpointOptions, StartFrom};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::blocking::run;
use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::Failure;

/// Docker's, and what berth has beside.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Body {
    #[serde(rename = "CheckpointID")]
    checkpoint_id: String,
    checkpoint_dir: String,
    exit: bool,
    tcp_established: bool,
    file_locks: bool,
}

pub(crate) async fn create(mut call: Call, name: &str) -> Result<Reply, Failure> {
    let body: Body = call.required_json().await?;
    let options = CheckpointOptions {
        name: body.checkpoint_id,
        folder: folder(&body.checkpoint_dir),
        exit: body.exit,
        tcp_established: body.tcp_established,
        file_locks: body.file_locks,
    };
    let name = name.to_owned();
    run(move || call.engine.checkpoint(&name, &options)).await?;
    Ok(reply::empty(StatusCode::CREATED))
}

pub(crate) async fn list(call: Call, name: &str) -> Result<Reply, Failure> {
    let name = name.to_owned();
    let folder = folder(call.query.text("dir"));
    let names = run(move || call.engine.checkpoints(&name, folder.as_deref())).await?;
    Ok(reply::ok(&names.into_iter().map(|name| json!({ "Name": name })).collect::<Vec<Value>>()))
}

pub(crate) async fn remove(call: Call, name: &str, checkpoint: &str) -> Result<Reply, Failure> {
    let (name, checkpoint) = (name.to_owned(), checkpoint.to_owned());
    let folder = folder(call.query.text("dir"));
    run(move || call.engine.remove_checkpoint(&name, &checkpoint, folder.as_deref())).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// What a start says of a checkpoint.
pub(crate) fn start_from(call: &Call) -> Option<StartFrom> {
    let name = call.query.get("checkpoint").filter(|name| !name.is_empty())?;
    Some(StartFrom { name: name.to_owned(), folder: folder(call.query.text("checkpoint-dir")) })
}

fn folder(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| text.into())
}
