//! From an origin to a stream.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::proxy::Proxy;
use super::{Failure, Net, Origin, chain};

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Of a proxy's answer.
const MAX_HEAD: usize = 16 * 1024;
/// For one of several addresses.
const PATIENCE: Duration = Duration::from_secs(5);

impl Net {
    pub(super) async fn connect_to(&self, origin: &Origin, insecure: bool) -> Result<Box<dyn Stream>, Failure> {
        let stream = match self.proxies.of(origin) {
            Some(proxy) => {
                let mut stream = self.reach(&proxy.origin).await?;
                if origin.tls {
                    tunnel(&mut *stream, origin, proxy).await?;
                }
                stream
            }
            None => Box::new(self.dial(origin).await?),
        };
        if origin.tls { self.secure(stream, origin, insecure).await } else { Ok(stream) }
    }

    async fn reach(&self, proxy: &Origin) -> Result<Box<dyn Stream>, Failure> {
        let stream = Box::new(self.dial(proxy).await?);
        if proxy.tls { self.secure(stream, proxy, false).await } else { Ok(stream) }
    }

    async fn dial(&self, origin: &Origin) -> Result<TcpStream, Failure> {
        let failed = |error: io::Error| Failure {
            transient: error.kind() != io::ErrorKind::ConnectionRefused,
            ..Failure::passing(format!("connect to {origin}: {error}"))
        };
        let addresses = tokio::net::lookup_host((origin.bare_host(), origin.port)).await.map_err(failed)?;
        let addresses: Vec<SocketAddr> = addresses.collect();
        let share = self.connect / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
        let stream = first_of(&addresses, share.min(PATIENCE)).await.map_err(failed)?;
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    async fn secure(
        &self,
        stream: Box<dyn Stream>,
        origin: &Origin,
        insecure: bool,
    ) -> Result<Box<dyn Stream>, Failure> {
        let config = self.tls.of(origin, insecure)?;
        let invalid = |_| Failure::lasting(format!("connect to {origin}: it is not a host's name"));
        let name = ServerName::try_from(origin.bare_host().to_owned()).map_err(invalid)?;
        match TlsConnector::from(config).connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(explain(origin, &error)),
        }
    }
}

/// Tries `addresses` one after the other; all but the last may take as long as `patience`: of a host's addresses some may lead
/// nowhere (IPv6 without a route), and the time of those that do is not theirs.
async fn first_of(addresses: &[SocketAddr], patience: Duration) -> io::Result<TcpStream> {
    let none = || io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    let (last, others) = addresses.split_last().ok_or_else(none)?;
    for address in others {
        match tokio::time::timeout(patience, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => tracing::debug!("connect to {address}: {error}"),
            Err(_) => tracing::debug!("connect to {address}: no answer for {patience:?}"),
        }
    }
    TcpStream::connect(last).await
}

fn explain(origin: &Origin, error: &io::Error) -> Failure {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let message = format!("connect to {origin}: {}", chain(error));
    match inner {
        Some(rustls::Error::InvalidCertificate(_)) => Failure::lasting(format!(
            "{message}; if this registry is to be trusted, put its authority's certificate into \
             /etc/docker/certs.d/{}/ca.crt",
            origin.authority()
        )),
        Some(_) => Failure::lasting(message),
        None => Failure::passing(message),
    }
}

/// CONNECT (RFC 9110, 9.3.6).
async fn tunnel(stream: &mut dyn Stream, origin: &Origin, proxy: &Proxy) -> Result<(), Failure> {
    let at = |why: String| Failure::passing(format!("connect to {origin} through the proxy {}: {why}", proxy.origin));
    let to = origin.with_port();
    let mut request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n");
    if let Some(authorization) = proxy.authorization.as_ref().and_then(|value| value.to_str().ok()) {
        request.push_str(&format!("Proxy-Authorization: {authorization}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|error| at(error.to_string()))?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        // Nothing of what follows belongs to the head.
        let byte = stream.read_u8().await.map_err(|error| at(error.to_string()))?;
        head.push(byte);
        if head.len() > MAX_HEAD {
            return Err(at("its answer has no end".to_owned()));
        }
    }
    let head = String::from_utf8_lossy(&head);
    let line = head.lines().next().unwrap_or_default();
    match line.split(' ').nth(1) {
        Some(status) if status.len() == 3 && status.starts_with('2') => Ok(()),
        _ => Err(Failure { transient: false, ..at(format!("it answers {}", line.escape_debug())) }),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_address_that_leads_nowhere_is_passed_over() {
        let patience = Duration::from_millis(100);
        // A listener that accepts nobody drops whom it has no room for, as a route without an end does.
        let full = TcpListener::bind("127.0.0.1:0").unwrap();
        let nowhere = full.local_addr().unwrap();
        let connect = || std::net::TcpStream::connect_timeout(&nowhere, patience);
        let waiting: Vec<_> = std::iter::from_fn(|| connect().ok()).collect();
        let alive = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = alive.local_addr().unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let stream = runtime.block_on(first_of(&[nowhere, closed, address], patience)).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        let error = runtime.block_on(first_of(&[nowhere, closed], patience)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(runtime.block_on(first_of(&[], patience)).is_err());
        drop(waiting);
    }
}
