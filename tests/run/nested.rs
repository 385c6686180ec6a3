//! Containers in a container: the program, bound into one, is an engine of its own there.

use crate::support::{Mode, World, program};

/// A container with the program at /berth and a disk for its state, and what the script in it says.
fn outer(world: &World, flags: &[&str], script: &str) -> String {
    let bound = format!("{}:/berth:ro", program().display());
    let own = ["--rm", "-v", &bound, "-v", "nested:/state"];
    let script =
        format!("b() {{ /berth --root /state/root \"$@\"; }}; tar -cf - bin | b import - inner >/dev/null; {script}");
    world.run(&[&own, flags, &["box", "sh", "-c", &script]].concat()).text()
}

#[test]
fn a_privileged_container_runs_containers() {
    let world = World::new(Mode::Embedded);
    let script = "b run --rm inner sh -c 'echo pid $$; hostname | wc -c; exit 7'; echo code $?; \
                  b run -d --name kept inner sleep 1000 >/dev/null; b exec kept echo inside; b ps -q | wc -l";
    let said = outer(&world, &["--privileged"], script);
    assert_eq!(said, "pid 1\n13\ncode 7\ninside\n1");
    // The container within was running: what it was made of went with the outer one.
    let checked = world.berth(&["system", "check"]).ok().text();
    assert_eq!(checked, "nothing is missing or left over");
}

#[test]
fn a_container_that_may_mount_runs_containers_without_a_network() {
    let world = World::new(Mode::Embedded);
    let flags = ["--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined"];
    let said = outer(&world, &flags, "b run --rm --network none inner sh -c 'echo pid $$; ls /sys/class/net'");
    assert_eq!(said, "pid 1\nlo");
}

#[test]
fn a_container_that_may_make_none_says_why() {
    let world = World::new(Mode::Embedded);
    let said = outer(&world, &[], "b run --rm inner true 2>&1; echo code $?");
    assert!(said.contains("code 125") && said.contains("CAP_SYS_ADMIN"), "{said}");
}
