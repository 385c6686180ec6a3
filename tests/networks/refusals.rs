use crate::support::lan::ip;

both! {
    fn a_network_that_makes_no_sense_is_refused(world) {
        ip(world.net(), "link add lan7 type veth peer name lan8");
        ip(world.net(), "addr add 10.50.0.1/16 dev lan7");
        ip(world.net(), "link set lan7 up");
        world.berth(&["network", "create", "--subnet", "10.60.0.0/24", "there"]).ok();
        for (flags, words) in [
            (&["--subnet", "10.0.0.300/24"][..], "10.0.0.300/24"),
            (&["--subnet", "10.0.0.0/33"], "10.0.0.0/33"),
            (&["--subnet", "10.0.0.1/24"], "it should be 10.0.0.0/24"),
            (&["--subnet", "10.1.0.0/24", "--gateway", "10.2.0.1"], "10.2.0.1"),
            (&["--subnet", "10.1.0.0/24", "--ip-range", "10.2.0.0/25"], "10.2.0.0/25"),
            (&["--subnet", "10.1.0.0/24", "--gateway", "x"], "x"),
            (&["--subnet", "127.0.0.0/8"], "127.0.0.0/8"),
            (&["--subnet", "224.0.0.0/8"], "224.0.0.0/8"),
            (&["--subnet", "fd00::/64"], "fd00::/64"),
            (&["--subnet", "10.50.7.0/24"], "Pool overlaps with other one on this address space"),
            (&["--subnet", "10.60.0.0/16"], "Pool overlaps with other one on this address space"),
            (&["-d", "nosuch"], "plugin \"nosuch\" not found"),
            (&["-d", "host"], "only one instance of \"host\" network is allowed"),
            (&["-o", "com.docker.network.bridge.name=much-too-long-a-name"], "much-too-long-a-name"),
            (&["-o", "com.docker.network.bridge.name=a/b"], "a/b"),
            (&["-o", "com.docker.network.driver.mtu=many"], "many"),
            (&["-o", "com.docker.network.bridge.enable_icc=perhaps"], "perhaps"),
            (&["-o", "com.docker.nosuch=1"], "com.docker.nosuch"),
            (&["--ipv6", "-o", "com.docker.network.bridge.gateway_mode_ipv6=routed"], "gateway_mode_ipv4 is nat"),
            (&["-d", "macvlan", "-o", "macvlan_mode=odd", "-o", "parent=lan7"], "odd"),
            (&["--ipam-driver", "nosuch"], "ipam-driver"),
            (&["--scope", "swarm"], "swarm"),
        ] {
            let outcome = world.berth(&[&["network", "create"], flags, &["bad"]].concat());
            assert!(outcome.code != 0 && outcome.err().contains(words), "{words:?} is not said\n{outcome}");
        }
        for name in ["there", "bridge", "host", "none", "default", "a b", "", "-x", "../x", "container:x"] {
            let outcome = world.berth(&["network", "create", "--", name]);
            assert!(outcome.code != 0, "{outcome}");
        }
        assert_eq!(world.berth(&["network", "ls", "-q", "--filter", "type=custom"]).ok().lines().len(), 1);
        world.berth(&["network", "rm", "there"]).ok();
        assert!(!ip(world.net(), "-o link").contains(": br-"));
    }

    fn ports_that_make_no_sense_are_refused(world) {
        for (port, words) in [
            ("foo", "invalid containerPort: foo"),
            ("99999", "invalid containerPort: 99999"),
            ("8080:foo", "invalid containerPort: foo"),
            ("foo:80", "invalid hostPort: foo"),
            ("99999:80", "invalid hostPort: 99999"),
            ("8080:80/icmp", "icmp"),
            ("1.2.3:8080:80", "1.2.3"),
            ("8000-8002:80-81", "invalid ranges specified"),
            ("82-80:82-80", "82-80"),
            ("127.0.0.1:8080:", "no port specified"),
            ("", "no port specified"),
            ("[::1:8080:80", "::1"),
        ] {
            let outcome = world.run(&["--rm", "-p", port, "box", "true"]);
            assert!(outcome.code == 125 && outcome.err().contains(words), "{port}: {words:?} is not said\n{outcome}");
        }
        assert_eq!(world.berth(&["ps", "-aq"]).ok().text(), "");
    }

    fn a_place_in_a_network_that_makes_no_sense_is_refused(world) {
        world.berth(&["network", "create", "--subnet", "10.61.0.0/24", "net"]).ok();
        world.berth(&["network", "create", "auto"]).ok();
        for (flags, words) in [
            (&["--network", "nosuch"][..], "network nosuch not found"),
            (&["--network", "net", "--ip", "10.62.0.5"], "no configured subnet contains IP address 10.62.0.5"),
            (&["--network", "net", "--ip", "10.61.0.1"], "Address already in use"),
            (&["--network", "net", "--ip", "10.61.0.0"], "10.61.0.0"),
            (&["--network", "net", "--ip", "10.61.0.255"], "10.61.0.255"),
            (&["--network", "net", "--ip", "x"], "x"),
            (&["--network", "net", "--ip6", "fd00::5"], "fd00::5"),
            (&["--network", "auto", "--ip", "172.18.0.9"], "user configured subnets"),
            (&["--ip", "172.17.0.9"], "user defined networks only"),
            (&["--network", "none", "--ip", "172.17.0.9"], "user defined networks only"),
            (&["--network", "host", "--ip6", "fd00::9"], "user defined networks only"),
            (&["--network-alias", "x"], "user-defined networks"),
            (&["--network", "net", "--network-alias", "a/b"], "a/b"),
            (&["--network", "net", "--mac-address", "02:00"], "02:00"),
            (&["--network", "net", "--mac-address", "01:00:00:00:00:00"], "01:00:00:00:00:00"),
            (&["--network", "host", "--network", "net"], "cannot attach both user-defined and non-user-defined"),
            (&["--network", "container:nosuch"], "nosuch"),
            (&["--link", "nosuch"], "nosuch"),
            (&["--dns", "x"], "x"),
            (&["--add-host", "x"], "x"),
            (&["--add-host", "x:y"], "y"),
            (&["--network", "net", "--sysctl", "net/ipv4/x=1"], "net/ipv4/x"),
        ] {
            let outcome = world.run(&[&["--rm"], flags, &["box", "true"]].concat());
            assert!(outcome.code == 125 && outcome.err().contains(words), "{flags:?}: {words:?} is not said\n{outcome}");
        }
        assert_eq!(world.berth(&["ps", "-aq"]).ok().text(), "");
        world.start(&["--name", "one"], "exec sleep 1000");
        world.berth(&["network", "connect", "nosuch", "one"]).refused(1, &["network nosuch not found"]);
        world.berth(&["network", "connect", "net", "nosuch"]).refused(1, &["No such container: nosuch"]);
        world.berth(&["network", "connect", "bridge", "one"]).refused(1, &["already exists in network bridge"]);
        world.berth(&["network", "connect", "host", "one"]).refused(1, &["host network"]);
        world.berth(&["network", "disconnect", "net", "one"]).refused(1, &["is not connected to network net"]);
        world.berth(&["network", "connect", "--ip", "10.61.0.1", "net", "one"]).refused(1, &["Address already in use"]);
        assert_eq!(world.berth(&["exec", "one", "ls", "/sys/class/net"]).ok().text(), "eth0\nlo");
    }
}
