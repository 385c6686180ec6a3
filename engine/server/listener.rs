//! Where a daemon listens.

use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use berth_core::{Engine, Error, Result};
use rustix::fs::Mode;
use rustix::net::AddressFamily;
use tokio::net::{TcpListener, UnixListener};

use crate::{activation, connection};

/// The groups whose members may use the socket where none was named; the first that exists.
const GROUPS: [&str; 2] = ["docker", "berth"];

/// An address of `berth serve -H`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Unix(PathBuf),
    /// `HOST:PORT`, in clear text and for everybody who reaches it.
    Tcp(String),
    /// `fd://`, all that a service manager has opened, or `fd://N`, the one that is descriptor N here.
    Given(Option<usize>),
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
            Some(("fd", "" | "*")) => Ok(Self::Given(None)),
            Some(("fd", number)) => match number.parse() {
                Ok(number @ 3..) => Ok(Self::Given(Some(number))),
                _ => refuse("expected fd:// for all sockets that were passed on, or fd://N with N from 3 on"),
            },
            Some(("https" | "tls", _)) => refuse("TLS is not supported yet; use unix:///PATH, over ssh if need be"),
            _ => refuse("expected unix:///PATH, tcp://ADDRESS:PORT or fd://"),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Given(None) => f.write_str("fd://"),
            Self::Given(Some(number)) => write!(f, "fd://{number}"),
        }
    }
}

pub(crate) struct Listener {
    socket: Socket,
    /// What was put into the file system for it, and its inode; what others have put there stays.
    placed: Option<(PathBuf, u64)>,
}

enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    /// `given` are the sockets that a service manager has passed on; those that are listened on are taken out. `group`: see
    /// [`bind_unix`].
    pub(crate) async fn bind(
        address: &Address,
        given: &mut [Option<OwnedFd>],
        group: Option<&str>,
    ) -> Result<Vec<Self>> {
        match address {
            Address::Unix(path) => Ok(vec![bind_unix(path, group)?]),
            Address::Tcp(address) => {
                warn_of_clear_text(address);
                let bound = TcpListener::bind(address).await;
                let socket = bound.map_err(|source| Error::Io { action: "listen on", path: address.into(), source })?;
                Ok(vec![Self { socket: Socket::Tcp(socket), placed: None }])
            }
            Address::Given(number) => {
                let wanted: Vec<_> = match number {
                    None => given.iter_mut().filter_map(Option::take).collect(),
                    Some(number) => given.get_mut(number - 3).and_then(Option::take).into_iter().collect(),
                };
                if wanted.is_empty() {
                    return Err(Error::InvalidArgument(format!(
                        "listen on {address}: no such socket was passed on (LISTEN_FDS); let a service manager start \
                         berth by its socket, or use unix:///PATH"
                    )));
                }
                wanted.into_iter().map(Self::of_manager).collect()
            }
        }
    }

    fn of_manager(socket: OwnedFd) -> Result<Self> {
        let refuse = |why: &dyn std::fmt::Display| {
            Error::InvalidArgument(format!("listen on a socket that was passed on: {why}"))
        };
        let family = activation::family(&socket).map_err(|why| refuse(&why))?;
        rustix::io::ioctl_fionbio(&socket, true).map_err(|error| refuse(&error))?;
        let socket = if family == AddressFamily::UNIX {
            UnixListener::from_std(socket.into()).map(Socket::Unix)
        } else {
            TcpListener::from_std(socket.into()).map(Socket::Tcp)
        };
        let socket = socket.map_err(|error| refuse(&error))?;
        if let Socket::Tcp(listener) = &socket {
            warn_of_clear_text(listener.local_addr().map_err(|error| refuse(&error))?);
        }
        Ok(Self { socket, placed: None })
    }

    /// Serves connections until it is dropped.
    pub(crate) async fn serve(&self, engine: Arc<Engine>) {
        loop {
            let accepted = match &self.socket {
                Socket::Unix(listener) => listener.accept().await.map(|(stream, _)| {
                    let socket = duplicate(&stream);
                    tokio::spawn(connection::serve(Arc::clone(&engine), stream, socket));
                }),
                Socket::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
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
        if let Some((path, inode)) = &self.placed
            && std::fs::symlink_metadata(path).is_ok_and(|found| found.ino() == *inode)
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn duplicate(socket: &impl std::os::fd::AsFd) -> Option<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(socket, 3).ok()
}

fn warn_of_clear_text(address: impl std::fmt::Display) {
    tracing::warn!(
        "listening on tcp://{address} WITHOUT encryption and authentication: everybody who reaches this port is root on \
         this host; use it behind a firewall or not at all"
    );
}

/// `group` (a name or a number) is the socket's; without it, it is the first of [`GROUPS`] that exists.
fn bind_unix(path: &Path, group: Option<&str>) -> Result<Listener> {
    // An ordinary user's is for him alone: the host's groups are not where his engine is.
    let private = berth_rootless::inside().is_some();
    let group = match group {
        Some(_) if private => {
            let message = "--group: the socket of an engine without root is its owner's alone; leave the option out";
            return Err(Error::InvalidArgument(message.to_owned()));
        }
        Some(name) => Some(name.parse().ok().or_else(|| group_id(name)).ok_or_else(|| {
            Error::NotFound(format!("--group {name}: there is no such group; `groupadd --system {name}` makes it"))
        })?),
        None if private => None,
        None => GROUPS.iter().find_map(|name| group_id(name)),
    };
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
    if let Some(gid) = group
        && let Err(error) = chown(path, None, Some(gid))
    {
        tracing::warn!("give {} to group {gid}: {error}", path.display());
    }
    let mode = if private { 0o600 } else { 0o660 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(io("set the mode of"))?;
    let inode = std::fs::symlink_metadata(path).map_err(io("look at"))?.ino();
    Ok(Listener { socket: Socket::Unix(listener), placed: Some((path.to_owned(), inode)) })
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
        assert_eq!("fd://".parse::<Address>().unwrap(), Address::Given(None));
        assert_eq!("fd://4".parse::<Address>().unwrap(), Address::Given(Some(4)));
        for (text, word) in [
            ("fd://2", "from 3"),
            ("fd://x", "fd://N"),
            ("unix://x", "absolute"),
            ("tcp://x", "PORT"),
            ("/x", "unix://"),
        ] {
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
        let first = bind_unix(&path, None).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(matches!(bind_unix(&path, None), Err(Error::Conflict(_))));
        drop(first);
        assert!(!path.exists());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test]
    async fn sockets_that_were_passed_on_are_served_once_and_stay() {
        let folder = std::env::temp_dir().join(format!("berth-listener-given-{}", std::process::id()));
        let path = folder.join("berth.sock");
        std::fs::create_dir_all(&folder).unwrap();
        let listening = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let (connected, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut given = [Some(listening.into()), Some(connected.into())];
        let bound = Listener::bind(&Address::Given(Some(3)), &mut given, None).await.unwrap();
        assert!(matches!(bound[..], [Listener { socket: Socket::Unix(_), placed: None }]));
        drop(bound);
        assert!(path.exists());
        for (number, word) in [(3, "no such socket"), (9, "no such socket"), (4, "not a listening stream socket")] {
            let error = Listener::bind(&Address::Given(Some(number)), &mut given, None).await.err().unwrap();
            assert!(error.to_string().contains(word), "{error}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test]
    async fn a_group_that_does_not_exist_is_refused_before_anything_is_there() {
        let path = std::env::temp_dir().join(format!("berth-listener-group-{}/berth.sock", std::process::id()));
        let refused = bind_unix(&path, Some("no-such-group")).err().unwrap();
        assert!(refused.to_string().contains("groupadd"), "{refused}");
        assert!(!path.parent().unwrap().exists());
    }
}
