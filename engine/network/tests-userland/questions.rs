use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use berth_network::names::Names;
use berth_network::plan;
use berth_network::resolver::Resolver;

use crate::support::{Driven, Owner, Random, connect, eventually};

impl Driven for Resolver {
    fn fd(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
    fn deadline(&self) -> Option<Instant> {
        Resolver::deadline(self)
    }
    fn turn(&mut self) {
        Resolver::turn(self).unwrap();
    }
}

const A: u16 = 1;

fn question(id: u16, name: &str, edns: Option<u16>) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())]);
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&[0, A as u8, 0, 1]);
    if let Some(size) = edns {
        bytes.extend_from_slice(&[0, 0, 41]);
        bytes.extend_from_slice(&size.to_be_bytes());
        bytes.extend_from_slice(&[0; 6]);
    }
    bytes
}

/// The question back with `count` addresses, as an upstream server answers.
fn answer(question: &[u8], count: u16) -> Vec<u8> {
    let mut bytes = question.to_vec();
    bytes[2] |= 0x80;
    bytes[3] |= 0x80;
    bytes[6..8].copy_from_slice(&count.to_be_bytes());
    for index in 0..count {
        bytes.extend_from_slice(&[0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 9, 9]);
        bytes.extend_from_slice(&index.to_be_bytes());
    }
    bytes
}

fn code(bytes: &[u8]) -> u8 {
    bytes[3] & 0xF
}

fn records(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[6], bytes[7]])
}

struct Bench {
    owner: Owner<Resolver>,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

fn sockets() -> (OwnedFd, OwnedFd, SocketAddr) {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = udp.local_addr().unwrap();
        // The same port for both, as a resolver has it.
        if let Ok(tcp) = TcpListener::bind(address) {
            return (udp.into(), tcp.into(), address);
        }
    }
}

impl Bench {
    fn new(servers: &[SocketAddr]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (udp, tcp, address) = sockets();
        let networks = vec![("net".to_owned(), folder.path().to_owned())];
        let plan = plan::Resolver { networks, links: Vec::new(), servers: servers.to_vec() };
        let owner = Owner::new(move || Resolver::new(&plan, udp, tcp).unwrap());
        Self { owner, address, folder }
    }

    fn name(&self, name: &str, addresses: u8) {
        let names = Names::new(self.folder.path());
        for last in 1..=addresses {
            let address = IpAddr::from([10, 0, 0, last]);
            names.add(&format!("c{last}"), &[name.to_owned()], &[address]).unwrap();
        }
    }

    fn client(&self) -> UdpSocket {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(self.address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client
    }

    fn ask(&self, question: &[u8]) -> Vec<u8> {
        let client = self.client();
        client.send(question).unwrap();
        receive(&client)
    }
}

fn receive(client: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 65536];
    let length = client.recv(&mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

/// A server that makes something of each question: datagrams to be sent back.
fn server(mut serve: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65536];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            for answer in serve(&buffer[..length]) {
                socket.send_to(&answer, from).unwrap();
            }
        }
    });
    address
}

/// One that takes questions and says nothing; it must be kept.
fn silent() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

fn read_framed(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut bytes = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

#[test]
fn names_are_answered_here_and_others_are_passed_on() {
    let bench = Bench::new(&[server(|question| vec![answer(question, 2)])]);
    bench.name("web", 3);
    let local = bench.ask(&question(7, "Web.NET", Some(1232)));
    assert_eq!((&local[..2], code(&local), records(&local)), (&[0, 7][..], 0, 3));
    let foreign = bench.ask(&question(8, "example.org", Some(1232)));
    assert_eq!(foreign, answer(&question(8, "example.org", Some(1232)), 2), "with OPT, as it was asked");
}

#[test]
fn names_come_and_go_without_the_resolver_being_told() {
    let bench = Bench::new(&[]);
    let asked = question(1, "web", None);
    assert_eq!(code(&bench.ask(&asked)), 2, "nobody to ask");
    bench.name("web", 1);
    assert_eq!(records(&bench.ask(&asked)), 1);
    Names::new(bench.folder.path()).remove("c1", &["web".into()], &[IpAddr::from([10, 0, 0, 1])]).unwrap();
    assert_eq!(code(&bench.ask(&asked)), 2);
}

#[test]
fn an_update_changes_networks_and_servers() {
    let mut bench = Bench::new(&[]);
    let other = tempfile::tempdir().unwrap();
    Names::new(other.path()).add("c", &["db".into()], &[IpAddr::from([10, 1, 0, 1])]).unwrap();
    assert_eq!(code(&bench.ask(&question(1, "db", None))), 2);
    let networks = vec![("other".to_owned(), other.path().to_owned())];
    let servers = vec![server(|question| vec![answer(question, 1)])];
    bench.owner.order(|resolver| resolver.update(&plan::Resolver { networks, links: Vec::new(), servers }));
    assert_eq!(records(&bench.ask(&question(1, "db.other", None))), 1);
    assert_eq!(records(&bench.ask(&question(1, "example.org", None))), 1);
}

#[test]
fn servers_are_asked_in_order_until_one_knows() {
    let refusing = server(|question| {
        let mut bytes = answer(question, 0);
        bytes[3] |= 5;
        vec![bytes]
    });
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let knowing = server(|question| vec![answer(question, 1)]);
    let begin = Instant::now();
    let bench = Bench::new(&[refusing, closed, knowing]);
    assert_eq!(records(&bench.ask(&question(1, "example.org", None))), 1);
    let bench = Bench::new(&[closed, refusing]);
    assert_eq!(code(&bench.ask(&question(1, "example.org", None))), 2);
    assert!(begin.elapsed() < Duration::from_secs(2), "nobody had to be waited for");
}

#[test]
fn a_silent_server_is_given_up_in_time_and_the_next_one_asked() {
    let ((_first, silent_one), (second, also_silent)) = (silent(), silent());
    second.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (udp, tcp, address) = sockets();
    let plan = plan::Resolver { servers: vec![silent_one, also_silent], ..plan::Resolver::default() };
    let mut resolver = Resolver::new(&plan, udp, tcp).unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let asked = question(77, "example.org", None);
    client.send_to(&asked, address).unwrap();
    let begin = Instant::now();
    let after = |millis| begin + Duration::from_millis(millis);
    resolver.turn_at(begin).unwrap();
    assert_eq!((resolver.forwardings(), resolver.deadline()), (1, Some(after(2000))));
    resolver.turn_at(after(1999)).unwrap();
    assert_eq!(resolver.deadline(), Some(after(2000)));
    resolver.turn_at(after(2000)).unwrap();
    let mut buffer = [0; 512];
    let (length, _) = second.recv_from(&mut buffer).unwrap();
    assert_eq!(buffer[2..length], asked[2..]);
    assert_eq!(resolver.deadline(), Some(after(4000)));
    resolver.turn_at(after(4000)).unwrap();
    assert_eq!((resolver.forwardings(), resolver.deadline()), (0, None));
    let (length, _) = client.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..2], code(&buffer), length), (&[0, 77][..], 2, asked.len()));
}

#[test]
fn answers_that_are_none_are_not_believed() {
    let bench = Bench::new(&[server(|question| {
        let mut other_id = answer(question, 3);
        other_id[0] ^= 0x55;
        let mut other_name = answer(question, 3);
        other_name[13] ^= 1;
        let mut looped = answer(question, 3)[..12].to_vec();
        looped.extend_from_slice(&[0xC0, 12, 0, 1, 0, 1]);
        let short = answer(question, 3)[..15].to_vec();
        vec![other_id, other_name, looped, short, question.to_vec(), Vec::new(), answer(question, 1)]
    })]);
    assert_eq!(records(&bench.ask(&question(1, "example.org", None))), 1);
}

#[test]
fn questions_leave_with_other_ids_and_ports() {
    let (told, tells) = std::sync::mpsc::channel();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let bench = Bench::new(&[socket.local_addr().unwrap()]);
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            told.send(([buffer[0], buffer[1]], from.port())).unwrap();
            socket.send_to(&answer(&buffer[..length], 1), from).unwrap();
        }
    });
    let seen: Vec<_> = (0..16)
        .map(|_| {
            assert_eq!(bench.ask(&question(5, "example.org", None))[..2], [0, 5]);
            tells.recv_timeout(Duration::from_secs(10)).unwrap()
        })
        .collect();
    for pick in [|seen: &([u8; 2], u16)| u16::from_be_bytes(seen.0), |seen: &([u8; 2], u16)| seen.1] {
        let distinct: std::collections::BTreeSet<u16> = seen.iter().map(pick).collect();
        assert!(distinct.len() > 8, "{seen:?}");
    }
}

#[test]
fn what_does_not_fit_is_truncated_and_comes_whole_over_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let udp = UdpSocket::bind(at).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            // One that honours nothing.
            udp.send_to(&answer(&buffer[..length], 60), from).unwrap();
        }
    });
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let answer = framed(&answer(&read_framed(&mut stream).unwrap(), 2000));
            // In pieces, and closed at once, as some do.
            stream.write_all(&answer[..1000]).unwrap();
            std::thread::sleep(Duration::from_millis(20));
            stream.write_all(&answer[1000..]).unwrap();
        }
    });
    let bench = Bench::new(&[at]);
    bench.name("many", 100);
    for name in ["example.org", "many"] {
        let short = bench.ask(&question(1, name, None));
        assert!(short.len() <= 512 && short[2] & 2 == 2, "{name}: {} octets", short.len());
        let mut stream = connect(bench.address);
        stream.write_all(&framed(&question(2, name, None))).unwrap();
        let whole = read_framed(&mut stream).unwrap();
        assert_eq!((whole[2] & 2, &whole[..2]), (0, &[0, 2][..]), "{name}");
        assert_eq!(records(&whole), if name == "many" { 100 } else { 2000 });
    }
}

#[test]
fn many_questions_over_one_connection_are_all_answered() {
    let bench = Bench::new(&[server(|question| vec![answer(question, 1)])]);
    bench.name("web", 1);
    let mut stream = connect(bench.address);
    let mut writer = stream.try_clone().unwrap();
    std::thread::spawn(move || {
        let all: Vec<u8> = (0..500).flat_map(|id| framed(&question(id, "web", None))).collect();
        // As a network may cut it.
        for piece in all.chunks(777) {
            writer.write_all(piece).unwrap();
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    for id in 0..500u16 {
        let answer = read_framed(&mut stream).unwrap();
        assert_eq!((u16::from_be_bytes([answer[0], answer[1]]), records(&answer)), (id, 1));
    }
    assert_eq!(read_framed(&mut stream), None, "an end after the last");
}

#[test]
fn a_stream_that_is_nonsense_or_silent_is_closed() {
    let mut bench = Bench::new(&[]);
    let mut stream = connect(bench.address);
    stream.write_all(&[0xFF; 100]).unwrap();
    assert!(matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_)));
    let mut streams: Vec<TcpStream> = (0..40).map(|_| connect(bench.address)).collect();
    // The oldest made room for the rest.
    assert!(matches!(streams[0].read(&mut [0; 1]), Ok(0) | Err(_)));
    let in_time = Instant::now() + Duration::from_secs(60);
    eventually("they are accepted", || bench.owner.order(|resolver| Resolver::deadline(resolver)).is_some());
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(
        bench.owner.order(move |resolver| {
            resolver.turn_at(in_time).unwrap();
            Resolver::deadline(resolver)
        }),
        None
    );
    assert!(matches!(streams[39].read(&mut [0; 1]), Ok(0) | Err(_)));
}

#[test]
fn a_resolver_that_is_its_own_server_ends_the_circle() {
    let (udp, tcp, address) = sockets();
    let plan = plan::Resolver { servers: vec![address], ..plan::Resolver::default() };
    let mut owner = Owner::new(move || Resolver::new(&plan, udp, tcp).unwrap());
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(&question(1, "example.org", None), address).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(owner.order(|resolver| resolver.forwardings()), 1);
    assert!(owner.end() < 20);
}

#[test]
fn hostile_packets_are_survived() {
    let mut random = Random(0x5EED);
    let mut seed = Random(0xFEED);
    // A server that answers nonsense half of the time.
    let bench = Bench::new(&[server(move |question| {
        let mut bytes = answer(question, 1);
        if seed.below(2) == 0 {
            let at = seed.below(bytes.len());
            seed.fill(&mut bytes[at..]);
        }
        vec![bytes]
    })]);
    bench.name("web", 1);
    let client = bench.client();
    let mut stream = connect(bench.address);
    for round in 0..3000 {
        let mut bytes = question(round, if round % 2 == 0 { "web" } else { "example.org" }, Some(1232));
        for _ in 0..1 + random.below(3) {
            let at = random.below(bytes.len());
            bytes[at] = random.next() as u8;
        }
        client.send(&bytes).unwrap();
        if round % 3 == 0 {
            let mut noise = vec![0; random.below(300)];
            random.fill(&mut noise);
            client.send(&noise).unwrap();
            if stream.write_all(&noise).is_err() {
                stream = connect(bench.address);
            }
        }
    }
    // What was sent last may have found a full queue.
    let client = bench.client();
    client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    eventually("it still answers", || {
        client.send(&question(1, "web", None)).unwrap();
        client.recv(&mut [0; 512]).is_ok()
    });
}
