//! From an origin to a stream.

use std::io;

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
            None => Box::new(dial(origin).await?),
        };
        if origin.tls { self.secure(stream, origin, insecure).await } else { Ok(stream) }
    }

    async fn reach(&self, proxy: &Origin) -> Result<Box<dyn Stream>, Failure> {
        let stream = Box::new(dial(proxy).await?);
        if proxy.tls { self.secure(stream, proxy, false).await } else { Ok(stream) }
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

async fn dial(origin: &Origin) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect((origin.bare_host(), origin.port)).await;
    let stream = stream.map_err(|error| Failure {
        transient: error.kind() != io::ErrorKind::ConnectionRefused,
        ..Failure::passing(format!("connect to {origin}: {error}"))
    })?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
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
