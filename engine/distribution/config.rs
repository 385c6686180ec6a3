//! What a client of registries is told about them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Where every engine looks for the certificates of registries: `HOST[:PORT]/ca.crt` and others below.
const CERTIFICATES: &[&str] = &["/etc/berth/certs.d", "/etc/docker/certs.d"];

#[derive(Debug, Clone)]
pub struct Config {
    /// `host`, `host:port`, an address or a network (`10.0.0.0/8`): registries whose certificates are not checked, and which
    /// may be without TLS. This host's own addresses (127.0.0.0/8, ::1, `localhost`) always are.
    pub insecure: Vec<String>,
    /// By domain (`docker.io`): URLs of registries that are asked first.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// Folders with a folder a registry (`HOST:PORT`) in them, for its authorities (`*.crt`) and our own certificate
    /// (`NAME.cert` with `NAME.key`).
    pub certificates: Vec<PathBuf>,
    /// Layers at a time.
    pub downloads: usize,
    pub uploads: usize,
    /// How long a connection, or an answer to a question, may take.
    pub connect: Duration,
    /// How long nothing may come, or go, in the middle of a body.
    pub stall: Duration,
    /// How often what broke is tried again.
    pub retries: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            insecure: Vec::new(),
            mirrors: BTreeMap::new(),
            certificates: CERTIFICATES.iter().map(PathBuf::from).collect(),
            downloads: 3,
            uploads: 3,
            connect: Duration::from_secs(30),
            stall: Duration::from_secs(60),
            retries: 5,
        }
    }
}
