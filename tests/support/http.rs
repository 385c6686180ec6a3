//! Requests as they are on the wire, well-formed or not.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::World;

/// The answer to one request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Docker's form of an error, and which.
    #[track_caller]
    pub(crate) fn refuses(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        let message = self.json()["message"].as_str().unwrap_or_default().to_owned();
        assert!(!message.is_empty(), "an error without a message: {self:?}");
        message
    }
}

/// Sends bytes to the daemon and reads until it closes or is silent for long.
pub(crate) fn raw(world: &World, bytes: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(world.socket()).expect("connect to the daemon");
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // The daemon may refuse before it has read everything.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

pub(crate) fn request(world: &World, method: &str, path: &str, body: &[u8]) -> Answer {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: berth\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    parse(&raw(world, &[head.as_bytes(), body].concat()))
}

#[track_caller]
pub(crate) fn parse(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.unwrap_or_else(|| panic!("not an HTTP answer: {text:?}"));
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunk(body) } else { body.to_owned() };
    Answer { status, body }
}

fn unchunk(mut rest: &str) -> String {
    let mut all = String::new();
    while let Some((size, tail)) = rest.split_once("\r\n") {
        let Ok(size @ 1..) = usize::from_str_radix(size.trim(), 16) else { break };
        let Some(chunk) = tail.get(..size) else { break };
        all.push_str(chunk);
        rest = tail[size..].trim_start_matches("\r\n");
    }
    all
}
