//! `/containers/{id}/archive` and `/export`: files in and out as tar archives.

use std::io::Write as _;
use std::path::PathBuf;

use berth_core::{Error, PathStat, PutOptions};
use hyper::StatusCode;
use hyper::header::HeaderValue;

use crate::blocking::{self, consume, run};
use crate::call::Call;
use crate::reply::{self, Reply, TAR};
use crate::status::Failure;

const STAT: &str = "X-Docker-Container-Path-Stat";

fn path(call: &Call) -> Result<PathBuf, Failure> {
    let path = call.query.get("path");
    Ok(path.ok_or_else(|| Failure::bad_request("missing path: the query needs path=PATH"))?.into())
}

fn with_stat(mut reply: Reply, stat: &PathStat) -> Result<Reply, Failure> {
    let internal = |error: &dyn std::fmt::Display| {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, format!("encode the path's description: {error}"))
    };
    let json = serde_json::to_vec(stat).map_err(|error| internal(&error))?;
    let value = HeaderValue::from_str(&base64(&json)).map_err(|error| internal(&error))?;
    reply.headers_mut().insert(STAT, value);
    Ok(reply)
}

pub(crate) async fn head(call: Call, name: &str) -> Result<Reply, Failure> {
    let (path, name) = (path(&call)?, name.to_owned());
    let stat = run(move || call.engine.stat_path(&name, &path)).await?;
    with_stat(reply::empty(StatusCode::OK), &stat)
}

/// The headers carry what the path is, so that is found out first; the archive follows on the same thread.
pub(crate) async fn get(call: Call, name: &str) -> Result<Reply, Failure> {
    let (path, name) = (path(&call)?, name.to_owned());
    let (tell, told) = tokio::sync::oneshot::channel();
    let engine = call.engine.clone();
    let chunks = blocking::chunks(move |writer| {
        let mut tell = Some(tell);
        let mut told = |stat: &PathStat| {
            if let Some(tell) = tell.take() {
                let _ = tell.send(Ok(stat.clone()));
            }
        };
        match engine.get_archive(&name, &path, &mut told, writer) {
            Ok(()) => Ok(()),
            Err(error) => match tell.take() {
                Some(tell) => {
                    let _ = tell.send(Err(error));
                    Ok(())
                }
                None => Err(error),
            },
        }
    });
    let lost = |_| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the archive broke off before it began");
    let stat = told.await.map_err(lost)??;
    with_stat(reply::streamed(TAR, chunks), &stat)
}

pub(crate) async fn put(call: Call, name: &str) -> Result<Reply, Failure> {
    let (path, name) = (path(&call), name.to_owned());
    let options = PutOptions {
        no_overwrite_dir_non_dir: call.query.flag("noOverwriteDirNonDir"),
        copy_uid_gid: call.query.flag("copyUIDGID"),
    };
    let engine = call.engine;
    consume(call.body, move |body| Ok::<_, Failure>(engine.put_archive(&name, &path?, options, body)?)).await?;
    Ok(reply::empty(StatusCode::OK))
}

pub(crate) async fn export(call: Call, name: &str) -> Result<Reply, Failure> {
    let (engine, found) = (call.engine.clone(), name.to_owned());
    let container = run(move || engine.find(&found)).await?;
    Ok(blocking::stream(TAR, move |writer| {
        call.engine.export(&container.id, writer)?;
        writer.flush().map_err(|source| Error::Io { action: "send", path: container.id.into(), source })
    }))
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().enumerate().fold(0u32, |group, (i, &byte)| group | u32::from(byte) << (16 - 8 * i));
        for i in 0..4 {
            let digit = DIGITS[(group >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= chunk.len() { digit.into() } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), text);
        }
    }
}
