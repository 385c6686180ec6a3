//! A small world of hosts: a world's own network namespace, and another machine on the same wire.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::net::Net;
use super::world::World;

/// The world's addresses on the wire, and the other machine's.
pub(crate) const HOST: &str = "192.0.2.1";
pub(crate) const PEER: &str = "192.0.2.2";
pub(crate) const HOST6: &str = "2001:db8::1";
pub(crate) const PEER6: &str = "2001:db8::2";

/// How long something may take that should work, and is waited for in vain that should not.
const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(700);

/// Another machine. It knows no way to the networks of containers.
pub(crate) struct Peer {
    net: Net,
}

/// Runs `ip` with these words in a namespace.
#[track_caller]
pub(crate) fn ip(net: &Net, words: &str) -> String {
    let mut command = Command::new("ip");
    command.args(words.split(' '));
    net.enter(&mut command);
    let done = command.output().expect("ip (iproute2)");
    assert!(done.status.success(), "ip {words}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

impl Peer {
    /// On a wire with the world's host.
    pub(crate) fn of(world: &World) -> Self {
        let net = Net::new();
        let host = world.net();
        ip(host, &format!("link add lan0 type veth peer name eth0 netns {}", net.path()));
        for (net, name, v4, v6) in [(host, "lan0", HOST, HOST6), (&net, "eth0", PEER, PEER6)] {
            ip(net, &format!("addr add {v4}/24 dev {name}"));
            ip(net, &format!("addr add {v6}/64 dev {name} nodad"));
            ip(net, &format!("link set {name} up"));
        }
        Self { net }
    }

    pub(crate) fn net(&self) -> &Net {
        &self.net
    }
}

/// The first word that a server says to whoever connects; None if it cannot be reached.
pub(crate) fn word(net: &Net, to: &str) -> Option<String> {
    greeting(net, to).map(|text| text.split(' ').next().unwrap_or_default().to_owned())
}

/// The word and the address that the server sees.
pub(crate) fn greeting(net: &Net, to: &str) -> Option<String> {
    let to: SocketAddr = to.parse().expect("an address and a port");
    net.within(|| {
        let end = Instant::now() + SHORT;
        loop {
            let said = TcpStream::connect_timeout(&to, SHORT).and_then(|mut stream| {
                stream.set_read_timeout(Some(LONG))?;
                let mut text = String::new();
                stream.read_to_string(&mut text).map(|_| text)
            });
            match said {
                Ok(text) if !text.is_empty() => return Some(text.trim().to_owned()),
                _ if Instant::now() > end => return None,
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    })
}

/// What a UDP server sends back.
pub(crate) fn echo(net: &Net, to: &str, text: &str) -> Option<String> {
    let to: SocketAddr = to.parse().expect("an address and a port");
    net.within(|| {
        let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(any).expect("a socket");
        // From one address only: an answer from another one is none.
        socket.connect(to).ok()?;
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a time limit");
        let end = Instant::now() + SHORT;
        let mut buffer = [0; 2048];
        while Instant::now() < end {
            let _ = socket.send(text.as_bytes());
            match socket.recv(&mut buffer) {
                Ok(length) => return Some(String::from_utf8_lossy(&buffer[..length]).trim().to_owned()),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
        None
    })
}

/// Servers in a namespace, until the handle is dropped: on TCP they tell each caller their own word and the caller's
/// address, on UDP they send back what comes.
pub(crate) struct Servers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Servers {
    pub(crate) fn start(net: &Net, word: &str, tcp: &[&str], udp: &[&str]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for at in tcp {
            let listener = net.within(|| TcpListener::bind(at).expect("a free port"));
            listener.set_nonblocking(true).expect("a listener");
            let (stop, word) = (stop.clone(), word.to_owned());
            threads.push(std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    match listener.accept() {
                        Ok((mut stream, from)) => drop(writeln!(stream, "{word} {}", from.ip())),
                        Err(_) => std::thread::sleep(Duration::from_millis(5)),
                    }
                }
            }));
        }
        for at in udp {
            let socket = net.within(|| UdpSocket::bind(at).expect("a free port"));
            socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a time limit");
            let stop = stop.clone();
            threads.push(std::thread::spawn(move || {
                let mut buffer = [0; 2048];
                while !stop.load(Ordering::Relaxed) {
                    if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                        let _ = socket.send_to(&buffer[..length], from);
                    }
                }
            }));
        }
        Self { stop, threads }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
