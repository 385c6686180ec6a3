//! `/exec`: further programs in a running container.

use berth_api::models::{ExecConfig, ExecStartConfig};
use berth_api::stream;
use berth_core::Error;
use bytes::Bytes;
use hyper::StatusCode;
use serde_json::json;
use tokio::sync::mpsc;

use crate::blocking::run;
use crate::call::Call;
use crate::complete;
use crate::containers::size;
use crate::hijack::{self, Hijack};
use crate::reply::{self, Reply};
use crate::status::Failure;

pub(crate) async fn create(mut call: Call, name: &str) -> Result<Reply, Failure> {
    let body: ExecConfig = call.required_json().await?;
    if body.cmd.as_ref().is_none_or(Vec::is_empty) {
        return Err(Failure::bad_request("No exec command specified"));
    }
    let name = name.to_owned();
    let id = run(move || call.engine.exec_create(&name, &body)).await?;
    Ok(reply::json(StatusCode::CREATED, &json!({ "Id": id })))
}

pub(crate) async fn start(mut call: Call, id: &str) -> Result<Reply, Failure> {
    let options: ExecStartConfig = call.json().await?.unwrap_or_default();
    let (engine, id) = (call.engine.clone(), id.to_owned());
    let started = run(move || {
        let execution = engine.exec_inspect(&id)?;
        let tty = execution.process_config.and_then(|process| process.tty).unwrap_or_default();
        let attached = !options.detach.unwrap_or_default();
        match engine.exec_start(&id, &options) {
            Err(error @ (Error::NotFound(_) | Error::Conflict(_))) => Err(error),
            // Docker has hijacked the connection by then: the client reads the message there, and the exit code
            // (126 or 127) when it inspects.
            Err(error) if attached && engine.exec_inspect(&id)?.exit_code.is_some() => {
                Ok((Err(error.to_string()), tty, false))
            }
            other => Ok((Ok(other?), tty, execution.open_stdin.unwrap_or_default())),
        }
    })
    .await?;
    let hijack = match started {
        (Ok(None), ..) => return Ok(reply::empty(StatusCode::OK)),
        (Ok(Some(stream)), tty, stdin) => Hijack { tty, before: None, stream: Some(stream), stdin },
        (Err(message), tty, _) => Hijack { tty, before: Some(one_message(&message, tty)), stream: None, stdin: false },
    };
    hijack::reply(&call, hijack)
}

fn one_message(message: &str, tty: bool) -> mpsc::Receiver<std::io::Result<Bytes>> {
    let mut bytes = Vec::new();
    let text = format!("{message}\r\n");
    if !tty {
        bytes.extend(stream::header(stream::Stream::Stdout, u32::try_from(text.len()).unwrap_or_default()));
    }
    bytes.extend(text.bytes());
    let (sender, receiver) = mpsc::channel(1);
    let _ = sender.try_send(Ok(bytes.into()));
    receiver
}

pub(crate) async fn resize(call: Call, id: &str) -> Result<Reply, Failure> {
    let ((columns, rows), id) = (size(&call)?, id.to_owned());
    run(move || call.engine.exec_resize(&id, columns, rows)).await?;
    Ok(reply::empty(StatusCode::OK))
}

pub(crate) async fn inspect(call: Call, id: &str) -> Result<Reply, Failure> {
    let id = id.to_owned();
    let found = run(move || call.engine.exec_inspect(&id)).await?;
    Ok(reply::ok(&complete::execution(&found).map_err(Failure::encode)?))
}
