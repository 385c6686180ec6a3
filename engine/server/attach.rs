//! `POST /containers/{id}/attach`.

use berth_core::{AttachOptions, Error, LogOptions, Tail};

use crate::blocking::briefly;
use crate::call::Call;
use crate::hijack::{self, Hijack};
use crate::logs;
use crate::reply::Reply;
use crate::status::Failure;

pub(crate) async fn attach(call: Call, name: &str) -> Result<Reply, Failure> {
    let query = &call.query;
    let options = AttachOptions {
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        detach_keys: query.has("detachKeys").then(|| query.text("detachKeys").to_owned()),
    };
    let (replay, live, stdin) = (query.flag("logs"), query.flag("stream"), options.stdin && query.flag("stream"));
    let (engine, name) = (call.engine.clone(), name.to_owned());
    let (tty, stream, before) = briefly(move || {
        // First the stream, then the log: what comes in between is shown twice rather than never.
        let stream = if live { Some(engine.attach(&name, &options)?) } else { None };
        let before = if replay {
            let log =
                LogOptions { stdout: options.stdout, stderr: options.stderr, tail: Tail::All, ..LogOptions::default() };
            Some(engine.logs(&name, log)?)
        } else {
            None
        };
        let tty = match &stream {
            Some(stream) => stream.tty,
            None => engine.find(&name)?.config.tty.unwrap_or_default(),
        };
        Ok::<_, Error>((tty, stream, before))
    })
    .await?;
    let before = before.map(|log| logs::chunks(log, tty));
    hijack::reply(&call, Hijack { tty, before, stream, stdin })
}
