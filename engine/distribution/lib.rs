//! A client of image registries: the OCI distribution specification 1.1 and Docker's v2 API before it.
//!
//! `pull.rs` and `push.rs` carry images between a registry and the image store (engine/image), `lookup.rs` asks about them;
//! `repository.rs` is one repository at one endpoint, with `manifests.rs`, `blobs.rs` and `uploads.rs`, `auth.rs` the rights to
//! it, `endpoint.rs` what a name's registry is reached by, `net` HTTP, TLS and proxies. Synchronous outside, with a runtime of
//! its own inside that works while somebody waits for it. What a registry says is a claim until digest and size are checked.

mod auth;
mod blobs;
mod challenge;
mod config;
mod credentials;
mod endpoint;
mod lookup;
mod manifests;
mod net;
mod pull;
mod push;
mod repository;
mod tell;
mod transfer;
mod uploads;

use std::collections::HashMap;
use std::sync::Mutex;

pub use berth_image::{Error, Result};
pub use config::Config;
pub use credentials::Credentials;
pub use lookup::Found;
pub use manifests::Fetched;
pub use pull::Pulled;
pub use push::Pushed;
pub use repository::{Access, Repository};
pub use tell::{Line, Tell};
pub use transfer::Transfer;

use endpoint::Endpoint;
use net::Net;

/// Talks to registries. Keeps connections and what it has learned of hosts.
pub struct Client {
    config: Config,
    net: Net,
    /// By domain: the endpoint that has answered.
    reached: Mutex<HashMap<String, Endpoint>>,
}

impl Client {
    pub fn new(config: Config) -> Result<Self> {
        let net = Net::new(&config)?;
        Ok(Self { config, net, reached: Mutex::default() })
    }
}
