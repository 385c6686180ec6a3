use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use berth_network::Protocol;
use berth_network::relay::{Limits, Relay, hold, local_port};

use crate::support::{eventually, publish, relay};

/// Answers with what it was sent, and who sent it.
fn echo() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65536];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], from);
        }
    });
    address
}

fn client(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

fn ask(socket: &UdpSocket, to: SocketAddr, what: &[u8]) -> SocketAddr {
    socket.send_to(what, to).unwrap();
    let mut buffer = vec![0; 65536];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    assert_eq!((length, &buffer[..length] == what), (what.len(), true));
    from
}

#[test]
fn answers_come_from_the_address_that_was_asked() {
    let mut owner = relay();
    let socket = hold(Protocol::Udp, "0.0.0.0:0".parse().unwrap()).unwrap();
    let port = local_port(&socket).unwrap();
    let target = echo();
    owner.order(move |relay| relay.add(Protocol::Udp, socket, Some(target)).unwrap());
    let (one, two) = (client("127.0.0.1:0"), client("127.0.0.1:0"));
    for host in [[127, 0, 0, 1], [127, 1, 2, 3], [127, 0, 0, 99]] {
        let address = SocketAddr::from((host, port));
        assert_eq!(ask(&one, address, b"one"), address);
        assert_eq!(ask(&two, address, b""), address);
        assert_eq!(ask(&two, address, &vec![3; 65_507]), address);
    }
    assert_eq!(owner.order(|relay| relay.sessions()), 6);
}

#[test]
fn either_family_leads_to_the_other() {
    let Ok(socket) = hold(Protocol::Udp, "[::]:0".parse().unwrap()) else {
        eprintln!("skipped: no IPv6 here");
        return;
    };
    let mut owner = relay();
    let port = local_port(&socket).unwrap();
    let target = echo();
    owner.order(move |relay| relay.add(Protocol::Udp, socket, Some(target)).unwrap());
    let Ok(_) = UdpSocket::bind("[::1]:0") else { return };
    let address = SocketAddr::new("::1".parse().unwrap(), port);
    assert_eq!(ask(&client("[::1]:0"), address, b"six"), address);
}

#[test]
fn a_port_without_a_program_behind_it_ends_nothing() {
    let mut owner = relay();
    let target = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = target.local_addr().unwrap();
    let address = publish(&mut owner, Protocol::Udp, at);
    let one = client("127.0.0.1:0");
    drop(target);
    for _ in 0..3 {
        one.send_to(b"lost", address).unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }
    let target = UdpSocket::bind(at).unwrap();
    target.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    one.send_to(b"found", address).unwrap();
    let mut buffer = [0; 16];
    let (length, from) = target.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"found");
    target.send_to(b"back", from).unwrap();
    assert_eq!(one.recv(&mut buffer).unwrap(), 4);
    assert_eq!(owner.order(|relay| relay.sessions()), 1);
}

#[test]
fn a_session_ends_when_both_are_silent() {
    let mut relay = Relay::new().unwrap();
    let socket = hold(Protocol::Udp, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], local_port(&socket).unwrap()));
    let target = client("127.0.0.1:0");
    relay.add(Protocol::Udp, socket, Some(target.local_addr().unwrap())).unwrap();
    let (one, two) = (client("127.0.0.1:0"), client("127.0.0.1:0"));
    let begin = Instant::now();
    let after = |seconds| begin + Duration::from_secs(seconds);
    one.send_to(b"1", address).unwrap();
    two.send_to(b"2", address).unwrap();
    relay.turn_at(begin).unwrap();
    assert_eq!((relay.sessions(), relay.deadline()), (2, Some(after(90))));
    // One of them is answered a minute later.
    let mut buffer = [0; 4];
    let from = loop {
        let (length, from) = target.recv_from(&mut buffer).unwrap();
        if buffer[..length] == *b"1" {
            break from;
        }
    };
    target.send_to(b"yes", from).unwrap();
    relay.turn_at(after(60)).unwrap();
    assert_eq!(one.recv(&mut buffer).unwrap(), 3);
    relay.turn_at(after(90)).unwrap();
    assert_eq!((relay.sessions(), relay.deadline()), (1, Some(after(150))));
    relay.turn_at(after(150)).unwrap();
    assert_eq!((relay.sessions(), relay.deadline()), (0, None));
}

#[test]
fn the_one_that_was_silent_for_longest_makes_room() {
    let mut relay = Relay::with_limits(Limits { sessions: 3, ..Limits::default() }).unwrap();
    let socket = hold(Protocol::Udp, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], local_port(&socket).unwrap()));
    let target = client("127.0.0.1:0");
    relay.add(Protocol::Udp, socket, Some(target.local_addr().unwrap())).unwrap();
    let clients: Vec<UdpSocket> = (0..4).map(|_| client("127.0.0.1:0")).collect();
    let begin = Instant::now();
    let mut buffer = [0; 4];
    let mut say = |index: usize, second| {
        clients[index].send_to(b"x", address).unwrap();
        relay.turn_at(begin + Duration::from_secs(second)).unwrap();
        assert!(relay.sessions() <= 3);
        target.recv_from(&mut buffer).unwrap().1
    };
    let first: Vec<SocketAddr> = (0..3).map(|index| say(index, index as u64)).collect();
    assert_eq!(say(0, 5), first[0]);
    say(3, 6);
    assert_eq!((say(0, 7), say(2, 8)), (first[0], first[2]));
    // The second had to go.
    assert_ne!(say(1, 9), first[1]);
}

#[test]
fn a_port_that_leads_nowhere_collects_nothing() {
    let mut owner = relay();
    let address = publish(&mut owner, Protocol::Udp, echo());
    owner.order(|relay| relay.clear());
    let one = client("127.0.0.1:0");
    for _ in 0..1000 {
        one.send_to(&[0; 1000], address).unwrap();
    }
    let port = format!(":{:04X}", address.port());
    eventually("the queue is empty", || {
        let table = std::fs::read_to_string("/proc/net/udp").unwrap();
        let line = table.lines().find(|line| line.split_whitespace().nth(1).is_some_and(|own| own.ends_with(&port)));
        line.unwrap().split_whitespace().nth(4).unwrap().ends_with(":00000000")
    });
    assert_eq!(owner.order(|relay| relay.sessions()), 0);
    one.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert_eq!(one.recv(&mut [0; 4]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn sctp_is_refused() {
    let mut relay = Relay::new().unwrap();
    let socket = hold(Protocol::Tcp, "127.0.0.1:0".parse().unwrap()).unwrap();
    let error = relay.add(Protocol::Sctp, socket, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}
