use crate::support::lan::{HOST, HOST6, PEER, PEER6, Peer, Servers, echo, greeting, ip, word};
use crate::support::net::Net;
use crate::support::user::Given;
use crate::support::{Mode, World};

/// The relay of an engine without root, whose bridges are not in the host's network namespace.
pub(super) const ROOTLESS: &str = "rootless";

const PATHS: [&str; 4] = ["nft", "iptables-nft", "iptables-legacy", "relay"];

/// A world in which that packet path is taken, the others being pretended away; None, with the reason, if it does not
/// work here.
pub(super) fn world_with(path: &str) -> Option<World> {
    if path == ROOTLESS {
        return World::of_user(Mode::Embedded, Given::Ranges);
    }
    let world = World::new(Mode::Embedded);
    let others: Vec<&str> = PATHS[..3].iter().copied().filter(|other| *other != path).collect();
    world.set("BERTH_PRETEND_WITHOUT", &others.join(","));
    let info = world.berth(&["info", "--format", "json"]).ok().json();
    let picked = info["Berth"]["PacketPath"].as_str().unwrap_or_default().to_owned();
    if picked != path {
        println!("skipped: {path} does not work here: {}", info["Berth"]["RefusedPacketPaths"]);
        return None;
    }
    Some(world)
}

/// A container that sleeps, its namespace, and servers in it: TCP on port 80, UDP on port 5353.
fn server(world: &World, flags: &[&str], name: &str) -> (Net, Servers) {
    let net = sleeper(world, flags, name);
    let (tcp, udp): (&[&str], &[&str]) = (&["0.0.0.0:80"], &["0.0.0.0:5353"]);
    let servers = Servers::start(&net, name, tcp, udp);
    (net, servers)
}

pub(super) fn sleeper(world: &World, flags: &[&str], name: &str) -> Net {
    world.start(&[&["--name", name], flags].concat(), "exec sleep 1000");
    Net::of(&world.inspect(name, "{{.State.Pid}}"))
}

fn address(world: &World, name: &str, network: &str) -> String {
    world.inspect(name, &format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}"))
}

fn rows(path: &str) {
    let Some(world) = world_with(path) else { return };
    let peer = Peer::of(&world);
    let relay = matches!(path, "relay" | ROOTLESS);
    world.berth(&["network", "create", "other"]).ok();
    world.berth(&["network", "create", "--internal", "inner"]).ok();
    let (web, _web) =
        server(&world, &["-p", "8080:80", "-p", "5300:5353/udp", "-p", &format!("{HOST}:8081:80")], "web");
    let (_far, _on_far) = server(&world, &["--network", "other"], "far");
    let (_deep, _on_deep) = server(&world, &["--network", "inner"], "deep");
    let near = sleeper(&world, &[], "near");
    let other = sleeper(&world, &["--network", "other"], "beyond");
    let inner = sleeper(&world, &["--network", "inner"], "below");
    let (to_web, to_far, to_deep) =
        (address(&world, "web", "bridge"), address(&world, "far", "other"), address(&world, "deep", "inner"));
    let host = world.net();
    let says = |net: &Net, to: &str, port: u16| word(net, &format!("{to}:{port}")).unwrap_or_default();

    // Container to container, to the host, to the outside.
    assert_eq!(says(&near, &to_web, 80), "web");
    assert_eq!(echo(&near, &format!("{to_web}:5353"), "ping").as_deref(), Some("ping"));
    let _on_host = Servers::start(host, "host", &["0.0.0.0:7000"], &[]);
    assert_eq!(says(&near, HOST, 7000), "host");
    let _outside = Servers::start(
        peer.net(),
        "outside",
        &[&format!("{PEER}:7000"), &format!("[{PEER6}]:7001")],
        &[&format!("{PEER}:7002")],
    );
    assert_eq!(greeting(&near, &format!("{PEER}:7000")), Some(format!("outside {HOST}")));
    assert_eq!(echo(&near, &format!("{PEER}:7002"), "ping").as_deref(), Some("ping"));

    // From outside and from the host to published ports.
    for port in [8080, 8081] {
        assert_eq!(says(peer.net(), HOST, port), "web", "{port}");
        assert_eq!(says(host, HOST, port), "web", "{port}");
    }
    assert_eq!(echo(peer.net(), &format!("{HOST}:5300"), "ping").as_deref(), Some("ping"));
    assert_eq!(says(host, "127.0.0.1", 8080), "web");
    assert_eq!(says(host, "127.0.0.1", 8081), "", "it was published at another address");
    assert_eq!(says(host, "[::1]", 8080), "web");
    assert_eq!(says(peer.net(), &format!("[{HOST6}]"), 8080), "web");
    assert_eq!(echo(host, "127.0.0.1:5300", "ping").as_deref(), Some("ping"));
    if !relay {
        // The address of who asks arrives.
        assert_eq!(greeting(peer.net(), &format!("{HOST}:8080")).unwrap(), format!("web {PEER}"));
    }

    // Through the host's public port: from the container itself, from its network, from another one.
    assert_eq!(says(&web, HOST, 8080), "web");
    assert_eq!(says(&near, HOST, 8080), "web");
    assert_eq!(says(&other, HOST, 8080), "web");
    assert_eq!(echo(&web, &format!("{HOST}:5300"), "ping").as_deref(), Some("ping"));

    // Networks are apart, and the outside knows no way in.
    assert_eq!(says(&other, &to_web, 80), "");
    assert_eq!(says(&near, &to_far, 80), "");
    ip(peer.net(), &format!("route add {to_web}/32 via {HOST}"));
    assert_eq!(says(peer.net(), &to_web, 80), "");

    // An internal network: among themselves, and nothing else.
    assert_eq!(says(&inner, &to_deep, 80), "deep");
    assert_eq!(says(&inner, PEER, 7000), "");
    assert_eq!(says(&inner, &to_web, 80), "");
    assert_eq!(says(&near, &to_deep, 80), "");
    ip(peer.net(), &format!("route add {to_deep}/32 via {HOST}"));
    assert_eq!(says(peer.net(), &to_deep, 80), "");

    v6(&world, &peer, relay);
}

fn v6(world: &World, peer: &Peer, relay: bool) {
    world.berth(&["network", "create", "--ipv6", "six"]).ok();
    let six = sleeper(world, &["--network", "six", "-p", "8086:80", "-p", "5306:5353/udp"], "six");
    let _on_six = Servers::start(&six, "six", &["[::]:80"], &["[::]:5353"]);
    let near = sleeper(world, &["--network", "six"], "seven");
    let other = sleeper(world, &["--network", "other"], "eight");
    let inside = world.inspect("six", "{{(index .NetworkSettings.Networks \"six\").GlobalIPv6Address}}");
    assert!(inside.starts_with("fd"), "{inside}");
    let says = |net: &Net, to: &str, port: u16| word(net, &format!("[{to}]:{port}")).unwrap_or_default();
    assert_eq!(says(&near, &inside, 80), "six");
    assert_eq!(says(peer.net(), HOST6, 8086), "six");
    assert_eq!(says(world.net(), "::1", 8086), "six");
    assert_eq!(says(world.net(), HOST6, 8086), "six");
    assert_eq!(word(peer.net(), &format!("{HOST}:8086")).as_deref(), Some("six"));
    assert_eq!(echo(peer.net(), &format!("[{HOST6}]:5306"), "ping").as_deref(), Some("ping"));
    assert_eq!(greeting(&near, &format!("[{PEER6}]:7001")), Some(format!("outside {HOST6}")));
    assert_eq!(says(&near, HOST6, 8086), "six");
    assert_eq!(says(&six, HOST6, 8086), "six");
    assert_eq!(word(&other, &format!("[{inside}]:80")), None);
    ip(peer.net(), &format!("-6 route add {inside}/128 via {HOST6}"));
    assert_eq!(says(peer.net(), &inside, 80), "");
    if !relay {
        let routed = [
            "--ipv6",
            "--ipv4=false",
            "--subnet",
            "2001:db8:5::/64",
            "-o",
            "com.docker.network.bridge.gateway_mode_ipv6=routed",
        ];
        world.berth(&[&["network", "create"], &routed[..], &["routed"]].concat()).ok();
        let nine = sleeper(world, &["--network", "routed"], "nine");
        let _on_nine = Servers::start(&nine, "nine", &["[::]:80"], &[]);
        ip(peer.net(), &format!("-6 route add 2001:db8:5::/64 via {HOST6}"));
        assert_eq!(says(peer.net(), "2001:db8:5::2", 80), "nine");
    }
}

#[test]
fn everybody_reaches_whom_they_should_by_nf_tables() {
    rows("nft");
}

#[test]
fn everybody_reaches_whom_they_should_by_iptables_over_nf_tables() {
    rows("iptables-nft");
}

#[test]
fn everybody_reaches_whom_they_should_by_the_old_iptables() {
    rows("iptables-legacy");
}

#[test]
fn everybody_reaches_whom_they_should_by_the_relay_alone() {
    rows("relay");
}

#[test]
fn everybody_reaches_whom_they_should_without_root() {
    rows(ROOTLESS);
}

/// As Docker's, ports go with their container into another network. In between, and in an internal one, they lead nowhere:
/// not to the host's own servers either, which the unspecified address is.
fn ports_move(path: &str) {
    let Some(world) = world_with(path) else { return };
    for (name, flags) in [("one", &[][..]), ("two", &[]), ("inner", &["--internal"])] {
        world.berth(&[&["network", "create"], flags, &[name]].concat()).ok();
    }
    let (_web, _servers) = server(&world, &["--network", "one", "-p", "8080:80"], "web");
    let _on_host = Servers::start(world.net(), "host", &["127.0.0.1:80", "[::1]:80"], &[]);
    let says = || ["127.0.0.1:8080", "[::1]:8080"].map(|to| word(world.net(), to).unwrap_or_default());
    assert_eq!(says(), ["web", "web"]);
    world.berth(&["network", "disconnect", "one", "web"]).ok();
    assert_eq!(says(), ["", ""]);
    world.berth(&["network", "connect", "inner", "web"]).ok();
    assert_eq!(says(), ["", ""]);
    world.berth(&["network", "connect", "two", "web"]).ok();
    assert_eq!(says(), ["web", "web"]);
    world.berth(&["network", "disconnect", "inner", "web"]).ok();
    world.berth(&["network", "connect", "one", "web"]).ok();
    assert_eq!(says(), ["web", "web"]);
    world.berth(&["network", "disconnect", "two", "web"]).ok();
    assert_eq!(says(), ["web", "web"]);
}

#[test]
fn ports_follow_a_container_from_network_to_network() {
    ports_move("nft");
}

#[test]
fn ports_follow_a_container_by_the_relay_alone() {
    ports_move("relay");
}

#[test]
fn ports_follow_a_container_without_root() {
    ports_move(ROOTLESS);
}

/// Also of one that began without names; what it wrote itself stays.
#[test]
fn names_come_and_go_with_networks() {
    let world = World::new(Mode::Embedded);
    world.berth(&["network", "create", "mine"]).ok();
    sleeper(&world, &["--network", "mine"], "far");
    sleeper(&world, &["--network", "bridge"], "near");
    sleeper(&world, &["--network", "bridge"], "own");
    let conf = |name: &str| world.berth(&["exec", name, "cat", "/etc/resolv.conf"]).ok().out();
    let before = conf("near");
    assert!(!before.contains("127.0.0.11"), "{before}");
    world.berth(&["exec", "own", "sh", "-c", "echo nameserver 192.0.2.53 > /etc/resolv.conf"]).ok();
    for name in ["near", "own"] {
        world.berth(&["network", "connect", "mine", name]).ok();
    }
    world.berth(&["exec", "near", "nslookup", "far"]).ok();
    assert_eq!(conf("own"), "nameserver 192.0.2.53\n");
    world.berth(&["network", "disconnect", "mine", "near"]).ok();
    assert_eq!(conf("near"), before);
}
