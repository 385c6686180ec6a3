//! Which path is taken beside whose rules.

use berth_network::firewall::{Owner, select};

use crate::Test;
use crate::world::{OPEN, OWNER, World, wanted};

pub(crate) const TESTS: &[Test] = &[
    ("a FORWARD that drops makes iptables-nft the choice", beside_docker),
    ("a legacy FORWARD that drops makes iptables-legacy the choice", beside_old_rules),
    ("a path that is none is refused with those that are", unknown),
];

fn beside(variant: &'static str) {
    let world = World::new(variant);
    let chosen = world.host.run(|| select(None).unwrap().path.name());
    if world.host.run(move || select(Some(variant)).is_err()) {
        println!("skipped: {variant} does not work here");
        return;
    }
    world.host.command(&format!("{variant} -P FORWARD DROP"));
    let selection = world.host.run(|| {
        let selection = select(None).unwrap();
        (selection.path.name(), selection.refused)
    });
    assert_eq!(selection.0, variant, "{selection:?}, and {chosen} before");
    assert!(selection.1.iter().any(|(name, reason)| *name == "nft" && reason.contains("FORWARD")), "{selection:?}");
    world.host.run(|| {
        let path = select(None).unwrap().path;
        path.restore(&Owner(OWNER.into()), &wanted()).unwrap();
    });
    assert!(world.containers[OPEN][0].tcp("192.0.2.2:80").is_some());
    assert!(world.outside.tcp("192.0.2.1:80").is_some());
}

fn beside_docker() {
    beside("iptables-nft");
}

fn beside_old_rules() {
    beside("iptables-legacy");
}

fn unknown() {
    let Err(error) = select(Some("ipchains")) else { panic!("ipchains is a packet path") };
    assert!(error.to_string().contains("iptables-legacy"), "{error}");
}
