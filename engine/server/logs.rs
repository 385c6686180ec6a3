//! `GET /containers/{id}/logs`.

use std::io::Write;

use berth_api::stream::{self, MULTIPLEXED, RAW};
use berth_api::{ApiVersion, Query};
use berth_core::{Error, LogOptions, Logs, Tail, parse_time};
use bytes::Bytes;
use hyper::header::HeaderValue;
use tokio::sync::mpsc;

use crate::blocking::{self, BodyWriter, run};
use crate::call::Call;
use crate::reply::Reply;
use crate::status::Failure;

pub(crate) async fn logs(call: Call, name: &str) -> Result<Reply, Failure> {
    let options = options(&call.query)?;
    let (engine, name) = (call.engine.clone(), name.to_owned());
    let logs = run(move || engine.logs(&name, options)).await?;
    let tty = logs.tty();
    let multiplexed = !tty && call.version >= ApiVersion::new(1, 42);
    let kind = HeaderValue::from_static(if multiplexed { MULTIPLEXED } else { RAW });
    Ok(blocking::stream(kind, move |writer| copy(logs, tty, writer)))
}

fn options(query: &Query) -> Result<LogOptions, Failure> {
    let (stdout, stderr) = (query.flag("stdout"), query.flag("stderr"));
    if !stdout && !stderr {
        return Err(Failure::bad_request("Bad parameters: you must choose at least one stream"));
    }
    let time = |name| -> Result<Option<i64>, Failure> {
        Ok(query.get(name).filter(|text| *text != "0").map(parse_time).transpose()?)
    };
    Ok(LogOptions {
        stdout,
        stderr,
        follow: query.flag("follow"),
        // Docker takes what is no number for all.
        tail: query.get("tail").and_then(|tail| tail.parse().ok()).map_or(Tail::All, Tail::Last),
        since: time("since")?,
        until: time("until")?,
        timestamps: query.flag("timestamps"),
        details: query.flag("details"),
    })
}

fn copy(logs: Logs, tty: bool, writer: &mut BodyWriter) -> Result<(), Error> {
    let abandoned = writer.watcher();
    logs.run(
        &mut |event| match event {
            berth_core::LogEvent::Entry(stream, line) => {
                if !tty {
                    writer.write_all(&stream::header(stream, u32::try_from(line.len()).unwrap_or(u32::MAX)))?;
                }
                writer.write_all(line)
            }
            berth_core::LogEvent::Waiting => writer.flush(),
        },
        &abandoned,
    )
}

/// The entries as chunks for a stream that is taken over afterwards.
pub(crate) fn chunks(logs: Logs, tty: bool) -> mpsc::Receiver<std::io::Result<Bytes>> {
    blocking::chunks(move |writer| copy(logs, tty, writer))
}
