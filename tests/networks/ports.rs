use std::net::TcpListener;
use std::time::Duration;

use crate::support::lan::{HOST, Peer};
use crate::support::{World, eventually};

fn ports(world: &World, name: &str) -> Vec<String> {
    world.berth(&["port", name]).ok().lines()
}

both! {
    fn ports_are_published_in_all_forms(world) {
        world.start(
            &["--name", "one", "-p", "80", "-p", ":81", "-p", "5000:82", "-p", "127.0.0.1:5001:83", "-p", "127.0.0.1::84",
              "-p", "6000-6002:90-92", "-p", "7000-7010:93", "-p", "53:53/udp", "-p", "[::1]:5002:85",
              "-p", "target=86,published=5003,protocol=tcp"],
            "exec sleep 1000",
        );
        let list = ports(world, "one");
        let has = |line: &str| assert!(list.iter().any(|found| found == line), "{line}: {list:?}");
        for line in [
            "81/tcp -> 0.0.0.0:81", "82/tcp -> 0.0.0.0:5000", "82/tcp -> [::]:5000", "83/tcp -> 127.0.0.1:5001",
            "90/tcp -> 0.0.0.0:6000", "92/tcp -> [::]:6002", "93/tcp -> 0.0.0.0:7000", "53/udp -> 0.0.0.0:53",
            "85/tcp -> [::1]:5002", "86/tcp -> 0.0.0.0:5003",
        ] {
            has(line);
        }
        assert!(!list.iter().any(|line| line.starts_with("83/tcp -> 0.0.0.0") || line.starts_with("83/tcp -> [")), "{list:?}");
        let of = |port: &str| world.berth(&["port", "one", port]).ok().lines();
        let number = |line: &String| line.rsplit(':').next().unwrap().parse::<u16>().unwrap();
        let free: Vec<u16> = of("80").iter().map(number).collect();
        assert!(free.len() == 2 && free[0] == free[1] && free[0] > 1024, "{free:?}");
        assert!(of("84/tcp").len() == 1);
        world.berth(&["port", "one", "99"]).refused(1, &["No public port '99' published for one"]);
    }

    fn exposed_ports_are_published_together(world) {
        world.start(&["--name", "one", "-P", "--expose", "80", "--expose", "90-91/udp"], "exec sleep 1000");
        let list = ports(world, "one");
        assert_eq!(list.len(), 6, "{list:?}");
        world.start(&["--name", "two", "--expose", "80"], "exec sleep 1000");
        assert!(ports(world, "two").is_empty());
        assert_eq!(world.berth(&["ps", "--filter", "name=two", "--format", "{{.Ports}}"]).ok().text(), "80/tcp");
        // Of a container that does not run, or has no network of its own, nothing is shown, as in Docker.
        world.berth(&["stop", "-t", "0", "two"]).ok();
        world.berth(&["create", "--name", "three", "--expose", "80", "box", "true"]).ok();
        world.start(&["--name", "four", "--network", "host", "--expose", "80"], "exec sleep 1000");
        for name in ["two", "three", "four"] {
            let filter = format!("name={name}");
            assert_eq!(world.berth(&["ps", "-a", "--filter", &filter, "--format", "{{.Ports}}"]).ok().text(), "");
            assert_eq!(world.inspect(name, "{{json .NetworkSettings.Ports}}"), "{}");
        }
    }

    fn ports_are_given_back_with_the_last_network_that_leads_outside(world) {
        world.berth(&["network", "create", "out"]).ok();
        world.berth(&["network", "create", "--internal", "in"]).ok();
        world.start(&["--name", "one", "--network", "in", "--network", "out", "-p", "8080:80"], "exec sleep 1000");
        assert_eq!(ports(world, "one").len(), 2);
        world.berth(&["stop", "-t", "0", "one"]).ok();
        world.berth(&["network", "disconnect", "out", "one"]).ok();
        world.berth(&["start", "one"]).ok();
        assert!(ports(world, "one").is_empty());
        world.start(&["--name", "two", "-p", "8080:80"], "exec sleep 1000");
    }

    fn a_port_has_one_owner(world) {
        world.start(&["--name", "one", "-p", "8080:80"], "exec sleep 1000");
        let taken = |flags: &[&str]| world.run(&[&["-d"], flags, &["box", "true"]].concat());
        taken(&["-p", "8080:80"]).refused(125, &["Bind for 0.0.0.0:8080 failed: port is already allocated", "driver failed programming external connectivity"]);
        taken(&["-p", "127.0.0.1:8080:80"]).refused(125, &["port is already allocated"]);
        // Another protocol is another port, and a range has more.
        world.start(&["--name", "two", "-p", "8080:80/udp", "-p", "8080-8081:80"], "exec sleep 1000");
        assert!(ports(world, "two").contains(&"80/tcp -> 0.0.0.0:8081".to_owned()));
        // Against programs outside: the port is held, both ways.
        let held = |at: &str| world.net().within(|| TcpListener::bind(at));
        assert!(held("0.0.0.0:8080").is_err() && held("127.0.0.1:8080").is_err() && held("[::]:8080").is_err());
        let _outside = held("127.0.0.1:8090").unwrap();
        taken(&["-p", "8090:80"]).refused(125, &["failed to bind host port 0.0.0.0:8090/tcp: address already in use"]);
        taken(&["-p", "192.0.2.77:8091:80"]).refused(125, &["cannot assign requested address"]);
        // One that has ended gives it up.
        world.berth(&["stop", "-t", "0", "one"]).ok();
        assert!(held("0.0.0.0:8080").is_ok());
        world.start(&["--name", "three", "-p", "8080:80"], "exec sleep 1000");
        world.berth(&["start", "one"]).refused(1, &["port is already allocated"]);
    }

    fn what_is_thrown_away_gives_back_its_name_its_address_and_its_port_however_long_that_takes(world) {
        world.berth(&["network", "create", "--subnet", "10.8.0.0/24", "net"]).ok();
        for _ in 0..3 {
            world.start(
                &["--rm", "--name", "one", "--network", "net", "--ip", "10.8.0.9", "-p", "8080:80"],
                "mkdir /many && cd /many && seq 5000 | xargs touch && touch /ready && exec sleep 1000",
            );
            eventually("it has its files", Duration::from_secs(30), || {
                world.berth(&["exec", "one", "test", "-e", "/ready"]).code == 0
            });
            world.berth(&["stop", "-t", "0", "one"]).ok();
            // Also while its files go.
            world.berth(&["ps", "-as"]).ok();
        }
    }

    fn a_network_may_say_where_ports_are_public(world) {
        let _peer = Peer::of(world);
        let option = format!("com.docker.network.bridge.host_binding_ipv4={HOST}");
        world.berth(&["network", "create", "-o", &option, "net"]).ok();
        world.start(&["--name", "one", "--network", "net", "-p", "8080:80"], "exec sleep 1000");
        assert_eq!(ports(world, "one"), [format!("80/tcp -> {HOST}:8080")]);
    }
}
