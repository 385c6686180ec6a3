//! What changes cost, in microseconds: `--measure`. Not a test, for nothing here is right or wrong.

use std::time::Instant;

use berth_network::Protocol::Tcp;
use berth_network::firewall::{Owner, PortRule, Wanted, by_name};

use crate::world::{OWNER, Space, network, port};

pub(crate) fn run() {
    for name in crate::PATHS {
        Space::new().run(move || {
            let path = by_name(name).unwrap();
            let owner = Owner(OWNER.into());
            let ports = |numbers: std::ops::Range<u16>| -> Vec<PortRule> {
                let one = |number| port(Tcp, &format!("0.0.0.0:{number}"), &format!("172.30.0.2:{number}"));
                numbers.map(one).collect()
            };
            let time = |what: &str, work: &dyn Fn()| {
                let started = Instant::now();
                work();
                println!("{name}: {what}: {} µs", started.elapsed().as_micros());
            };
            time("first network", &|| path.add_network(&owner, &network(0)).unwrap());
            time("second network", &|| path.add_network(&owner, &network(1)).unwrap());
            time("first port", &|| path.publish(&owner, &ports(1..2)).unwrap());
            for number in 2..200 {
                path.publish(&owner, &ports(number..number + 1)).unwrap();
            }
            time("200th port", &|| path.publish(&owner, &ports(200..201)).unwrap());
            time("unpublishing one", &|| path.unpublish(&owner, &ports(200..201)).unwrap());
            time("800 ports at once", &|| path.publish(&owner, &ports(200..1001)).unwrap());
            let some = Wanted { networks: vec![network(0), network(1)], ports: ports(1..2) };
            let all = Wanted { ports: ports(1..1001), ..some.clone() };
            time("looking after two networks and a port among 1000", &|| {
                assert!(path.is_intact(&owner, &some).unwrap())
            });
            time("looking after all", &|| assert!(path.is_intact(&owner, &all).unwrap()));
            time("restoring all", &|| path.restore(&owner, &all).unwrap());
            time("removing all", &|| path.remove(&owner).unwrap());
            time("probing", &|| drop(berth_network::firewall::select(Some(name))));
        });
    }
}
