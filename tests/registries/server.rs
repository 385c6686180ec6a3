//! A registry of the tests' own that lies as it is told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::support::World;

/// One request: its first line and its headers, in lower case names.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Answers a request; the connection ends with the answer.
type Answer = dyn Fn(&Asked, &mut TcpStream) -> std::io::Result<()> + Send + Sync;

pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    pub(super) fn start(
        world: &World,
        answer: impl Fn(&Asked, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = world.net().within(|| TcpListener::bind("127.0.0.1:0").unwrap());
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (answer, noted): (Arc<Answer>, _) = (Arc::new(answer), asked.clone());
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, noted) = (answer.clone(), noted.clone());
                std::thread::spawn(move || {
                    let Some(asked) = read(&stream) else { return };
                    noted.lock().unwrap().push(asked.clone());
                    let _ = answer(&asked, &mut { stream });
                });
            }
        });
        Self { address, asked }
    }

    pub(super) fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    pub(super) fn count(&self, path: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| asked.path.starts_with(path)).count()
    }
}

/// `None`: not HTTP (a client tries TLS first), or nothing.
fn read(stream: &TcpStream) -> Option<Asked> {
    // A byte at a time: a body is left to the answer.
    let mut lines = BufReader::with_capacity(1, stream.try_clone().ok()?).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = Vec::new();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Some(Asked { method, path, headers })
}

/// Reads a request's body to its end.
pub(super) fn drain(asked: &Asked, stream: &TcpStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    if asked.header("transfer-encoding") != Some("chunked") {
        let length = asked.header("content-length").map_or(0, |length| length.parse().unwrap());
        return std::io::copy(&mut stream.take(length), &mut std::io::sink()).map(drop);
    }
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let length = u64::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
        // And its line's end.
        std::io::copy(&mut (&mut stream).take(length + 2), &mut std::io::sink())?;
        if length == 0 {
            return Ok(());
        }
    }
}

/// A whole answer.
pub(super) fn reply(
    stream: &mut TcpStream,
    status: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<()> {
    head(stream, status, headers, body.len() as u64)?;
    stream.write_all(body)
}

/// An answer without its body.
pub(super) fn head(stream: &mut TcpStream, status: &str, headers: &[(&str, &str)], length: u64) -> std::io::Result<()> {
    let mut text = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    stream.write_all(text.as_bytes())
}

pub(super) fn digest(bytes: &[u8]) -> String {
    use std::process::{Command, Stdio};
    let mut child =
        Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sha256sum (coreutils)");
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let out = child.wait_with_output().unwrap().stdout;
    format!("sha256:{}", String::from_utf8_lossy(&out[..64]))
}

/// An image of one layer: documents, and blobs by digest.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) manifest: Vec<u8>,
    pub(super) blobs: Vec<(String, Vec<u8>)>,
}

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

impl Image {
    /// `diff_id`: what the configuration says of the layer; nothing: the truth about a layer that is not packed.
    pub(super) fn new(layer: &[u8], diff_id: Option<&str>) -> Self {
        Self::of(layer, diff_id, TAR, layer.len() as u64)
    }

    pub(super) fn of(layer: &[u8], diff_id: Option<&str>, kind: &str, size: u64) -> Self {
        let own = digest(layer);
        let config = serde_json::json!({
            "os": "linux", "architecture": "", "config": {},
            "rootfs": { "type": "layers", "diff_ids": [diff_id.unwrap_or(&own)] },
        })
        .to_string()
        .into_bytes();
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(&config), "size": config.len() },
            "layers": [{ "mediaType": kind, "digest": own, "size": size }],
        });
        let blobs = vec![(digest(&config), config), (own, layer.to_vec())];
        Self { manifest: manifest.to_string().into_bytes(), blobs }
    }

    pub(super) fn layer(&self) -> &str {
        &self.blobs[1].0
    }

    /// Answers as an honest registry.
    pub(super) fn serve(&self, asked: &Asked, stream: &mut TcpStream) -> std::io::Result<()> {
        if asked.path == "/v2/" {
            return reply(stream, "200 OK", &[], b"{}");
        }
        if asked.path.contains("/manifests/") {
            return reply(stream, "200 OK", &[("Content-Type", MANIFEST)], &self.manifest);
        }
        match self.blobs.iter().find(|(digest, _)| asked.path.ends_with(&format!("/blobs/{digest}"))) {
            Some((_, bytes)) => reply(stream, "200 OK", &[], bytes),
            None => reply(stream, "404 Not Found", &[], b"{}"),
        }
    }
}
