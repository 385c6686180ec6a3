//! Who reaches whom, with which source address.

use crate::OnPath;
use crate::world::{APART, INTERNAL, OPEN, OTHER, World, wanted};

pub(crate) const TESTS: &[OnPath] = &[
    ("containers reach the outside under the host's address", containers_get_out),
    ("published ports are reached from everywhere", published_ports),
    ("the host reaches published ports by its own address", the_host),
    ("what containers send to public ports is left to the relay", from_containers),
    ("networks are kept apart", isolation),
    ("internal networks stay inside", internal),
    ("containers that are kept apart are", apart),
    ("hosts outside do not reach containers by themselves", direct),
    ("a routed network is reached from outside", routed),
];

fn made(path: &str) -> World {
    let world = World::new(path);
    world.apply(&wanted());
    world
}

fn ip(text: &str) -> Option<std::net::IpAddr> {
    Some(text.parse().unwrap())
}

fn containers_get_out(path: &str) {
    let world = made(path);
    let container = &world.containers[OPEN][0];
    // Port 80 is published on the host, which must not catch it.
    assert_eq!(container.tcp("192.0.2.2:80"), ip("192.0.2.1"));
    assert_eq!(container.udp("192.0.2.2:80"), ip("192.0.2.1"));
    assert_eq!(container.tcp("[2001:db8::2]:80"), ip("2001:db8::1"));
    assert_eq!(world.containers[APART][1].tcp("192.0.2.2:80"), ip("192.0.2.1"));
    assert_eq!(container.tcp("172.30.0.3:80"), ip("172.30.0.2"));
    assert_eq!(container.tcp("[fd00:0::3]:80"), ip("fd00:0::2"));
}

fn published_ports(path: &str) {
    let world = made(path);
    assert_eq!(world.outside.udp("192.0.2.1:8080"), ip("192.0.2.2"));
    assert_eq!(world.outside.tcp("[2001:db8::1]:8080"), ip("2001:db8::2"));
    assert_eq!(world.outside.udp("[2001:db8::1]:8080"), ip("2001:db8::2"));
    assert_eq!(world.outside.tcp("192.0.2.1:80"), ip("192.0.2.2"));
    assert_eq!(world.outside.tcp("192.0.2.1:8082"), ip("192.0.2.2"));
    // Of one address: not that of the first network, whose port is the same at all others.
    assert_eq!(world.outside.tcp("192.0.2.1:8081"), ip("192.0.2.2"));
    world.outside.cannot("192.0.2.1:8090");
}

fn the_host(path: &str) {
    let world = made(path);
    assert_eq!(world.host.tcp("192.0.2.1:80"), ip("192.0.2.1"));
    assert_eq!(world.host.udp("192.0.2.1:8080"), ip("192.0.2.1"));
    assert_eq!(world.host.tcp("[2001:db8::1]:8080"), ip("2001:db8::1"));
    // The relay's.
    world.host.cannot("127.0.0.1:80");
    world.host.cannot("[::1]:8080");
    assert_eq!(world.host.tcp("192.0.2.2:80"), ip("192.0.2.1"));
}

/// There is no relay here: nobody answers.
fn from_containers(path: &str) {
    let world = made(path);
    for container in [&world.containers[OPEN][0], &world.containers[OPEN][1], &world.containers[OTHER][0]] {
        container.cannot("192.0.2.1:80");
        container.cannot("[2001:db8::1]:8080");
    }
}

fn isolation(path: &str) {
    let world = made(path);
    world.containers[OPEN][0].cannot("172.30.1.2:80");
    world.containers[OTHER][0].cannot("172.30.0.2:80");
    world.containers[OPEN][0].cannot("[fd00:1::2]:80");
    world.containers[OPEN][0].cannot("172.30.3.2:80");
}

fn internal(path: &str) {
    let world = made(path);
    let [one, _] = &world.containers[INTERNAL];
    one.cannot("192.0.2.2:80");
    one.cannot("[2001:db8::2]:80");
    one.cannot("172.30.0.2:80");
    one.cannot("192.0.2.1:80");
    world.outside.cannot("192.0.2.1:8083");
    world.outside.cannot("172.30.2.2:80");
    world.containers[OPEN][0].cannot("172.30.2.2:80");
    assert_eq!(one.tcp("172.30.2.3:80"), ip("172.30.2.2"));
    assert_eq!(one.tcp("[fd00:2::3]:80"), ip("fd00:2::2"));
}

fn apart(path: &str) {
    let world = made(path);
    let filtered = world.host.run(|| std::fs::read_to_string("/proc/sys/net/bridge/bridge-nf-call-iptables"));
    if !filtered.is_ok_and(|text| text.trim() == "1") {
        println!("skipped: what stays in a bridge is not filtered here");
        return;
    }
    world.containers[APART][0].cannot("172.30.3.3:80");
    world.containers[APART][0].cannot("[fd00:3::3]:80");
}

fn direct(path: &str) {
    let world = made(path);
    world.outside.cannot("172.30.0.2:80");
    world.outside.cannot("[fd00:0::2]:80");
    world.outside.cannot("172.30.3.2:80");
    // What containers sent out comes back nevertheless.
    assert!(world.containers[OPEN][0].tcp("192.0.2.2:80").is_some());
}

fn routed(path: &str) {
    let world = World::new(path);
    let mut wanted = wanted();
    wanted.networks[OPEN].routed = true;
    wanted.networks[OPEN].masquerade = false;
    world.apply(&wanted);
    assert_eq!(world.outside.tcp("172.30.0.2:80"), ip("192.0.2.2"));
    assert_eq!(world.containers[OPEN][0].tcp("192.0.2.2:80"), ip("172.30.0.2"));
    world.containers[OTHER][0].cannot("172.30.0.2:80");
}
