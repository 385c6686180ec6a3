use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use crate::support::lan::{HOST, PEER, Peer};
use crate::support::net::Net;
use crate::support::world::LIMIT;
use crate::support::{Mode, World, eventually, skip};

/// For one question and its answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How packets go to containers; "relay" is what is left where there is no packet filter.
fn packet_path(world: &World) -> String {
    let info = world.berth(&["info", "--format", "json"]).ok().json();
    info["Berth"]["PacketPath"].as_str().expect("a packet path").to_owned()
}

fn address(world: &World, name: &str, network: &str) -> Ipv4Addr {
    let text = world.inspect(name, &format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}"));
    text.parse().unwrap_or_else(|_| panic!("{name} has no address in {network}: {text:?}"))
}

// ---- nginx

/// The head and the body of a page; None if nobody answers.
fn page(net: &Net, to: &str, path: &str) -> Option<(String, Vec<u8>)> {
    let to: SocketAddr = to.parse().expect("an address and a port");
    net.within(|| {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE).ok()?;
        stream.set_read_timeout(Some(LIMIT)).expect("a time limit");
        write!(stream, "GET {path} HTTP/1.0\r\nHost: test\r\n\r\n").ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
        Some((String::from_utf8_lossy(&answer[..end]).into_owned(), answer.split_off(end + 4)))
    })
}

both! {
    fn nginx_is_reached_at_its_published_port(world) {
        if !world.import_servers() {
            return;
        }
        let peer = Peer::of(world);
        let large: Vec<u8> = (0..8 << 20).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        fs::create_dir(world.path("site")).unwrap();
        fs::write(world.path("site/index.html"), "berth's\n").unwrap();
        fs::write(world.path("site/large"), &large).unwrap();
        let site = format!("{}:/var/www/html:ro", world.at("site"));
        // As nginx's own image has it.
        let start = "ln -sf /dev/stdout /var/log/nginx/access.log; exec nginx -g 'daemon off;'";
        world.run(&["-d", "--name", "web", "-p", "8080:80", "-v", &site, "servers", "sh", "-c", start]).ok();
        let from_host = || page(world.net(), "127.0.0.1:8080", "/");
        let from_peer = |path| page(peer.net(), &format!("{HOST}:8080"), path);
        eventually("nginx answers", LIMIT, || from_host().is_some());
        for (head, body) in [from_host().unwrap(), from_peer("/").expect("nginx answers the other machine")] {
            assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("Server: nginx/"), "{head}");
            assert_eq!(String::from_utf8_lossy(&body), "berth's\n");
        }
        assert!(from_peer("/large").expect("a large file").1 == large, "8 MiB arrive as they were");
        assert!(from_peer("/nosuch").expect("an answer").0.starts_with("HTTP/1.1 404 "));
        if packet_path(world) != "relay" {
            let line = format!("{PEER} - - [");
            eventually("nginx logs who asked", LIMIT, || world.berth(&["logs", "web"]).ok().out().contains(&line));
        }
        // The port goes and comes with the container.
        world.berth(&["stop", "web"]).ok();
        assert_eq!(world.inspect("web", "{{.State.ExitCode}}"), "0");
        assert!(from_host().is_none() && from_peer("/").is_none());
        world.berth(&["start", "web"]).ok();
        eventually("nginx answers again", LIMIT, || from_host().is_some());
        assert!(from_peer("/").is_some());
    }
}

// ---- dnsmasq

/// A question for the IPv4 addresses of a name (RFC 1035, section 4.1).
fn question(id: u16, name: &str) -> Vec<u8> {
    let mut message = Vec::new();
    // Recursion desired; one question, no records.
    for word in [id, 0x0100, 1, 0, 0, 0] {
        message.extend(word.to_be_bytes());
    }
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    // The root, A, IN.
    message.extend([0, 0, 1, 0, 1]);
    message
}

/// The addresses in an answer to that question; None if it is none.
fn answers(message: &[u8], question: &[u8]) -> Option<Vec<Ipv4Addr>> {
    let word = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
    let (asked, body) = (&question[12..], message.get(12..)?);
    if message.get(..2)? != &question[..2] || word(2)? & 0x8000 == 0 || !body.starts_with(asked) {
        return None;
    }
    let mut at = question.len();
    let mut found = Vec::new();
    for _ in 0..word(6)? {
        // A pointer to the question's name; type, class, time to live, length, data.
        let (kind, length) = (word(at + 2)?, usize::from(word(at + 10)?));
        let data = message.get(at + 12..at + 12 + length)?;
        if kind == 1 {
            found.push(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?));
        }
        at += 12 + length;
    }
    Some(found)
}

/// What a server says of a name over UDP; None if it does not answer.
fn ask(net: &Net, to: &str, name: &str) -> Option<Vec<Ipv4Addr>> {
    let to: SocketAddr = to.parse().expect("an address and a port");
    let asked = question(0xbe27, name);
    net.within(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        // Answers from another address than the one that was asked are not seen.
        socket.connect(to).ok()?;
        socket.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        socket.send(&asked).ok()?;
        let mut buffer = [0; 1500];
        let length = socket.recv(&mut buffer).ok()?;
        answers(&buffer[..length], &asked)
    })
}

/// Over TCP (RFC 1035, section 4.2.2).
fn ask_by_stream(net: &Net, to: &str, name: &str) -> Option<Vec<Ipv4Addr>> {
    let to: SocketAddr = to.parse().expect("an address and a port");
    let asked = question(0xbe28, name);
    net.within(|| {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        let mut framed = (asked.len() as u16).to_be_bytes().to_vec();
        framed.extend(&asked);
        stream.write_all(&framed).ok()?;
        let mut length = [0; 2];
        stream.read_exact(&mut length).ok()?;
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut message).ok()?;
        answers(&message, &asked)
    })
}

const ANSWER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);

/// A server of names at all addresses of its container that knows one name and asks for others whom the container asks.
fn name_server(world: &World, network: &str, port: u16) {
    let name = format!("dns-{network}");
    let (udp, tcp) = (format!("{port}:53/udp"), format!("{port}:53/tcp"));
    let flags = ["-d", "--name", &name, "--network", network, "-p", &udp, "-p", &tcp, "servers"];
    let program = ["dnsmasq", "-k", "--user=root", "--no-hosts", "--address=/answer.test/203.0.113.7"];
    world.run(&[&flags[..], &program].concat()).ok();
}

/// Asks it as the host does, as another machine does, and as another container does.
fn everybody_asks(world: &World, peer: &Peer, network: &str, port: u16) {
    let (here, there) = (format!("127.0.0.1:{port}"), format!("{HOST}:{port}"));
    eventually("the server of names answers", LIMIT, || ask(world.net(), &here, "answer.test").is_some());
    for (net, to) in [(world.net(), &here), (world.net(), &there), (peer.net(), &there)] {
        assert_eq!(ask(net, to, "answer.test"), Some(vec![ANSWER]), "{network}: {to}");
        assert_eq!(ask_by_stream(net, to, "answer.test"), Some(vec![ANSWER]), "{network}: {to}");
    }
    let server = address(world, &format!("dns-{network}"), network).to_string();
    let resolved = ["--rm", "--network", network, "--dns", &server, "servers", "getent", "ahostsv4", "answer.test"];
    assert!(world.run(&resolved).ok().out().starts_with("203.0.113.7 "));
}

/// On users' networks too: there berth's own answers at 127.0.0.11:53 are not in its way, nor it in theirs.
#[test]
fn a_server_of_names_is_asked_through_its_published_port() {
    let world = &World::new(Mode::Embedded);
    if !world.import_servers() {
        return;
    }
    let peer = Peer::of(world);
    name_server(world, "bridge", 5300);
    everybody_asks(world, &peer, "bridge", 5300);
    if packet_path(world) == "relay" {
        return skip("on networks with names: without a packet filter the port is berth's");
    }
    world.berth(&["network", "create", "mine"]).ok();
    name_server(world, "mine", 5301);
    everybody_asks(world, &peer, "mine", 5301);
    world.start(&["--name", "near", "--network", "mine"], "exec sleep 1000");
    let near = address(world, "near", "mine");
    // Inside, names are still berth's: glibc asks 127.0.0.11.
    let resolved = world.berth(&["exec", "dns-mine", "sh", "-c", "cat /etc/resolv.conf; getent hosts near"]).ok().out();
    assert!(resolved.contains("nameserver 127.0.0.11\n") && resolved.contains(&format!("{near} ")), "{resolved}");
    // The server asks there in its turn.
    assert_eq!(ask(peer.net(), &format!("{HOST}:5301"), "near"), Some(vec![near]));
    // Not only a server that shares its port has it.
    Net::of(&world.inspect("near", "{{.State.Pid}}")).within(|| {
        let every = IpAddr::from(Ipv4Addr::UNSPECIFIED);
        let own = (UdpSocket::bind((every, 53)), TcpListener::bind((every, 53)));
        assert!(own.0.is_ok() && own.1.is_ok(), "{own:?}");
    });
}

// ---- PostgreSQL

/// On a volume that the image gives its first content, owner included; a cluster is made where there is none.
fn postgres(world: &World) {
    let start = "PATH=/usr/lib/postgresql/15/bin:$PATH; cd /var/lib/postgresql; \
        [ -s data/PG_VERSION ] || { initdb -N -A trust -D data && echo 'host all all all trust' >> data/pg_hba.conf; }; \
        exec postgres -D data -k /tmp -c listen_addresses='*'";
    let flags = ["-d", "--name", "db", "--network", "app", "-v", "pg:/var/lib/postgresql", "--user", "postgres"];
    world.run(&[&flags[..], &["servers", "bash", "-c", start]].concat()).ok();
    until_ready(world);
}

fn until_ready(world: &World) {
    let asked = ["exec", "db", "/usr/lib/postgresql/15/bin/pg_isready", "-q", "-h", "/tmp"];
    eventually("PostgreSQL is ready", LIMIT, || world.berth(&asked).code == 0);
}

const PSQL: [&str; 4] = ["/usr/lib/postgresql/15/bin/psql", "-qAt", "-v", "ON_ERROR_STOP=1"];

#[track_caller]
fn sql(world: &World, statement: &str) -> String {
    let words = [&["exec", "db"], &PSQL[..], &["-h", "/tmp", "-c", statement]].concat();
    world.berth(&words).ok().text()
}

#[test]
fn what_postgres_has_committed_outlives_its_containers() {
    let world = &World::new(Mode::Daemon);
    if !world.import_servers() {
        return;
    }
    world.berth(&["network", "create", "app"]).ok();
    postgres(world);
    sql(world, "create table rows (n bigint primary key)");

    // Another container writes, finding it by its name, until the server is killed.
    let client = ["run", "--rm", "--network", "app", "servers"];
    let at_db = ["-h", "db", "-U", "postgres"];
    let inserts = "seq 100000 | sed 's/.*/insert into rows values (&) returning n;/'";
    let script = format!("{inserts} | {} {}", PSQL.join(" "), at_db.join(" "));
    let writer = world.background(&[&client[..], &["sh", "-c", &script]].concat());
    writer.expect("\n200\n", LIMIT);
    world.berth(&["kill", "db"]).ok();
    let lost = writer.wait(LIMIT);
    assert_ne!(lost.code, 0, "the server's end is not missed\n{lost}");
    let told: u64 = lost.lines().last().and_then(|line| line.parse().ok()).expect("the last row that is committed");
    assert!((200..100_000).contains(&told), "{told}");
    assert_eq!(world.inspect("db", "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");

    let whole = |what: &str| {
        let seen = sql(world, "select count(*), min(n), max(n) from rows");
        // One more may have been committed than was told.
        let wanted = [told, told + 1].map(|last| format!("{last}|1|{last}"));
        assert!(wanted.contains(&seen), "{what}: {seen}, and {told} were told");
    };
    world.berth(&["start", "db"]).ok();
    until_ready(world);
    assert!(world.berth(&["logs", "db"]).ok().err().contains("automatic recovery in progress"));
    whole("after a kill");

    // A new container on the same volume, the old one being killed again.
    world.berth(&["rm", "-f", "db"]).ok();
    postgres(world);
    whole("in a new container");
    let by_name = [&client[..], &PSQL, &at_db, &["-c", "select min(n) from rows"]].concat();
    assert_eq!(world.berth(&by_name).ok().text(), "1");
    // An orderly end this time.
    world.berth(&["stop", "-s", "SIGINT", "db"]).ok();
    let log = world.berth(&["logs", "db"]).ok().err();
    assert!(log.contains("database system is shut down"), "{log}");
    world.berth(&["rm", "db"]).ok();
    assert_eq!(world.berth(&["volume", "rm", "pg"]).ok().text(), "pg");
}

// ---- redis

fn redis(world: &World, name: &str, volume: &str) {
    let volume = format!("{volume}:/var/lib/redis");
    let flags = ["-d", "--name", name, "--network", "app", "-v", &volume, "--user", "redis", "debian"];
    let program = ["redis-server", "--dir", "/var/lib/redis", "--save", "", "--protected-mode", "no"];
    world.run(&[&flags[..], &program].concat()).ok();
    eventually("redis answers", LIMIT, || cli(world, name, &["ping"]) == "PONG");
}

fn cli(world: &World, name: &str, words: &[&str]) -> String {
    world.berth(&[&["exec", name, "redis-cli"], words].concat()).text()
}

#[test]
fn a_backup_of_redis_is_restored_into_a_fresh_volume() {
    let world = &World::new(Mode::Embedded);
    if !world.import_debian() {
        return;
    }
    world.berth(&["network", "create", "app"]).ok();
    redis(world, "redis", "data");
    // Another container fills it, finding it by its name.
    let fill = "for i in $(seq 1000); do echo set key:$i value-$i; done | redis-cli -h redis | grep -c OK";
    assert_eq!(world.run(&["--rm", "--network", "app", "debian", "sh", "-c", fill]).ok().text(), "1000");
    assert_eq!(cli(world, "redis", &["save"]), "OK");

    // It has the volume's owners and none of its rights.
    fs::create_dir(world.path("backup")).unwrap();
    let to = format!("{}:/backup", world.at("backup"));
    let from = ["run", "--rm", "--volumes-from", "redis:ro", "-v", &to, "debian"];
    world.berth(&[&from[..], &["touch", "/var/lib/redis/x"]].concat()).refused(1, &["Read-only file system"]);
    world.berth(&[&from[..], &["tar", "-cf", "/backup/redis.tar", "-C", "/var/lib/redis", "."]].concat()).ok();
    assert!(world.path("backup/redis.tar").is_file());
    // What comes later is not in the backup.
    assert_eq!(cli(world, "redis", &["set", "late", "1"]), "OK");

    let restore = "tar -xpf /backup/redis.tar -C /var/lib/redis; stat -c '%U %a' /var/lib/redis/dump.rdb";
    let flags = ["--rm", "-v", "fresh:/var/lib/redis", "-v", &format!("{to}:ro"), "debian", "sh", "-c", restore];
    assert!(world.run(&flags).ok().text().starts_with("redis "));
    redis(world, "again", "fresh");
    assert_eq!(cli(world, "again", &["dbsize"]), "1000");
    assert_eq!(cli(world, "again", &["get", "key:777"]), "value-777");
    // Two volumes, two servers, each found by its name.
    let sizes = "redis-cli -h redis dbsize; redis-cli -h again dbsize";
    assert_eq!(world.run(&["--rm", "--network", "app", "debian", "sh", "-c", sizes]).ok().text(), "1001\n1000");
    // The data stays with the volume.
    world.berth(&["rm", "-f", "again"]).ok();
    redis(world, "again", "fresh");
    assert_eq!(cli(world, "again", &["get", "key:1000"]), "value-1000");
}
