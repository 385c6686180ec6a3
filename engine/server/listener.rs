//! Where a daemon listens.

use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use berth_core::{Engine, Error, Result};
use rustix::fs::Mode;
use tokio::net::{TcpListener, UnixListener};

use crate::connection;

/// The groups whose members may use the socket; the first that exists.
const GROUPS: [&str; 2] = ["docker", "berth"];

/// An address of `berth serve -H`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Unix(PathBuf),
    /// `HOST:PORT`, in clear text and for everybody who reaches it.
    Tcp(String),
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |why: &str| Err(Error::InvalidArgument(format!("cannot listen on {text:?}: {why}")));
        match text.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(("unix", _)) => refuse("the socket's path must be absolute"),
            Some(("tcp", address)) => match address.rsplit_once(':') {
                Some((_, port)) if port.parse::<u16>().is_ok() => Ok(Self::Tcp(address.to_owned())),
                _ => refuse("expected tcp://ADDRESS:PORT"),
            },
            Some(("fd", _)) => refuse("sockets from systemd are not supported yet; use unix:///PATH"),
            Some(("https" | "tls", _)) => refuse("TLS is not supported yet; use unix:///PATH, over ssh if need be"),
            _ => refuse("expected unix:///PATH or tcp://ADDRESS:PORT"),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

pub(crate) enum Listener {
    Unix { listener: UnixListener, path: PathBuf, inode: u64 },
    Tcp(TcpListener),
}

impl Listener {
    pub(crate) async fn bind(address: &Address) -> Result<Self> {
        match address {
            Address::Unix(path) => bind_unix(path),
            Address::Tcp(address) => {
                tracing::warn!(
                    "listening on tcp://{address} WITHOUT encryption and authentication: everybody who reaches this \
                     port is root on this host; use it behind a firewall or not at all"
                );
                let bound = TcpListener::bind(address).await;
                Ok(Self::Tcp(bound.map_err(|source| Error::Io {
                    action: "listen on",
                    path: address.into(),
                    source,
                })?))
            }
        }
    }

    /// Serves connections until it is dropped.
    pub(crate) async fn serve(&self, engine: Arc<Engine>) {
        loop {
            let accepted = match self {
                Self::Unix { listener, .. } => listener.accept().await.map(|(stream, _)| {
                    let socket = duplicate(&stream);
                    tokio::spawn(connection::serve(Arc::clone(&engine), stream, socket));
                }),
                Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                    let _ = stream.set_nodelay(true);
                    let socket = duplicate(&stream);
                    tokio::spawn(connection::serve(Arc::clone(&engine), stream, socket));
                }),
            };
            if let Err(error) = accepted {
                // Out of descriptors, most likely: they come back when connections end.
                tracing::warn!("accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix { path, inode, .. } = self
            && std::fs::symlink_metadata(&*path).is_ok_and(|found| found.ino() == *inode)
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn duplicate(socket: &impl std::os::fd::AsFd) -> Option<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(socket, 3).ok()
}

fn bind_unix(path: &Path) -> Result<Listener> {
    let io = |action| move |source| Error::Io { action, path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(io("create the folder of"))?;
    }
    if std::fs::symlink_metadata(path).is_ok() {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            let message = format!("an engine listens on {} already; stop it or use another -H", path.display());
            return Err(Error::Conflict(message));
        }
        std::fs::remove_file(path).map_err(io("remove the stale socket"))?;
    }
    // Closed from the first moment on: nobody else may connect before the group is set.
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = bound.map_err(io("listen on"))?;
    // An ordinary user's is for him alone: the host's groups are not where his engine is.
    let private = berth_rootless::inside().is_some();
    let groups: &[&str] = if private { &[] } else { &GROUPS };
    if let Some(group) = groups.iter().find_map(|name| group_id(name))
        && let Err(error) = chown(path, None, Some(group))
    {
        tracing::warn!("give {} to group {group}: {error}", path.display());
    }
    let mode = if private { 0o600 } else { 0o660 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(io("set the mode of"))?;
    let inode = std::fs::symlink_metadata(path).map_err(io("look at"))?.ino();
    Ok(Listener::Unix { listener, path: path.to_owned(), inode })
}

fn group_id(name: &str) -> Option<u32> {
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_cannot_be_served_are_refused_with_the_reason() {
        assert_eq!("unix:///run/x.sock".parse::<Address>().unwrap(), Address::Unix("/run/x.sock".into()));
        assert_eq!("tcp://127.0.0.1:2375".parse::<Address>().unwrap(), Address::Tcp("127.0.0.1:2375".into()));
        for (text, word) in [("fd://", "systemd"), ("unix://x", "absolute"), ("tcp://x", "PORT"), ("/x", "unix://")] {
            let message = text.parse::<Address>().unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        let folder = std::env::temp_dir().join(format!("berth-listener-{}", std::process::id()));
        let path = folder.join("berth.sock");
        std::fs::create_dir_all(&folder).unwrap();
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let first = bind_unix(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(matches!(bind_unix(&path), Err(Error::Conflict(_))));
        drop(first);
        assert!(!path.exists());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
