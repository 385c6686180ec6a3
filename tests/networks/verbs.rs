use std::time::{Duration, Instant};

use crate::support::eventually;
use crate::support::lan::ip;

both! {
    fn a_network_is_made_shown_and_removed(world) {
        let flags = [
            "--subnet", "10.7.0.0/24", "--gateway", "10.7.0.9", "--ip-range", "10.7.0.128/25", "--label", "a=b",
            "-o", "com.docker.network.bridge.name=mine", "-o", "com.docker.network.driver.mtu=1400",
        ];
        let id = world.berth(&[&["network", "create"], &flags[..], &["net"]].concat()).ok().text();
        assert_eq!(id.len(), 64);
        let shown = &world.berth(&["network", "inspect", "net"]).ok().json()[0];
        assert_eq!(shown["IPAM"]["Config"][0]["Gateway"], "10.7.0.9");
        assert_eq!(shown["Labels"]["a"], "b");
        assert!(ip(world.net(), "-o addr show dev mine").contains("10.7.0.9/24"));
        world.start(&["--name", "one", "--network", "net"], "exec sleep 1000");
        let inside = world.berth(&["exec", "one", "ip", "addr", "show", "dev", "eth0"]).ok().out();
        assert!(inside.contains("10.7.0.128/24") && inside.contains("mtu 1400"), "{inside}");
        let routes = world.berth(&["exec", "one", "ip", "route"]).ok().out();
        assert!(routes.contains("default via 10.7.0.9"), "{routes}");
        assert_eq!(world.berth(&["network", "inspect", "-f", "{{len .Containers}}", "net"]).ok().text(), "1");
        world.berth(&["network", "rm", "net"]).refused(1, &["has active endpoints", "one"]);
        world.berth(&["network", "rm", "bridge"]).refused(1, &["pre-defined network"]);
        // A kill is over when the container has ended.
        world.berth(&["kill", "one"]).ok();
        world.berth(&["rm", "one"]).ok();
        world.berth(&["create", "--name", "one", "--network", "net", "box", "true"]).ok();
        assert_eq!(world.berth(&["network", "rm", "net"]).ok().text(), "net");
        world.berth(&["start", "one"]).refused(1, &["network net not found"]);
        world.berth(&["rm", "one"]).ok();
        assert!(!ip(world.net(), "-o link").contains("mine"));
        let events = world.berth(&["events", "--since", "1h", "--until", "0s", "--filter", "type=network"]).ok().out();
        let actions: Vec<_> = events.lines().filter_map(|line| line.split(' ').nth(2)).collect();
        assert_eq!(actions, ["create", "connect", "disconnect", "destroy"], "{events}");
    }

    fn the_host_is_as_it_was_when_the_last_container_has_gone(world) {
        // iptables' own tables and chains stay, where berth changes rules by its program.
        for chain in ["filter -P FORWARD", "nat -P PREROUTING", "nat -P OUTPUT", "nat -P POSTROUTING"] {
            world.shell(&format!("iptables-nft -t {chain} ACCEPT")).ok();
        }
        world.shell("nft 'add table ip6 filter; add table ip6 nat'").ok();
        let state = || {
            let links = ip(world.net(), "-o link");
            let names: Vec<String> = links.lines().map(|line| line.split(": ").nth(1).unwrap_or_default().to_owned()).collect();
            (names, world.shell("cat /proc/sys/net/ipv4/ip_forward; nft list ruleset").ok().out())
        };
        let before = state();
        // What `--rm` removes may go a moment after the program's end.
        let as_before = || {
            let end = Instant::now() + Duration::from_secs(10);
            while state() != before && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(20));
            }
            assert_eq!(state(), before);
        };
        world.start(&["--name", "one", "-p", "8080:80"], "exec sleep 1000");
        world.run(&["--rm", "box", "true"]).ok();
        assert_ne!(state(), before);
        world.berth(&["rm", "-f", "one"]).ok();
        as_before();
        world.berth(&["network", "create", "net"]).ok();
        world.run(&["--rm", "--network", "net", "box", "true"]).ok();
        world.berth(&["network", "prune", "-f"]).ok();
        as_before();
        assert_eq!(world.berth(&["system", "check"]).ok().text(), "nothing is missing or left over");
    }

    fn addresses_are_asked_for_kept_and_given_back(world) {
        world.berth(&["network", "create", "--subnet", "10.8.0.0/29", "net"]).ok();
        world.start(&["--name", "one", "--network", "net", "--ip", "10.8.0.5", "--mac-address", "02:00:00:00:00:55"], "exec sleep 1000");
        let seen = world.berth(&["exec", "one", "ip", "addr", "show", "dev", "eth0"]).ok().out();
        assert!(seen.contains("10.8.0.5/29") && seen.contains("02:00:00:00:00:55"), "{seen}");
        world.run(&["-d", "--network", "net", "--ip", "10.8.0.5", "box", "true"]).refused(125, &["Address already in use"]);
        world.berth(&["rm", world.berth(&["ps", "-aq", "--filter", "status=created"]).ok().text().as_str()]).ok();
        // One that does not run gives its address to who needs it, and gets another one.
        world.berth(&["stop", "-t", "0", "one"]).ok();
        world.start(&["--name", "two", "--network", "net", "--ip", "10.8.0.5"], "exec sleep 1000");
        world.berth(&["start", "one"]).refused(1, &["Address already in use"]);
        world.berth(&["rm", "-f", "two"]).ok();
        world.berth(&["start", "one"]).ok();
        assert_eq!(world.inspect("one", "{{(index .NetworkSettings.Networks \"net\").IPAddress}}"), "10.8.0.5");
    }

    fn a_container_keeps_its_networks_over_restarts(world) {
        world.berth(&["network", "create", "net"]).ok();
        world.start(&["--name", "one", "-p", "8080:80", "--restart", "always"], "echo up; sleep 0.3; exit 1");
        world.berth(&["network", "connect", "net", "one"]).ok();
        crate::support::eventually("it was restarted", std::time::Duration::from_secs(20), || {
            world.inspect("one", "{{.RestartCount}}").parse::<u32>().is_ok_and(|count| count >= 2)
        });
        assert_eq!(world.inspect("one", "{{len .NetworkSettings.Networks}}"), "2");
        world.berth(&["stop", "-t", "0", "one"]).ok();
        assert_eq!(world.inspect("one", "{{len .NetworkSettings.Ports}}"), "0");
        assert_eq!(world.berth(&["system", "check"]).ok().text(), "nothing is missing or left over");
    }

    fn interfaces_of_a_parent_come_from_it(world) {
        ip(world.net(), "link add up0 type veth peer name up1");
        ip(world.net(), "link set up0 up");
        ip(world.net(), "link set up1 up");
        ip(world.net(), "addr add 10.9.0.1/24 dev up1");
        world.berth(&["network", "create", "-d", "macvlan", "--subnet", "10.9.0.0/24", "--gateway", "10.9.0.1", "-o", "parent=up0", "mac"]).ok();
        world.start(&["--name", "one", "--network", "mac"], "exec sleep 1000");
        let seen = world.sh(&["--network", "mac"], "ip -d link show eth0; ping -c1 -W2 10.9.0.1 >/dev/null && echo out; ping -c1 -W2 10.9.0.2 >/dev/null && echo beside");
        assert!(seen.contains("out") && seen.contains("beside"), "{seen}");
        world.berth(&["network", "create", "-d", "macvlan", "--subnet", "10.10.0.0/24", "-o", "parent=nosuch", "bad"]).refused(1, &["nosuch"]);
        assert!(!world.berth(&["network", "ls", "--format", "{{.Name}}"]).ok().lines().contains(&"bad".to_owned()));
        let ipvlan = world.berth(&["network", "create", "-d", "ipvlan", "--subnet", "10.11.0.0/24", "-o", "parent=up0", "ipv"]).ok();
        let outcome = world.run(&["--rm", "--network", "ipv", "box", "true"]);
        if outcome.code != 0 {
            // Kernels without it say so.
            outcome.refused(125, &["this kernel has no such interfaces"]);
        }
        drop(ipvlan);
    }

    /// Guards against a container that kept its place in a network by another name of its interface.
    fn a_renamed_interface_is_disconnected_all_the_same(world) {
        world.berth(&["network", "create", "net"]).ok();
        let rename = "ip link set eth0 down && ip link set eth0 name other && ip link set other up; exec sleep 1000";
        world.start(&["--name", "odd", "--cap-add", "NET_ADMIN", "--network", "net"], rename);
        let links = || world.berth(&["exec", "odd", "ip", "-o", "link"]).ok().text();
        eventually("a renamed interface", Duration::from_secs(10), || links().contains("other"));
        world.berth(&["network", "disconnect", "net", "odd"]).ok();
        assert!(!links().contains("other"), "{}", links());
        world.berth(&["network", "rm", "net"]).ok();
    }

    /// Guards against a container that ran without any network when its own was removed.
    fn a_removed_network_is_missed_at_the_start(world) {
        world.berth(&["network", "create", "net"]).ok();
        world.berth(&["create", "--name", "one", "--network", "net", "box", "sleep", "1000"]).ok();
        world.berth(&["network", "rm", "net"]).ok();
        world.berth(&["start", "one"]).refused(1, &["network net not found"]);
        world.berth(&["network", "create", "net"]).ok();
        world.berth(&["start", "one"]).ok();
        assert!(world.berth(&["exec", "one", "ip", "-o", "link"]).ok().text().contains("eth0"));
        world.berth(&["network", "disconnect", "net", "one"]).ok();
        world.berth(&["restart", "-t", "0", "one"]).ok();
        assert!(!world.berth(&["exec", "one", "ip", "-o", "link"]).ok().text().contains("eth0"));
    }
}
