use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use berth_network::Protocol;
use berth_network::relay::{Limits, Relay, hold, local_port};

use crate::support::{Random, connect, eventually, publish, relay, relay_with, reset};

/// A target that does something with each connection.
fn target(serve: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, serve) = (stream.unwrap(), serve.clone());
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 64 * 1024];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

fn refused() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn is_reset(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0; 16]), Err(error) if error.kind() == ErrorKind::ConnectionReset)
}

#[test]
fn every_byte_arrives_in_both_directions_in_order() {
    const LENGTH: usize = 64 << 20;
    let mut owner = relay();
    let address = publish(&mut owner, Protocol::Tcp, target(echo));
    let mut client = connect(address);
    let mut writer = client.try_clone().unwrap();
    let thread = std::thread::spawn(move || {
        let (mut random, mut left) = (Random(1), LENGTH);
        let mut sizes = Random(2);
        let mut chunk = vec![0; 256 * 1024];
        while left > 0 {
            // Small ones are copied and large ones spliced; both must keep the order.
            let size = (if sizes.below(2) == 0 { 8 } else { chunk.len() }).min(left);
            random.fill(&mut chunk[..size]);
            writer.write_all(&chunk[..size]).unwrap();
            left -= size;
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let (mut random, mut got) = (Random(1), 0);
    let (mut found, mut expected) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    while got < LENGTH {
        client.read_exact(&mut found).unwrap();
        random.fill(&mut expected);
        assert!(found == expected, "at {got}");
        got += found.len();
    }
    assert_eq!(client.read(&mut found).unwrap(), 0);
    thread.join().unwrap();
    eventually("the connection ends", || owner.order(|relay| relay.connections()) == 0);
}

#[test]
fn an_end_is_passed_on_while_the_other_direction_goes_on() {
    let mut owner = relay();
    // Says nothing until it has heard everything.
    let counts = target(|mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        stream.write_all(format!("{} bytes", all.len()).as_bytes()).unwrap();
    });
    let address = publish(&mut owner, Protocol::Tcp, counts);
    let mut client = connect(address);
    client.write_all(&vec![7; 3_000_000]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "3000000 bytes");

    // The target ends first, and still hears the client.
    let (heard, hears) = std::sync::mpsc::channel();
    let ends = target(move |mut stream| {
        stream.write_all(b"bye").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        heard.send(all.len()).unwrap();
    });
    let address = publish(&mut owner, Protocol::Tcp, ends);
    let mut client = connect(address);
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "bye");
    client.write_all(&vec![7; 2_000_000]).unwrap();
    drop(client);
    assert_eq!(hears.recv_timeout(Duration::from_secs(10)).unwrap(), 2_000_000);
    eventually("the connections end", || owner.order(|relay| relay.connections()) == 0);
    assert!(owner.end() < 2000, "the loop spins");
}

#[test]
fn a_reset_is_passed_on_as_one() {
    let mut owner = relay();
    let address = publish(
        &mut owner,
        Protocol::Tcp,
        target(|mut stream| {
            stream.write_all(b"last words").unwrap();
            stream.read_exact(&mut [0; 1]).unwrap();
            reset(stream);
        }),
    );
    let mut client = connect(address);
    client.read_exact(&mut [0; 10]).unwrap();
    client.write_all(b"x").unwrap();
    assert!(is_reset(&mut client));

    let (told, tells) = std::sync::mpsc::channel();
    let listens = target(move |mut stream| told.send(is_reset(&mut stream)).unwrap());
    let address = publish(&mut owner, Protocol::Tcp, listens);
    let client = connect(address);
    eventually("the target is connected", || owner.order(|relay| relay.connections()) == 1);
    std::thread::sleep(Duration::from_millis(50));
    reset(client);
    assert!(tells.recv_timeout(Duration::from_secs(10)).unwrap());
    eventually("the connections end", || owner.order(|relay| relay.connections()) == 0);
}

/// A server that refuses an upload half-way: its answer is already on its way when it resets.
#[test]
fn what_was_said_before_a_reset_arrives_at_a_slow_reader() {
    const ANSWER: usize = 1_500_000;
    let mut owner = relay();
    let address = publish(
        &mut owner,
        Protocol::Tcp,
        target(|mut stream| {
            stream.read_exact(&mut [0; 1]).unwrap();
            stream.write_all(&vec![9; ANSWER]).unwrap();
            // Everything is with the relay's kernel side, else the reset drops it here already.
            eventually("the relay has it", || unsent(&stream) == 0);
            reset(stream);
        }),
    );
    let mut client = connect(address);
    client.write_all(b"xyz").unwrap();
    let mut got = 0;
    let mut buffer = [0; 8192];
    loop {
        match client.read(&mut buffer) {
            Ok(0) => panic!("an end in place of the reset, after {got}"),
            Ok(length) => got += length,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                break;
            }
        }
        if got < 100_000 {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    assert_eq!(got, ANSWER);
}

fn unsent(stream: &TcpStream) -> usize {
    use std::os::fd::AsRawFd;
    // Bytes in the send queue of a socket: the fifth field of /proc/net/tcp is "tx:rx" in hexadecimal.
    let inode = std::fs::read_link(format!("/proc/self/fd/{}", stream.as_raw_fd())).unwrap();
    let inode = inode.to_str().unwrap().trim_start_matches("socket:[").trim_end_matches(']').to_owned();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let line = table.lines().find(|line| line.split_whitespace().nth(9) == Some(&inode)).unwrap();
    let queues = line.split_whitespace().nth(4).unwrap();
    usize::from_str_radix(queues.split(':').next().unwrap(), 16).unwrap()
}

#[test]
fn a_target_that_refuses_or_is_missing_resets_the_client() {
    let mut owner = relay();
    let address = publish(&mut owner, Protocol::Tcp, refused());
    assert!(is_reset(&mut connect(address)));
    owner.order(|relay| relay.clear());
    assert!(is_reset(&mut connect(address)));
}

#[test]
fn a_target_that_does_not_answer_is_given_up_in_time() {
    let mut relay = Relay::new().unwrap();
    let socket = hold(Protocol::Tcp, "127.0.0.1:0".parse().unwrap()).unwrap();
    let port = local_port(&socket).unwrap();
    // A queue that is full answers no SYN.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&silent, 0).unwrap();
    let target = silent.local_addr().unwrap();
    let _first = connect(target);
    relay.add(Protocol::Tcp, socket, Some(target)).unwrap();
    let mut client = connect(SocketAddr::from(([127, 0, 0, 1], port)));
    let begin = Instant::now();
    relay.turn_at(begin).unwrap();
    assert_eq!(relay.connections(), 1);
    assert_eq!(relay.deadline(), Some(begin + Duration::from_secs(10)));
    relay.turn_at(begin + Duration::from_secs(9)).unwrap();
    assert_eq!(relay.connections(), 1);
    relay.turn_at(begin + Duration::from_secs(10)).unwrap();
    assert_eq!((relay.connections(), relay.deadline()), (0, None));
    assert!(is_reset(&mut client));
}

#[test]
fn five_hundred_connections_at_once_are_served() {
    let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let more = rustix::process::Rlimit { current: limits.maximum, maximum: limits.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, more).unwrap();
    if limits.maximum.is_some_and(|most| most < 4096) {
        eprintln!("skipped: {:?} descriptors are too few", limits.maximum);
        return;
    }
    let mut owner = relay();
    let address = publish(&mut owner, Protocol::Tcp, target(echo));
    let mut clients: Vec<TcpStream> = (0..500).map(|_| connect(address)).collect();
    for round in 0..3 {
        for (index, client) in clients.iter_mut().enumerate() {
            client.write_all(format!("{round}-{index:04}").as_bytes()).unwrap();
        }
        for (index, client) in clients.iter_mut().enumerate() {
            let mut answer = [0; 6];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(answer, format!("{round}-{index:04}").as_bytes());
        }
    }
    assert_eq!(owner.order(|relay| relay.connections()), 500);
    drop(clients);
    eventually("the connections end", || owner.order(|relay| relay.connections()) == 0);
}

#[test]
fn one_who_does_not_read_holds_up_nobody_else() {
    let mut owner = relay();
    let address = publish(&mut owner, Protocol::Tcp, target(echo));
    let mut lazy = connect(address);
    lazy.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    // Until nothing more goes in: every queue and the pipe between are full.
    let mut sent = 0;
    while let Ok(length) = lazy.write(&vec![5; 1 << 20]) {
        sent += length;
    }
    for _ in 0..20 {
        let mut client = connect(address);
        client.write_all(&[1; 100_000]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut back = Vec::new();
        client.read_to_end(&mut back).unwrap();
        assert_eq!(back.len(), 100_000);
    }
    lazy.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    lazy.read_to_end(&mut back).unwrap();
    assert_eq!(back.len(), sent);
    assert!(owner.end() < 100_000, "the loop spins");
}

#[test]
fn a_restart_ends_connections_and_keeps_the_port() {
    let mut owner = relay();
    let socket = hold(Protocol::Tcp, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], local_port(&socket).unwrap()));
    let first = target(|mut stream| {
        stream.write_all(b"one").unwrap();
        let _ = stream.read(&mut [0; 1]);
    });
    let port = owner.order(move |relay| relay.add(Protocol::Tcp, socket, Some(first)).unwrap());
    let mut client = connect(address);
    client.read_exact(&mut [0; 3]).unwrap();
    owner.order(|relay| relay.clear());
    assert!(is_reset(&mut client));
    assert_eq!(hold(Protocol::Tcp, address).unwrap_err().kind(), ErrorKind::AddrInUse);
    let second = target(|mut stream| stream.write_all(b"two").unwrap());
    owner.order(move |relay| relay.retarget(port, Some(second)));
    let mut answer = String::new();
    connect(address).read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "two");
    let sockets = owner.order(|relay| relay.release());
    assert_eq!((sockets.len(), local_port(&sockets[0]).unwrap()), (1, address.port()));
    // Nobody serves it, but it is still held; and not when it is let go.
    assert_eq!(hold(Protocol::Tcp, address).unwrap_err().kind(), ErrorKind::AddrInUse);
    drop(sockets);
    hold(Protocol::Tcp, address).unwrap();
}

#[test]
fn beyond_the_limit_clients_wait_their_turn() {
    let mut owner = relay_with(Limits { connections: 2, ..Limits::default() });
    let address = publish(&mut owner, Protocol::Tcp, target(echo));
    let mut clients: Vec<TcpStream> = (0..3).map(|_| connect(address)).collect();
    for client in &mut clients {
        client.write_all(b"x").unwrap();
        client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    }
    clients[0].read_exact(&mut [0; 1]).unwrap();
    clients[1].read_exact(&mut [0; 1]).unwrap();
    assert!(clients[2].read_exact(&mut [0; 1]).is_err());
    assert_eq!(owner.order(|relay| (relay.connections(), relay.deadline())), (2, None));
    drop(clients.remove(0));
    clients[1].set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    clients[1].read_exact(&mut [0; 1]).unwrap();
    assert!(owner.end() < 200, "the loop spins");
}

#[test]
fn either_family_leads_to_the_other() {
    let Ok(six) = TcpListener::bind("[::1]:0") else {
        eprintln!("skipped: no IPv6 here");
        return;
    };
    let to_six = six.local_addr().unwrap();
    std::thread::spawn(move || six.incoming().for_each(|stream| echo(stream.unwrap())));
    let mut owner = relay();
    let first = publish(&mut owner, Protocol::Tcp, to_six);
    let to_four = target(echo);
    let socket = hold(Protocol::Tcp, "[::1]:0".parse().unwrap()).unwrap();
    let second = SocketAddr::new("::1".parse().unwrap(), local_port(&socket).unwrap());
    owner.order(move |relay| relay.add(Protocol::Tcp, socket, Some(to_four)).unwrap());
    for address in [first, second] {
        let mut client = connect(address);
        client.write_all(b"hello").unwrap();
        let mut answer = [0; 5];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"hello");
    }
}

#[test]
fn a_relay_that_nobody_uses_does_nothing() {
    let mut owner = relay();
    let address = publish(&mut owner, Protocol::Tcp, target(echo));
    let mut idle = connect(address);
    idle.write_all(b"x").unwrap();
    idle.read_exact(&mut [0; 1]).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(owner.order(|relay| relay.deadline()), None);
    assert!(owner.end() <= 6);
}
