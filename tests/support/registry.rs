//! Debian's docker-registry, in a world's network namespace.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::call::{Background, call};
use super::world::LIMIT;
use super::{World, eventually, find_program, skip};

pub(crate) const USER: &str = "someone";
pub(crate) const PASSWORD: &str = "a:secret";
/// `htpasswd -nbB someone a:secret`
const HTPASSWD: &str = include_str!("registry.htpasswd");

/// How a registry is to be talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// On loopback.
    Plain,
    /// On another address, with TLS by an authority of the test's own, and a password.
    Guarded,
}

/// Of the documentation (RFC 5737).
const ADDRESS: &str = "192.0.2.1";

pub(crate) struct Registry {
    host: String,
    folder: PathBuf,
    _process: Background,
}

impl Registry {
    /// `None`, said, where the program is missing.
    pub(crate) fn start(world: &World, kind: Kind) -> Option<Self> {
        if find_program("docker-registry").is_none() {
            skip("docker-registry is not installed (ci/setup test)");
            return None;
        }
        let folder = world.path(if kind == Kind::Plain { "registry" } else { "guarded" });
        fs::create_dir_all(folder.join("data")).unwrap();
        // Somebody else may take the port between; the world's namespace has nobody else.
        let host = if kind == Kind::Plain { "127.0.0.1" } else { ADDRESS };
        if kind == Kind::Guarded {
            let mut command = Command::new("ip");
            command.args(["address", "add", ADDRESS, "dev", "lo"]);
            world.net().enter(&mut command);
            call(command, &[], LIMIT).ok();
        }
        let address = world.net().within(|| TcpListener::bind((host, 0)).unwrap().local_addr().unwrap());
        let at = |name: &str| folder.join(name).display().to_string();
        let mut config = format!(
            "version: 0.1\nlog: {{accesslog: {{disabled: true}}, level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  \
             delete: {{enabled: true}}\nhttp:\n  addr: {address}\n",
            at("data")
        );
        if kind == Kind::Guarded {
            let names = format!("subjectAltName=IP:{ADDRESS}");
            world
                .shell(&format!(
                    "cd {} && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=registry -addext {names} \
                     -keyout key.pem -out cert.pem",
                    folder.display()
                ))
                .ok();
            fs::write(folder.join("htpasswd"), HTPASSWD).unwrap();
            config.push_str(&format!("  tls: {{certificate: {}, key: {}}}\n", at("cert.pem"), at("key.pem")));
            config.push_str(&format!("auth:\n  htpasswd: {{realm: test, path: {}}}\n", at("htpasswd")));
        }
        fs::write(folder.join("config.yml"), config).unwrap();
        let mut command = Command::new("docker-registry");
        command.args(["serve", &at("config.yml")]).env("OTEL_TRACES_EXPORTER", "none");
        world.go_there(&mut command);
        let process = Background::start(command);
        eventually("the registry listens", Duration::from_secs(30), || {
            world.net().within(|| TcpStream::connect(address).is_ok())
        });
        Some(Self { host: address.to_string(), folder, _process: process })
    }

    /// `NAME` on this registry.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.host)
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Has the world believe its certificate.
    pub(crate) fn trust(&self, world: &World) {
        let own = world.path(&format!("certs/{}", self.host));
        fs::create_dir_all(&own).unwrap();
        fs::copy(self.folder.join("cert.pem"), own.join("ca.crt")).unwrap();
        let config = world.path("trusting.toml");
        fs::write(&config, format!("registries.certificates = [{:?}]\n", world.at("certs"))).unwrap();
        world.set("BERTH_CONFIG", config.to_str().unwrap());
    }
}

/// Calls another client of registries in the world.
pub(crate) fn other(world: &World, program: &str, arguments: &[&str]) -> super::Outcome {
    let mut command = Command::new(program);
    world.surround(&mut command);
    command.args(arguments);
    call(command, &[], LIMIT)
}
