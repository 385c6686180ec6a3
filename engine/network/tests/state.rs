//! What is in the kernel: idempotence, noticing what others took away, making it anew, and leaving nothing.

use std::net::UdpSocket;

use berth_network::Protocol::{Tcp, Udp};
use berth_network::firewall::{Owner, Wanted, Watch, by_name};

use crate::OnPath;
use crate::world::{OWNER, World, ask, network, port, wanted};

pub(crate) const TESTS: &[OnPath] = &[
    ("additions and removals are idempotent", idempotent),
    ("what others take away is noticed and made anew", noticed),
    ("nothing stays behind", removed),
    ("the rules of others are not touched", others),
    ("a port's new container gets what old clients send", moved),
    ("several add ports at once", at_once),
];

fn idempotent(path: &str) {
    let world = World::new(path);
    world.apply(&wanted());
    world.apply(&wanted());
    world.with(|path, owner| {
        let mut wanted = wanted();
        assert!(path.is_intact(owner, &wanted).unwrap());
        let gone = wanted.ports.remove(0);
        path.unpublish(owner, std::slice::from_ref(&gone)).unwrap();
        path.unpublish(owner, std::slice::from_ref(&gone)).unwrap();
        assert!(path.is_intact(owner, &wanted).unwrap());
        let with = Wanted { networks: Vec::new(), ports: vec![gone] };
        assert!(path.name() != "nft" || !path.is_intact(owner, &with).unwrap());
        let network = wanted.networks.remove(3);
        path.remove_network(owner, &network).unwrap();
        path.remove_network(owner, &network).unwrap();
        assert!(path.is_intact(owner, &wanted).unwrap());
        path.add_network(owner, &network).unwrap();
        wanted.networks.push(network);
        assert!(path.is_intact(owner, &wanted).unwrap());
    });
    assert!(world.outside.tcp("192.0.2.1:80").is_some());
}

fn noticed(path: &str) {
    let world = World::new(path);
    world.apply(&wanted());
    let injuries: &[&str] = match path {
        "nft" => &[
            "nft flush ruleset",
            "nft flush table ip berth-0badcafe",
            "nft flush table ip6 berth-0badcafe",
            "nft flush chain ip berth-0badcafe from-b0",
            "nft flush map ip berth-0badcafe ports",
            "nft delete element ip berth-0badcafe bridges { b1 }",
        ],
        "iptables-nft" => &[
            "nft flush ruleset",
            "iptables-nft -F",
            "iptables-nft -t nat -F",
            "iptables-nft -D FORWARD -j BERTH-0badcafe-FWD",
            "ip6tables-nft -t nat -F PREROUTING",
        ],
        _ => &[
            "iptables-legacy -F",
            "iptables-legacy -t nat -F",
            "iptables-legacy -D FORWARD -j BERTH-0badcafe-FWD",
            "ip6tables-legacy -t nat -F PREROUTING",
        ],
    };
    for injury in injuries {
        let name = world.path;
        let mut watch = world.host.run(move || {
            let mut watch = Watch::open(name).unwrap();
            assert!(!watch.changed().unwrap());
            watch
        });
        let intact = || world.with(|path, owner| path.is_intact(owner, &wanted()).unwrap());
        assert!(intact(), "before {injury}");
        world.host.command(injury);
        let told = world.host.run(move || watch.changed().unwrap());
        assert!(told, "nobody is told of {injury}");
        assert!(!intact(), "{injury} is not noticed");
        world.with(|path, owner| path.restore(owner, &wanted()).unwrap());
        assert!(intact(), "after {injury}");
        assert!(world.outside.tcp("192.0.2.1:80").is_some(), "after {injury}");
    }
}

fn removed(path: &str) {
    let world = World::new(path);
    world.apply(&wanted());
    world.with(|path, owner| {
        // A second owner's, whose name begins alike.
        let other = Owner("berth".into());
        path.add_network(&other, &network(0)).unwrap();
        path.publish(&other, &[port(Tcp, "0.0.0.0:1", "172.30.0.2:1")]).unwrap();
        assert!(!path.found(owner).unwrap().is_empty());
        path.remove(&other).unwrap();
        path.remove(&other).unwrap();
        assert_eq!(path.found(&other).unwrap(), Vec::<String>::new());
        assert!(path.is_intact(owner, &wanted()).unwrap());
        path.remove(owner).unwrap();
        assert_eq!(path.found(owner).unwrap(), Vec::<String>::new());
    });
    let rules =
        ["iptables-legacy-save", "ip6tables-legacy-save", "nft list ruleset"].map(|line| world.host.command(line));
    assert!(!rules.concat().to_lowercase().contains("berth"), "{rules:?}");
}

fn others(path: &str) {
    let world = World::new(path);
    let variant = if path == "iptables-legacy" { "legacy" } else { "nft" };
    let list = || {
        let mut lines = world.host.command(&format!("iptables-{variant}-save"));
        lines.retain(|character| !character.is_ascii_digit());
        let ours = |line: &&str| !line.to_lowercase().contains("berth") && !line.starts_with(['#', '*', 'C', ':']);
        lines.lines().filter(ours).map(str::to_owned).collect::<Vec<_>>()
    };
    world.host.command(&format!("iptables-{variant} -N DOCKER"));
    world.host.command(&format!("iptables-{variant} -A FORWARD -o docker0 -j DOCKER"));
    world.host.command(&format!("iptables-{variant} -A DOCKER -d 10.1.1.1 -j ACCEPT"));
    let before = list();
    world.apply(&wanted());
    assert_eq!(list(), before);
    world.with(|path, owner| path.restore(owner, &wanted()).unwrap());
    assert_eq!(list(), before);
    world.with(|path, owner| path.remove(owner).unwrap());
    assert_eq!(list(), before);
}

fn moved(path: &str) {
    let world = World::new(path);
    let mut wanted = wanted();
    wanted.ports = vec![port(Udp, "0.0.0.0:53", "172.30.0.2:80")];
    world.apply(&wanted);
    let client = world.outside.run(|| UdpSocket::bind("192.0.2.2:4000").unwrap());
    let to = "192.0.2.1:53".parse().unwrap();
    assert!(ask(&client, to).is_some());
    // A container's own question to the same number elsewhere.
    let other = world.containers[0][1].run(|| UdpSocket::bind("172.30.0.3:4001").unwrap());
    assert!(ask(&other, "192.0.2.2:80".parse().unwrap()).is_some());
    let old = wanted.ports[0].clone();
    let new = port(Udp, "0.0.0.0:53", "172.30.0.3:80");
    world.with({
        let new = new.clone();
        move |path, owner| {
            path.unpublish(owner, &[old]).unwrap();
            path.publish(owner, &[new]).unwrap();
        }
    });
    assert!(ask(&client, to).is_some());
    let entries = world.host.run(|| std::fs::read_to_string("/proc/thread-self/net/nf_conntrack"));
    if let Ok(entries) = entries {
        assert!(entries.lines().any(|line| line.contains("dport=53") && line.contains("src=172.30.0.3")), "{entries}");
    }
}

/// Each its own, and the same network at the same time.
fn at_once(path: &str) {
    let world = World::new(path);
    let count = if path == "nft" { 500 } else { 10 };
    let name = world.path;
    world.host.run(move || {
        let add = |first: u16| {
            let path = by_name(name).unwrap();
            let owner = Owner(OWNER.into());
            path.add_network(&owner, &network(0)).unwrap();
            for number in first..first + count {
                let (host, to) = (format!("0.0.0.0:{number}"), format!("172.30.0.2:{number}"));
                path.publish(&owner, &[port(Tcp, &host, &to)]).unwrap();
            }
        };
        // Threads begin in the namespace of the one that starts them.
        std::thread::scope(|scope| {
            scope.spawn(|| add(1000));
            scope.spawn(|| add(2000));
        });
        let ports = [1000, 2000].into_iter().flat_map(|first| first..first + count);
        let ports =
            ports.map(|number| port(Tcp, &format!("0.0.0.0:{number}"), &format!("172.30.0.2:{number}"))).collect();
        let wanted = Wanted { networks: vec![network(0)], ports };
        assert!(by_name(name).unwrap().is_intact(&Owner(OWNER.into()), &wanted).unwrap());
    });
}
