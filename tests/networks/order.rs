use std::time::Duration;

use crate::support::lan::{HOST, PEER, Peer, Servers, greeting, ip};
use crate::support::net::Net;
use crate::support::{Mode, World, eventually, kernel};

/// A published container that tells who asks: through the kernel it is the peer, through the relay it would be the host.
fn published(world: &World) -> Servers {
    world.start(&["--name", "web", "-p", "8080:80"], "exec sleep 1000");
    Servers::start(&Net::of(&world.inspect("web", "{{.State.Pid}}")), "web", &["0.0.0.0:80"], &[])
}

fn is_whole(peer: &Peer) -> bool {
    greeting(peer.net(), &format!("{HOST}:8080")).as_deref() == Some(&format!("web {PEER}"))
}

fn flushed(mode: Mode, hidden: &str, flushes: &[&str]) {
    let world = World::bare(mode);
    if !hidden.is_empty() {
        world.set("BERTH_PRETEND_WITHOUT", hidden);
        if mode == Mode::Daemon {
            world.stop_daemon();
            world.start_daemon();
        }
    }
    world.import_box();
    let peer = Peer::of(&world);
    let _servers = published(&world);
    assert!(is_whole(&peer));
    for flush in flushes {
        world.shell(flush).ok();
        // Nobody is left waiting meanwhile: the relay answers.
        assert!(greeting(peer.net(), &format!("{HOST}:8080")).is_some(), "{flush}");
        if mode == Mode::Embedded {
            assert!(!is_whole(&peer), "{flush}");
            world.berth(&["ps"]).ok();
            assert!(is_whole(&peer), "{flush}");
        } else {
            eventually(flush, Duration::from_secs(10), || is_whole(&peer));
        }
    }
}

const NFT: &[&str] = &["nft flush ruleset", "nft list tables | sed 's/^/flush /' | nft -f -"];

#[test]
fn flushed_tables_come_back_while_a_daemon_runs() {
    flushed(Mode::Daemon, "", NFT);
}

#[test]
fn flushed_tables_come_back_with_the_next_command() {
    if kernel::lacks("nf_tables", (3, 13)) {
        return;
    }
    flushed(Mode::Embedded, "", NFT);
}

#[test]
fn flushed_chains_come_back_while_a_daemon_runs() {
    let flush = ["iptables-nft -F && iptables-nft -t nat -F", "nft flush ruleset"];
    flushed(Mode::Daemon, "nft", &flush);
}

#[test]
fn flushed_chains_come_back_with_the_next_command() {
    if kernel::lacks("nf_tables", (3, 13)) {
        return;
    }
    flushed(Mode::Embedded, "nft", &["iptables-nft -F && iptables-nft -t nat -F"]);
}

#[test]
fn chains_of_the_old_iptables_come_back_too() {
    let flush = ["iptables-legacy -F && iptables-legacy -t nat -F"];
    flushed(Mode::Daemon, "nft,iptables-nft", &flush);
    flushed(Mode::Embedded, "nft,iptables-nft", &flush);
}

#[test]
fn what_others_have_is_left_alone() {
    let world = World::new(Mode::Embedded);
    let rules = "nft add table ip theirs && nft add chain ip theirs c '{ type filter hook forward priority 5 ; }' && \
                 nft add rule ip theirs c counter";
    world.shell(rules).ok();
    let theirs = || world.shell("nft list table ip theirs | grep -v counter").ok().out();
    let before = theirs();
    world.start(&["--name", "web", "-p", "8080:80"], "exec sleep 1000");
    world.berth(&["system", "check", "--repair"]).ok();
    world.berth(&["rm", "-f", "web"]).ok();
    assert_eq!(theirs(), before);
}

#[test]
fn what_is_left_over_is_found_and_removed_on_request() {
    let world = World::new(Mode::Embedded);
    world.berth(&["network", "create", "net"]).ok();
    world.start(&["--name", "web", "--network", "net", "-p", "8080:80"], "exec sleep 1000");
    let bridge = format!("br-{}", &world.berth(&["network", "inspect", "-f", "{{.Id}}", "net"]).ok().text()[..12]);
    // An end that belongs to nobody, and an address that is gone.
    ip(world.net(), "link add veth0123456789a type veth peer name left1");
    ip(world.net(), &format!("link set veth0123456789a master {bridge}"));
    ip(world.net(), &format!("addr flush dev {bridge}"));
    let found = world.berth(&["system", "check"]).ended(1).out();
    assert!(found.contains("veth0123456789a") && found.contains("left over"), "{found}");
    assert!(found.contains("address") && found.contains("missing"), "{found}");
    world.berth(&["system", "check", "--repair"]).ok();
    assert_eq!(world.berth(&["system", "check"]).ok().text(), "nothing is missing or left over");
    assert!(!ip(world.net(), "-o link").contains("veth0123456789a"));
}

#[test]
fn a_bridge_and_interfaces_that_somebody_removed_come_back_on_request() {
    let world = World::new(Mode::Embedded);
    world.berth(&["network", "create", "-o", "com.docker.network.bridge.name=br7", "net"]).ok();
    let web = ["--name", "web", "--network", "net", "-p", "8080:80"];
    world.start(&web, "exec sleep 1000");
    world.start(&["--name", "other", "--network", "net"], "exec sleep 1000");
    let end = || {
        let list = ip(world.net(), "-o link show master br7");
        list.split(": ").nth(1).and_then(|name| name.split('@').next()).expect("an interface").to_owned()
    };
    let ruins: [(&dyn Fn() -> String, &str); 5] = [
        (&|| "link del br7".to_owned(), "missing"),
        (&|| "link set br7 down".to_owned(), "down"),
        (&|| format!("link set {} nomaster", end()), "apart"),
        (&|| format!("link set {} down", end()), "down"),
        (&|| format!("link del {}", end()), "missing"),
    ];
    for (ruin, state) in ruins {
        let ruin = ruin();
        ip(world.net(), &ruin);
        let found = world.berth(&["system", "check"]).ended(1).out();
        assert!(found.contains(state), "{ruin}: {found}");
        world.berth(&["system", "check", "--repair"]).ok();
        assert_eq!(world.berth(&["system", "check"]).ok().text(), "nothing is missing or left over");
        world.berth(&["exec", "other", "ping", "-c", "1", "-W", "5", "web"]).ok();
        world.berth(&["exec", "web", "ping", "-c", "1", "-W", "5", "other"]).ok();
    }
    // The next container that needs the bridge brings the others back to it, too.
    ip(world.net(), "link del br7");
    world.run(&["--rm", "--network", "net", "box", "ping", "-c", "1", "-W", "5", "web"]).ok();
    world.berth(&["exec", "other", "ping", "-c", "1", "-W", "5", "web"]).ok();
}
