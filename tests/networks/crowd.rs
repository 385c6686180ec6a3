use crate::support::lan::ip;
use crate::support::{Mode, World};

const MANY: usize = 200;

#[test]
fn two_hundred_containers_find_each_other_and_leave_nothing() {
    let world = World::alone(Mode::Embedded);
    world.berth(&["network", "create", "net"]).ok();
    let links = || ip(world.net(), "-o link").lines().count();
    let before = links();
    for number in 0..MANY {
        let name = format!("many{number}");
        let port = format!("{}:80", 10000 + number);
        world.berth(&["run", "-d", "--name", &name, "--network", "net", "-p", &port, "box", "sleep", "1000"]).ok();
    }
    assert_eq!(links(), before + MANY);
    // The first and the last know everybody.
    let ask = format!("for n in $(seq 0 {}); do nslookup many$n >/dev/null 2>&1 || echo many$n; done", MANY - 1);
    for from in [0, MANY - 1] {
        let missing = world.berth(&["exec", &format!("many{from}"), "sh", "-c", &ask]).ok().text();
        assert_eq!(missing, "", "many{from} does not find these");
    }
    let addresses = world.shell(
        "berth inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' $(berth ps -q) | sort -u | wc -l",
    );
    assert_eq!(addresses.ok().text(), MANY.to_string());
    world.shell("berth rm -f $(berth ps -q)").ok();
    assert_eq!(world.berth(&["system", "check"]).ok().text(), "nothing is missing or left over");
    crate::support::eventually("the links go", std::time::Duration::from_secs(10), || links() == before);
    world.berth(&["network", "rm", "net"]).ok();
    assert_eq!(world.shell("nft list ruleset").ok().text(), "");
}
