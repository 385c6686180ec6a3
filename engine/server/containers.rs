//! `/containers`: what has an answer of its own. Streams are in `attach.rs`, `logs.rs`, `stats.rs` and `archive.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use berth_api::ApiVersion;
use berth_api::models::{ContainerCreateBody, ContainerUpdateBody, ContainerWaitExitError, ContainerWaitResponse};
use berth_core::{Engine, Error, ListOptions, RemoveOptions, WaitCondition};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::blocking::{briefly, run};
use crate::call::Call;
use crate::checkpoints;
use crate::complete;
use crate::networks;
use crate::reply::{self, Reply};
use crate::status::Failure;
use crate::words;

/// The first version of the API that knows MAC addresses of endpoints.
const MAC_ADDRESS_OF_ENDPOINTS: ApiVersion = ApiVersion::new(1, 44);

/// Runs `f` and answers 204.
async fn done<F>(call: &Call, name: &str, f: F) -> Result<Reply, Failure>
where
    F: FnOnce(&Arc<Engine>, &str) -> Result<(), Error> + Send + 'static,
{
    let (engine, name) = (Arc::clone(&call.engine), name.to_owned());
    run(move || f(&engine, &name)).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn list(call: Call) -> Result<Reply, Failure> {
    let mut filters = call.query.filters()?;
    // From before there were filters.
    for name in ["since", "before"] {
        if let Some(container) = call.query.get(name) {
            filters.add(name, container);
        }
    }
    let limit = call.query.number::<i64>("limit")?.and_then(|limit| usize::try_from(limit).ok());
    let options = ListOptions {
        all: call.query.flag("all"),
        limit: limit.filter(|limit| *limit > 0),
        size: call.query.flag("size"),
        filters: filters.into_lists(),
    };
    Ok(reply::ok(&briefly(move || call.engine.list(&options)).await?))
}

pub(crate) async fn create(mut call: Call) -> Result<Reply, Failure> {
    let bytes = call.json_bytes().await?;
    let mut body = parse_create(&bytes)?;
    if call.version < MAC_ADDRESS_OF_ENDPOINTS {
        let mut value = serde_json::from_slice(&bytes).map_err(Failure::encode)?;
        if networks::place_mac_address(&mut value) {
            body = parse_create(value.to_string().as_bytes())?;
        }
    }
    let Call { engine, query, .. } = call;
    let created = briefly(move || engine.create(query.get("name"), query.get("platform"), body)).await?;
    Ok(reply::json(StatusCode::CREATED, &created))
}

/// `Cmd` and `Entrypoint` may be one string instead of a list.
fn parse_create(bytes: &[u8]) -> Result<ContainerCreateBody, Failure> {
    let invalid = |error: serde_json::Error| Failure::bad_request(format!("invalid JSON: {error}"));
    if bytes.is_empty() {
        return Err(Failure::bad_request("config cannot be empty in order to create a container"));
    }
    let error = match serde_json::from_slice(bytes) {
        Ok(body) => return Ok(body),
        Err(error) => error,
    };
    let mut value: Value = serde_json::from_slice(bytes).map_err(invalid)?;
    if let Some(message) = value.get("HostConfig").and_then(words::unknown) {
        return Err(Failure::bad_request(message));
    }
    let mut changed = place_isolation(&mut value)?;
    for name in ["Cmd", "Entrypoint"] {
        if let Some(field @ Value::String(_)) = value.get_mut(name) {
            *field = Value::Array(vec![field.take()]);
            changed = true;
        }
    }
    if changed { serde_json::from_value(value).map_err(invalid) } else { Err(invalid(error)) }
}

/// One of berth's backends in `HostConfig.Isolation`, whose type knows Docker's words for Windows only, goes to
/// `HostConfig.Runtime`. Says whether `body` has changed.
fn place_isolation(body: &mut Value) -> Result<bool, Failure> {
    let Some(Value::Object(host)) = body.get_mut("HostConfig") else { return Ok(false) };
    let Some(name) = host.get("Isolation").and_then(Value::as_str).map(str::to_owned) else { return Ok(false) };
    if matches!(name.as_str(), "" | "default" | "process" | "hyperv") {
        return Ok(false);
    }
    let runtime = host.get("Runtime").and_then(Value::as_str).unwrap_or_default();
    if !runtime.is_empty() && runtime != name {
        return Err(Failure::bad_request(format!(
            "conflicting options: Isolation {name:?} and Runtime {runtime:?} name different backends"
        )));
    }
    host.insert("Runtime".to_owned(), name.into());
    host.remove("Isolation");
    Ok(true)
}

pub(crate) async fn inspect(call: Call, name: &str) -> Result<Reply, Failure> {
    let name = name.to_owned();
    let (found, warnings) = run(move || {
        let found = call.engine.inspect(&name, call.query.flag("size"))?;
        let container = call.engine.find(found.id.as_deref().unwrap_or(&name))?;
        Ok::<_, Error>((found, call.engine.state(&container)?.warnings))
    })
    .await?;
    let mut found = complete::container(&found).map_err(Failure::encode)?;
    if !warnings.is_empty() {
        // Not Docker's: what was asked for and is not in force, as the backend found out at the start.
        found["State"]["Warnings"] = warnings.into();
    }
    Ok(reply::ok(&found))
}

pub(crate) async fn top(call: Call, name: &str) -> Result<Reply, Failure> {
    let name = name.to_owned();
    Ok(reply::ok(&run(move || call.engine.top(&name, call.query.get("ps_args").unwrap_or("-ef"))).await?))
}

pub(crate) async fn changes(call: Call, name: &str) -> Result<Reply, Failure> {
    let name = name.to_owned();
    let changes = run(move || call.engine.changes(&name)).await?;
    // Docker answers null where nothing has changed.
    Ok(if changes.is_empty() { reply::ok(&Value::Null) } else { reply::ok(&changes) })
}

pub(crate) async fn remove(call: Call, name: &str) -> Result<Reply, Failure> {
    let query = &call.query;
    let options = RemoveOptions { force: query.flag("force"), volumes: query.flag("v"), link: query.flag("link") };
    done(&call, name, move |engine, name| engine.remove(name, options)).await
}

fn dimension(call: &Call, name: &str) -> Result<u16, Failure> {
    let size = call.query.number(name)?;
    size.ok_or_else(|| Failure::bad_request(format!("invalid resize {name}: it must be a number from 0 to 65535")))
}

/// Columns and rows.
pub(crate) fn size(call: &Call) -> Result<(u16, u16), Failure> {
    Ok((dimension(call, "w")?, dimension(call, "h")?))
}

pub(crate) async fn resize(call: Call, name: &str) -> Result<Reply, Failure> {
    let ((columns, rows), name) = (size(&call)?, name.to_owned());
    run(move || call.engine.resize(&name, columns, rows)).await?;
    Ok(reply::empty(StatusCode::OK))
}

pub(crate) async fn start(call: Call, name: &str) -> Result<Reply, Failure> {
    let name = name.to_owned();
    match checkpoints::start_from(&call) {
        // To read a memory takes as long as it is large.
        Some(from) => run(move || call.engine.start_from(&name, &from)).await?,
        None => briefly(move || call.engine.start(&name)).await?,
    }
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn stop(call: Call, name: &str) -> Result<Reply, Failure> {
    let (signal, timeout) = (call.query.get("signal").map(str::to_owned), call.query.number("t")?);
    done(&call, name, move |engine, name| engine.stop(name, signal.as_deref(), timeout)).await
}

pub(crate) async fn restart(call: Call, name: &str) -> Result<Reply, Failure> {
    let (signal, timeout) = (call.query.get("signal").map(str::to_owned), call.query.number("t")?);
    done(&call, name, move |engine, name| engine.restart(name, signal.as_deref(), timeout)).await
}

pub(crate) async fn kill(call: Call, name: &str) -> Result<Reply, Failure> {
    let signal = call.query.get("signal").map(str::to_owned);
    done(&call, name, move |engine, name| engine.kill(name, signal.as_deref())).await
}

pub(crate) async fn pause(call: Call, name: &str) -> Result<Reply, Failure> {
    done(&call, name, |engine, name| engine.pause(name)).await
}

pub(crate) async fn unpause(call: Call, name: &str) -> Result<Reply, Failure> {
    done(&call, name, |engine, name| engine.unpause(name)).await
}

pub(crate) async fn rename(call: Call, name: &str) -> Result<Reply, Failure> {
    let new = call.query.text("name").to_owned();
    done(&call, name, move |engine, name| engine.rename(name, &new)).await
}

pub(crate) async fn update(mut call: Call, name: &str) -> Result<Reply, Failure> {
    let body: Value = call.required_json().await?;
    let body = ContainerUpdateBody::deserialize(&body).map_err(|error| {
        Failure::bad_request(words::unknown(&body).unwrap_or_else(|| format!("invalid JSON: {error}")))
    })?;
    let name = name.to_owned();
    Ok(reply::ok(&run(move || call.engine.update(&name, body)).await?))
}

pub(crate) async fn prune(call: Call) -> Result<Reply, Failure> {
    let filters = call.query.filters()?;
    Ok(reply::ok(&run(move || call.engine.prune_containers(&filters)).await?))
}

/// Says that nobody waits any more.
struct Abandon(Arc<AtomicBool>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Answers with the headers once the wait is noted, and with the body when it has happened: a client that has them
/// can start the container and miss nothing.
pub(crate) async fn wait(call: Call, name: &str) -> Result<Reply, Failure> {
    let condition = match call.query.text("condition") {
        "" | "not-running" => WaitCondition::NotRunning,
        "next-exit" => WaitCondition::NextExit,
        "removed" => WaitCondition::Removed,
        other => return Err(Failure::bad_request(format!("invalid condition: {other:?}"))),
    };
    let name = name.to_owned();
    let waited = briefly(move || call.engine.wait(&name, condition)).await?;
    Ok(reply::later(async move {
        let abandon = Abandon(Arc::default());
        let abandoned = Arc::clone(&abandon.0);
        let ended = tokio::task::spawn_blocking(move || waited.finish(&|| abandoned.load(Ordering::Relaxed))).await;
        drop(abandon);
        let (status_code, message) = match ended.map_err(std::io::Error::other)? {
            Ok(ended) => ended,
            Err(error) => (125, Some(error.to_string())),
        };
        let error = message.map(|message| ContainerWaitExitError { message: Some(message) });
        Ok(ContainerWaitResponse { status_code, error })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_may_be_one_string() {
        let body = parse_create(br#"{"Image":"x","Cmd":"true","Entrypoint":["a"]}"#).unwrap();
        assert_eq!(body.cmd, Some(vec!["true".to_owned()]));
        assert_eq!(body.entrypoint, Some(vec!["a".to_owned()]));
        assert!(parse_create(br#"{"Cmd":3}"#).is_err());
        assert!(parse_create(b"").is_err());
    }
}
