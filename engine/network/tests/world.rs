//! A host with four networks and their containers, and a machine outside, all namespaces of this process.
//!
//! A namespace lives in a thread and goes with it, and with it its interfaces and rules.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use berth_network::firewall::{NetworkRules, Owner, PacketPath, PortRule, Wanted};
use berth_network::{Protocol, Published};

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace.
pub(crate) struct Space {
    jobs: Sender<Job>,
    /// By which `ip link set netns` finds it.
    thread: i32,
}

impl Space {
    pub(crate) fn new() -> Self {
        let (jobs, received) = channel::<Job>();
        let (ready, is_ready) = channel();
        std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            ready.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
            received.into_iter().for_each(|job| job());
        });
        let space = Self { jobs, thread: is_ready.recv().unwrap() };
        space.ip("link set lo up");
        space
    }

    pub(crate) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, answer) = channel();
        self.jobs
            .send(Box::new(move || {
                let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
                let _ = done.send(result);
            }))
            .unwrap();
        match answer.recv().unwrap() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    pub(crate) fn command(&self, line: &str) -> String {
        let line = line.to_owned();
        self.run(move || {
            let words: Vec<&str> = line.split(' ').collect();
            let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
            assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        })
    }

    pub(crate) fn ip(&self, line: &str) {
        self.command(&format!("ip {line}"));
    }

    fn set(&self, key: &'static str, value: &'static str) {
        self.run(move || std::fs::write(format!("/proc/sys/net/{key}"), value).unwrap());
    }

    /// Answers each connection and datagram with the address that it came from, until the namespace goes.
    fn serve(&self, port: u16) {
        let (tcp, udp) =
            self.run(move || (TcpListener::bind(("::", port)).unwrap(), UdpSocket::bind(("::", port)).unwrap()));
        std::thread::spawn(move || {
            for stream in tcp.incoming() {
                let Ok(mut stream) = stream else { continue };
                if let Ok(peer) = stream.peer_addr() {
                    let _ = stream.write_all(peer.ip().to_canonical().to_string().as_bytes());
                }
            }
        });
        std::thread::spawn(move || {
            let mut byte = [0];
            while let Ok((_, peer)) = udp.recv_from(&mut byte) {
                let _ = udp.send_to(peer.ip().to_canonical().to_string().as_bytes(), peer);
            }
        });
    }

    /// The address that the one behind `to` sees; none if there is no answer.
    pub(crate) fn tcp(&self, to: &str) -> Option<IpAddr> {
        self.tcp_within(to, PATIENCE)
    }

    pub(crate) fn tcp_within(&self, to: &str, patience: Duration) -> Option<IpAddr> {
        let to: SocketAddr = to.parse().unwrap();
        self.run(move || {
            let mut stream = TcpStream::connect_timeout(&to, patience).ok()?;
            stream.set_read_timeout(Some(patience)).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            text.parse().ok()
        })
    }

    pub(crate) fn udp(&self, to: &str) -> Option<IpAddr> {
        let to: SocketAddr = to.parse().unwrap();
        self.run(move || {
            let socket = UdpSocket::bind((if to.is_ipv4() { "0.0.0.0" } else { "::" }, 0)).unwrap();
            ask(&socket, to)
        })
    }

    /// That nothing answers. Waits only as long as an answer takes a hundred times.
    pub(crate) fn cannot(&self, to: &str) {
        assert_eq!(self.tcp_within(to, Duration::from_millis(250)), None, "{to} is reached");
    }
}

const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn ask(socket: &UdpSocket, to: SocketAddr) -> Option<IpAddr> {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(b"?", to).ok()?;
    let mut buffer = [0; 64];
    let (length, _) = socket.recv_from(&mut buffer).ok()?;
    std::str::from_utf8(&buffer[..length]).ok()?.parse().ok()
}

/// Networks of the host `n` = 0 to 3: bridge `b{n}`, subnets 172.30.{n}.0/24 and fd00:{n}::/64, two containers each.
pub(crate) struct World {
    pub(crate) host: Space,
    pub(crate) outside: Space,
    pub(crate) containers: Vec<[Space; 2]>,
    pub(crate) path: &'static str,
}

pub(crate) const OWNER: &str = "berth-0badcafe";
pub(crate) const OPEN: usize = 0;
pub(crate) const OTHER: usize = 1;
pub(crate) const INTERNAL: usize = 2;
pub(crate) const APART: usize = 3;

impl World {
    pub(crate) fn new(path: &str) -> Self {
        Self::made(path, None)
    }

    /// `filtered`: whether what stays in a bridge passes the packet filters (br_netfilter); else as the kernel begins.
    /// Then the kernel translates in the bridge, and a container reaches itself only if its port is a hairpin.
    pub(crate) fn made(path: &str, filtered: Option<bool>) -> Self {
        let path = crate::PATHS.iter().find(|known| **known == path).unwrap();
        let (host, outside) = (Space::new(), Space::new());
        host.set("ipv4/ip_forward", "1");
        host.set("ipv6/conf/all/forwarding", "1");
        if let Some(filtered) = filtered {
            let value = if filtered { "1" } else { "0" };
            host.set("bridge/bridge-nf-call-iptables", value);
            host.set("bridge/bridge-nf-call-ip6tables", value);
        }
        connect(&host, "up0", &outside, &[("192.0.2.2/24", "192.0.2.1/24"), ("2001:db8::2/64", "2001:db8::1/64")]);
        outside.ip("route add 172.30.0.0/16 via 192.0.2.1");
        outside.ip("route add fd00::/16 via 2001:db8::1");
        outside.serve(80);
        let containers = (0..4)
            .map(|network| {
                host.ip(&format!("link add b{network} type bridge"));
                host.ip(&format!("link set b{network} up"));
                host.ip(&format!("addr add 172.30.{network}.1/24 dev b{network}"));
                host.ip(&format!("addr add fd00:{network}::1/64 dev b{network} nodad"));
                [2, 3].map(|last| {
                    let space = Space::new();
                    let link = format!("v{network}{last}");
                    let v4 = format!("172.30.{network}.{last}/24");
                    let v6 = format!("fd00:{network}::{last}/64");
                    connect(&host, &link, &space, &[(&v4, ""), (&v6, "")]);
                    host.ip(&format!("link set {link} master b{network}"));
                    if filtered == Some(true) {
                        host.ip(&format!("link set {link} type bridge_slave hairpin on"));
                    }
                    space.ip(&format!("route add default via 172.30.{network}.1"));
                    space.ip(&format!("route add default via fd00:{network}::1"));
                    space.serve(80);
                    space
                })
            })
            .collect();
        Self { host, outside, containers, path }
    }

    /// On the host.
    pub(crate) fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn PacketPath, &Owner) -> T + Send + 'static,
    ) -> T {
        let name = self.path;
        self.host.run(move || work(&*berth_network::firewall::by_name(name).unwrap(), &Owner(OWNER.into())))
    }

    pub(crate) fn apply(&self, wanted: &Wanted) {
        let wanted = wanted.clone();
        self.with(move |path, owner| {
            wanted.networks.iter().for_each(|network| path.add_network(owner, network).unwrap());
            path.publish(owner, &wanted.ports).unwrap();
        });
    }
}

/// A veth pair: `name` here, `eth0` there; addresses there and here.
fn connect(host: &Space, name: &str, other: &Space, addresses: &[(&str, &str)]) {
    host.ip(&format!("link add {name} type veth peer name eth0 netns {}", other.thread));
    host.ip(&format!("link set {name} up"));
    other.ip("link set eth0 up");
    for (there, here) in addresses {
        let nodad = if there.contains(':') { " nodad" } else { "" };
        other.ip(&format!("addr add {there} dev eth0{nodad}"));
        if !here.is_empty() {
            host.ip(&format!("addr add {here} dev {name}{nodad}"));
        }
    }
}

pub(crate) fn network(number: usize) -> NetworkRules {
    NetworkRules {
        bridge: format!("b{number}"),
        subnets: vec![format!("172.30.{number}.0/24").parse().unwrap(), format!("fd00:{number}::/64").parse().unwrap()],
        masquerade: true,
        internal: number == INTERNAL,
        among_themselves: number != APART,
        routed: false,
    }
}

pub(crate) fn port(protocol: Protocol, host: &str, to: &str) -> PortRule {
    let (host, to): (SocketAddr, SocketAddr) = (host.parse().unwrap(), to.parse().unwrap());
    let port = Published {
        protocol,
        host_address: host.ip(),
        host_port: host.port(),
        container_address: to.ip(),
        container_port: to.port(),
    };
    PortRule { port, bridge: "b0".into() }
}

/// Everything that the tests of reaching want.
pub(crate) fn wanted() -> Wanted {
    use Protocol::{Tcp, Udp};
    Wanted {
        networks: (0..4).map(network).collect(),
        ports: vec![
            port(Tcp, "0.0.0.0:8080", "172.30.0.2:80"),
            port(Udp, "0.0.0.0:8080", "172.30.0.2:80"),
            port(Tcp, "[::]:8080", "[fd00:0::2]:80"),
            port(Udp, "[::]:8080", "[fd00:0::2]:80"),
            // One address more than all of them.
            port(Tcp, "192.0.2.1:8080", "172.30.1.2:80"),
            port(Tcp, "192.0.2.1:8081", "172.30.1.2:80"),
            port(Tcp, "0.0.0.0:8082", "172.30.3.2:80"),
            port(Tcp, "0.0.0.0:8083", "172.30.2.2:80"),
            // A port that the outside serves, too.
            port(Tcp, "0.0.0.0:80", "172.30.0.2:80"),
            port(Tcp, "127.0.0.1:8084", "172.30.0.2:80"),
        ],
    }
}
