//! The way out where there is no packet filter.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt::UdpGsoSegment};

use super::rows::{ROOTLESS, sleeper, world_with};
use crate::support::lan::{HOST, HOST6, PEER, PEER6, Peer, Servers, greeting};
use crate::support::net::Net;
use crate::support::{Mode, World};

const LONG: Duration = Duration::from_secs(20);

fn octets(length: usize) -> Vec<u8> {
    (0..length as u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// A server that takes all that is said, and says it all again when the other has ended.
fn parrot(net: &Net, address: &str, clients: usize) -> std::thread::JoinHandle<()> {
    let listener = net.within(|| TcpListener::bind(address).unwrap());
    std::thread::spawn(move || {
        for _ in 0..clients {
            let (mut stream, _) = listener.accept().unwrap();
            std::thread::spawn(move || {
                let mut said = Vec::new();
                stream.set_read_timeout(Some(LONG)).unwrap();
                stream.read_to_end(&mut said).unwrap();
                stream.write_all(&said).unwrap();
            });
        }
    })
}

fn say(to: &str, what: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect_timeout(&to.parse().unwrap(), LONG).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(what).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).unwrap();
    said
}

/// A world without packet filters, the other machine, and a container with IPv6.
fn inside(world: &World) -> (Peer, Net) {
    let peer = Peer::of(world);
    let made = world.berth(&["network", "create", "--ipv6", "six"]).ok();
    assert!(!made.err().contains("outside"), "{}", made.err());
    let net = sleeper(world, &["--network", "six"], "inside");
    (peer, net)
}

#[test]
fn all_that_is_said_arrives_and_the_end_of_one_side_too() {
    all_that_is_said_arrives("relay");
}

#[test]
fn all_that_is_said_arrives_without_root() {
    all_that_is_said_arrives(ROOTLESS);
}

fn all_that_is_said_arrives(path: &str) {
    let Some(world) = world_with(path) else { return };
    let (peer, net) = inside(&world);
    let what = octets(24 * 1024 * 1024);
    for to in [format!("{PEER}:7000"), format!("[{PEER6}]:7000")] {
        let parrot = parrot(peer.net(), &to, 1);
        assert!(net.within(|| say(&to, &what)) == what, "{to}");
        parrot.join().unwrap();
    }
}

#[test]
fn many_connections_at_once_do_not_meet() {
    many_connections_do_not_meet("relay");
}

#[test]
fn many_connections_at_once_do_not_meet_without_root() {
    many_connections_do_not_meet(ROOTLESS);
}

fn many_connections_do_not_meet(path: &str) {
    let Some(world) = world_with(path) else { return };
    let (peer, net) = inside(&world);
    const MANY: usize = 200;
    let to = format!("{PEER}:7000");
    let parrot = parrot(peer.net(), &to, MANY * 2);
    for round in 0..2 {
        std::thread::scope(|scope| {
            for number in 0..MANY {
                let (to, net, what) = (&to, &net, format!("{round} {number} ").repeat(300));
                scope.spawn(move || net.within(|| assert!(say(to, what.as_bytes()) == what.as_bytes())));
            }
        });
    }
    parrot.join().unwrap();
}

#[test]
fn refusals_are_what_they_are() {
    let Some(world) = world_with("relay") else { return };
    let (_peer, net) = inside(&world);
    let refusal = |to: &str| {
        let to: SocketAddr = to.parse().unwrap();
        net.within(|| TcpStream::connect_timeout(&to, LONG).unwrap_err().kind())
    };
    for to in [PEER.to_owned(), format!("[{PEER6}]")] {
        assert_eq!(refusal(&format!("{to}:9")), ErrorKind::ConnectionRefused, "{to}");
    }
    // The host knows no way there.
    assert_eq!(refusal("198.51.100.1:80"), ErrorKind::NetworkUnreachable);
    assert_eq!(refusal("[2001:db8:9::1]:80"), ErrorKind::NetworkUnreachable);
    // Nobody there on the wire.
    assert_eq!(refusal("192.0.2.77:80"), ErrorKind::HostUnreachable);
    let datagram = |to: &str| {
        net.within(|| {
            let socket = UdpSocket::bind(if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" }).unwrap();
            socket.connect(to).unwrap();
            socket.set_read_timeout(Some(LONG)).unwrap();
            socket.send(b"ping").unwrap();
            socket.recv(&mut [0; 9]).unwrap_err().kind()
        })
    };
    assert_eq!(datagram(&format!("{PEER}:9")), ErrorKind::ConnectionRefused);
    assert_eq!(datagram(&format!("[{PEER6}]:9")), ErrorKind::ConnectionRefused);
}

#[test]
fn datagrams_go_there_and_back_however_long_they_are() {
    let Some(world) = world_with("relay") else { return };
    let (peer, net) = inside(&world);
    for to in [format!("{PEER}:7000"), format!("[{PEER6}]:7000")] {
        let server = peer.net().within(|| UdpSocket::bind(&to).unwrap());
        server.set_read_timeout(Some(LONG)).unwrap();
        let lengths = [0, 1, 1400, 1473, 9000, 60_000];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut buffer = vec![0; 65_536];
                for _ in lengths {
                    let (length, from) = server.recv_from(&mut buffer).unwrap();
                    let host: IpAddr = if from.is_ipv4() { HOST } else { HOST6 }.parse().unwrap();
                    assert_eq!(from.ip(), host);
                    server.send_to(&buffer[..length], from).unwrap();
                }
            });
            net.within(|| {
                let socket = UdpSocket::bind(if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" }).unwrap();
                socket.connect(&to).unwrap();
                socket.set_read_timeout(Some(LONG)).unwrap();
                for length in lengths {
                    let what = octets(length);
                    socket.send(&what).unwrap();
                    let mut buffer = vec![0; 65_536];
                    let back = socket.recv(&mut buffer).unwrap();
                    assert!(buffer[..back] == what, "{to}: {length}");
                }
            });
        });
    }
}

/// As HTTP/3 sends: many datagrams in one, for the hardware to cut.
#[test]
fn datagrams_that_are_to_be_cut_arrive_one_by_one() {
    let Some(world) = world_with("relay") else { return };
    let (peer, net) = inside(&world);
    let to = format!("{PEER}:7000");
    let server = peer.net().within(|| UdpSocket::bind(&to).unwrap());
    server.set_read_timeout(Some(LONG)).unwrap();
    let what = octets(12 * 1200 + 7);
    net.within(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        if setsockopt(&socket, UdpGsoSegment, &1200).is_err() {
            println!("skipped: this kernel does not cut datagrams (UDP_SEGMENT)");
            return;
        }
        socket.connect(&to).unwrap();
        assert_eq!(socket.send(&what).unwrap(), what.len());
        let mut buffer = vec![0; 65_536];
        for part in what.chunks(1200) {
            let length = server.recv(&mut buffer).unwrap();
            assert!(buffer[..length] == *part);
        }
    });
}

#[test]
fn others_answer_a_ping() {
    let Some(world) = world_with("relay") else { return };
    let (_peer, _net) = inside(&world);
    for (size, to) in [("56", PEER), ("4000", PEER), ("56", PEER6), ("4000", PEER6)] {
        let done = world.berth(&["exec", "inside", "ping", "-c", "2", "-W", "5", "-s", size, to]).ok().out();
        assert!(done.contains(" 0% packet loss") && !done.contains("DUP"), "{done}");
    }
}

/// The way out follows a container from network to network, and through its starts.
#[test]
fn the_way_out_follows_the_networks() {
    let Some(world) = world_with("relay") else { return };
    let (peer, net) = inside(&world);
    let _outside = Servers::start(peer.net(), "outside", &[&format!("{PEER}:7000")], &[]);
    let seen = |net: &Net| greeting(net, &format!("{PEER}:7000"));
    let expected = Some(format!("outside {HOST}"));
    assert_eq!(seen(&net), expected);
    world.berth(&["network", "create", "other"]).ok();
    world.berth(&["network", "connect", "other", "inside"]).ok();
    assert_eq!(seen(&net), expected);
    world.berth(&["network", "disconnect", "six", "inside"]).ok();
    assert_eq!(seen(&net), expected);
    world.berth(&["network", "disconnect", "other", "inside"]).ok();
    assert_eq!(seen(&net), None);
    world.berth(&["network", "connect", "other", "inside"]).ok();
    assert_eq!(seen(&net), expected);
    world.berth(&["restart", "-t", "0", "inside"]).ok();
    let net = Net::of(&world.inspect("inside", "{{.State.Pid}}"));
    assert_eq!(seen(&net), expected);
}

#[test]
fn nothing_leads_out_of_networks_that_want_nothing_translated() {
    let Some(world) = world_with("relay") else { return };
    let peer = Peer::of(&world);
    let _outside = Servers::start(peer.net(), "outside", &[&format!("{PEER}:7000")], &[]);
    let plain = ["network", "create", "-o", "com.docker.network.bridge.enable_ip_masquerade=false", "plain"];
    world.berth(&plain).ok();
    let net = sleeper(&world, &["--network", "plain"], "inside");
    assert_eq!(greeting(&net, &format!("{PEER}:7000")), None);
}

#[test]
fn without_packet_sockets_it_is_said_that_nothing_leads_out() {
    let Some(world) = world_with("relay") else { return };
    world.set("BERTH_PRETEND_WITHOUT", "nft,iptables-nft,iptables-legacy,packet-socket");
    let peer = Peer::of(&world);
    let _outside = Servers::start(peer.net(), "outside", &[&format!("{PEER}:7000")], &[]);
    let made = world.berth(&["network", "create", "mine"]).ok();
    assert!(made.err().contains("nothing leads from the network to the outside"), "{}", made.err());
    let net = sleeper(&world, &["--network", "mine"], "inside");
    assert_eq!(greeting(&net, &format!("{PEER}:7000")), None);
}

/// Guards against a start that failed where a kernel makes bridges and no pairs of interfaces.
#[test]
fn without_pairs_a_container_has_no_network_and_that_is_said() {
    let world = World::new(Mode::Embedded);
    world.import_box();
    world.set("BERTH_PRETEND_WITHOUT", "veth");
    let ran = world.run(&["--rm", "box", "cat", "/proc/net/dev"]).ok();
    assert!(ran.err().contains("veth is pretended to be absent: this container has no network"), "{ran}");
    assert!(ran.out().contains("lo:") && !ran.out().contains("eth0"), "{ran}");
    world.run(&["--rm", "--network", "bridge", "box", "true"]).refused(125, &["veth"]);
    assert!(world.berth(&["doctor"]).ok().out().contains("- veth"));
    assert_eq!(world.berth(&["system", "check"]).ok().text(), "nothing is missing or left over");
}
