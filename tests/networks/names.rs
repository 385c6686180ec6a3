use std::net::UdpSocket;
use std::time::Duration;

use crate::support::lan::{PEER, Peer};
use crate::support::{World, eventually};

/// The addresses that a name has, as a program inside sees them.
fn resolved(world: &World, from: &str, name: &str) -> Vec<String> {
    let script = format!("nslookup {name} | sed -n '/^Name/,$p' | sed -n 's/^Address: *//p'");
    let mut found = world.berth(&["exec", from, "sh", "-c", &script]).ok().lines();
    found.sort();
    found.dedup();
    found
}

fn address(world: &World, name: &str, network: &str) -> String {
    world.inspect(name, &format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}"))
}

both! {
    fn containers_of_a_users_network_find_each_other(world) {
        world.berth(&["network", "create", "net"]).ok();
        let id = world.start(&["--name", "One", "--network", "net", "--network-alias", "db"], "exec sleep 1000");
        world.start(&["--name", "two", "--network", "net", "--network-alias", "DB"], "exec sleep 1000");
        world.start(&["--name", "asks", "--network", "net", "--link", "One:uno"], "exec sleep 1000");
        let (one, two) = (address(world, "One", "net"), address(world, "two", "net"));
        for name in ["one", "ONE", "one.net", "uno", &id[..12]] {
            assert_eq!(resolved(world, "asks", name), [one.as_str()], "{name}");
        }
        let mut both = [one.clone(), two.clone()];
        both.sort();
        assert_eq!(resolved(world, "asks", "db"), both);
        let reverse = world.berth(&["exec", "asks", "nslookup", &one]).ok().out();
        assert!(reverse.contains("name = one.net"), "{reverse}");
        // What ends is not found any more, and what comes again is.
        world.berth(&["stop", "-t", "0", "two"]).ok();
        assert_eq!(resolved(world, "asks", "db"), [one.as_str()]);
        world.berth(&["start", "two"]).ok();
        assert_eq!(resolved(world, "asks", "db"), both);
        world.berth(&["network", "disconnect", "net", "One"]).ok();
        assert_eq!(resolved(world, "asks", "db"), [two.as_str()]);
        world.berth(&["network", "connect", "--alias", "later", "net", "One"]).ok();
        assert_eq!(resolved(world, "asks", "later").len(), 1);
        // A container that was killed with its monitor is not found either.
        let monitor = world.shell(&format!("cat {}/root/containers/{id}/state.json", world.at(""))).ok().json();
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(monitor["monitor_pid"].as_i64().unwrap() as i32),
            nix::sys::signal::Signal::SIGKILL,
        )
        .unwrap();
        world.until_status("One", "exited");
        eventually("the name goes", Duration::from_secs(10), || resolved(world, "asks", "later").is_empty());
    }

    fn names_are_of_one_network_alone(world) {
        world.berth(&["network", "create", "left"]).ok();
        world.berth(&["network", "create", "right"]).ok();
        world.start(&["--name", "one", "--network", "left"], "exec sleep 1000");
        world.start(&["--name", "asks", "--network", "right"], "exec sleep 1000");
        assert!(resolved(world, "asks", "one").is_empty());
        world.berth(&["network", "connect", "left", "asks"]).ok();
        assert_eq!(resolved(world, "asks", "one").len(), 1);
        let routes = world.berth(&["exec", "asks", "ip", "route"]).ok().out();
        assert_eq!(routes.matches("default").count(), 1, "{routes}");
    }

    fn the_default_network_has_hosts_and_links(world) {
        world.start(&["--name", "db", "--expose", "5432", "-e", "VERSION=15"], "exec sleep 1000");
        let address = address(world, "db", "bridge");
        let seen = world.sh(&["--link", "db:sql"], "cat /etc/hosts; env; ping -c1 -W2 sql >/dev/null && echo reached");
        assert!(seen.contains(&format!("{address}\tsql ")) && seen.ends_with("reached"), "{seen}");
        assert!(seen.contains(&format!("SQL_PORT_5432_TCP_ADDR={address}")) && seen.contains("SQL_ENV_VERSION=15"), "{seen}");
        world.berth(&["stop", "-t", "0", "db"]).ok();
        world.run(&["--rm", "--link", "db", "box", "true"]).refused(125, &["Cannot link to a non running container: /db"]);
        let hosts = world.sh(&["-h", "me", "--add-host", "up:host-gateway", "--add-host", "x:10.1.1.1"], "cat /etc/hosts");
        assert!(hosts.contains("172.17.0.1\tup") && hosts.contains("10.1.1.1\tx") && hosts.contains("\tme"), "{hosts}");
    }

    fn questions_for_others_go_to_the_servers_that_were_named(world) {
        let peer = Peer::of(world);
        let server = peer.net().within(|| UdpSocket::bind((PEER, 53)).unwrap());
        server.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // Answers one address to everything, with the question as it came.
        let answering = std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = server.recv_from(&mut buffer) {
                let question = &buffer[12..length.min(12 + buffer[12..length].iter().position(|&b| b == 0).unwrap() + 5)];
                if question.starts_with(b"\x04stop") {
                    return;
                }
                let mut answer = buffer[..2].to_vec();
                answer.extend([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
                answer.extend(question);
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 9]);
                let _ = server.send_to(&answer, from);
            }
        });
        world.berth(&["network", "create", "net"]).ok();
        world.berth(&["network", "create", "--internal", "inner"]).ok();
        let flags = ["--network", "net", "--dns", PEER, "--dns-search", "example", "--dns-option", "ndots:2"];
        let seen = world.sh(&flags, "cat /etc/resolv.conf; nslookup -type=a www.example.org");
        assert!(seen.contains("nameserver 127.0.0.11\nsearch example\noptions ndots:2"), "{seen}");
        assert!(seen.contains("203.0.113.9"), "{seen}");
        // From an internal network nothing gets out, not by questions either.
        let outcome = world.run(&["--rm", "--network", "inner", "--dns", PEER, "box", "nslookup", "www.example.org"]);
        assert!(outcome.code != 0 && !outcome.out().contains("203.0.113.9"), "{outcome}");
        world.net().within(|| UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"0123456789ab\x04stop\x00\x00\x01\x00\x01", (PEER, 53)).unwrap());
        answering.join().unwrap();
    }
}
