//! One request, taken apart.

use std::sync::Arc;

use berth_api::{ApiVersion, Query, version};
use berth_core::Engine;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderMap, UPGRADE};
use hyper::{Method, Request, StatusCode};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use crate::connection::Takeover;
use crate::status::Failure;

/// No JSON body is larger.
const MAX_JSON: usize = 4 << 20;

pub(crate) struct Call {
    pub(crate) engine: Arc<Engine>,
    pub(crate) method: Method,
    pub(crate) version: ApiVersion,
    /// Its segments, without the version. Each was decoded by itself: a `/` in one is part of a name and ends none.
    pub(crate) path: Vec<String>,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Incoming,
    /// Where a handler leaves what is to become of the connection.
    pub(crate) takeover: Takeover,
}

impl Call {
    /// Fails on a version that is not spoken.
    pub(crate) fn new(engine: Arc<Engine>, takeover: Takeover, request: Request<Incoming>) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        let (version, path) = match split_version(parts.uri.path()) {
            Some((version, rest)) => {
                version.check().map_err(Failure::bad_request)?;
                (version, rest)
            }
            None => (version::CURRENT, parts.uri.path()),
        };
        let decoded = |segment| percent_decode_str(segment).decode_utf8_lossy().into_owned();
        Ok(Self {
            engine,
            method: parts.method,
            version,
            path: path.split('/').skip(1).map(decoded).collect(),
            query: Query::parse(parts.uri.query().unwrap_or_default()),
            headers: parts.headers,
            body,
            takeover,
        })
    }

    /// Whether the client asked for a connection of its own in today's form.
    pub(crate) fn wants_upgrade(&self) -> bool {
        let has = |name, word: &str| {
            let value = self.headers.get(name).and_then(|value| value.to_str().ok());
            value.is_some_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
        };
        has(CONNECTION, "upgrade") && has(UPGRADE, "tcp")
    }

    /// The body as JSON; `None` if there is none. Type and size are checked first.
    pub(crate) async fn json<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Failure> {
        let bytes = self.json_bytes().await?;
        if bytes.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&bytes).map(Some).map_err(|error| Failure::bad_request(format!("invalid JSON: {error}")))
    }

    /// As [`Call::json`], for endpoints where a body has to be.
    pub(crate) async fn required_json<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let missing = || Failure::bad_request("invalid JSON: got EOF while reading request body");
        self.json().await?.ok_or_else(missing)
    }

    /// The bytes of a JSON body.
    pub(crate) async fn json_bytes(&mut self) -> Result<Bytes, Failure> {
        let typed = self.headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        if typed.is_none() && self.body.is_end_stream() {
            return Ok(Bytes::new());
        }
        let typed = typed.unwrap_or_default();
        let kind = typed.split(';').next().unwrap_or_default().trim();
        let mut bytes = BytesMut::new();
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| Failure::bad_request(format!("read the request's body: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > MAX_JSON {
                let message = format!("the request's body is larger than {MAX_JSON} bytes");
                return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, message));
            }
            bytes.extend_from_slice(&data);
        }
        let nothing = kind.is_empty() && bytes.is_empty();
        if !nothing && !kind.eq_ignore_ascii_case("application/json") {
            let message = format!("unsupported Content-Type header ({typed}): must be 'application/json'");
            return Err(Failure::bad_request(message));
        }
        Ok(bytes.freeze())
    }
}

/// `/v1.51/containers/json` is version 1.51 and `/containers/json`.
fn split_version(path: &str) -> Option<(ApiVersion, &str)> {
    let rest = path.strip_prefix("/v")?;
    let end = rest.find('/').unwrap_or(rest.len());
    let (version, rest) = rest.split_at(end);
    Some((version.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_in_front_of_the_path_is_taken_off() {
        assert_eq!(split_version("/v1.41/_ping"), Some((ApiVersion::new(1, 41), "/_ping")));
        assert_eq!(split_version("/volumes"), None);
        assert_eq!(split_version("/version"), None);
        assert_eq!(split_version("/v1/x"), None);
        assert_eq!(split_version("/v1.41"), Some((ApiVersion::new(1, 41), "")));
    }
}
