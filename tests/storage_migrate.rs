//! `berth storage migrate`: the same images and containers with another storage driver, whatever interrupts it.

use std::time::Duration;

use crate::support::random::Random;
use crate::support::{Mode, World, kernel};

/// Two images and three containers, with what drivers could get wrong in between.
fn world(driver: &str) -> World {
    let world = World::bare(Mode::Embedded);
    world.feed(&["--storage-driver", driver, "import", "-", "box"], crate::support::image::busybox()).ok();
    let made = "mkdir -p /d/sub /gone; echo one >/d/file; ln /d/file /d/hard; ln -s file /d/link; mkfifo /d/fifo; \
                mknod /d/null c 1 3; chown 12:34 /d; chmod 4751 /d/file; truncate -s 3M /d/sparse";
    world.run(&["--name", "maker", "--network", "none", "box", "sh", "-c", made]).ok();
    world.berth(&["commit", "maker", "made"]).ok();
    world.berth(&["rm", "maker"]).ok();
    let changed =
        "rm -r /gone /d/sub; mkdir /d/sub; rm /d/hard; mv /d/file /d/moved; touch -d @1 /d/sparse; rm /etc/passwd";
    world.run(&["--name", "one", "--network", "none", "made", "sh", "-c", changed]).ok();
    world.run(&["--name", "two", "--network", "none", "box", "sh", "-c", "mv /bin /programs"]).ok();
    world.berth(&["create", "--name", "three", "made", "true"]).ok();
    world
}

/// All that the images and containers are, as far as it can be seen.
fn shown(world: &World) -> String {
    let script =
        "berth images --no-trunc --format '{{.ID}} {{.Repository}}'; berth ps -a --format '{{.Names}} {{.Image}}'
        for name in one two three; do
            berth diff $name
            berth export $name | tar --numeric-owner --full-time -tvvf - | tr -s ' ' | grep -v ' \\./$' | sort
        done
        berth save made box | sha256sum";
    world.shell(script).ok().text()
}

/// Says only what differs.
fn same(now: &str, before: &str, when: &str) {
    let beside = |one: &str, other: &str| -> Vec<String> {
        let other: Vec<_> = other.lines().collect();
        one.lines().filter(|line| !other.contains(line)).map(str::to_owned).collect()
    };
    let (gone, new) = (beside(before, now), beside(now, before));
    assert!(now == before, "{when}: gone {gone:#?}, new {new:#?}");
}

fn migrate(world: &World, to: &str) -> String {
    world.berth(&["storage", "migrate", "--to", to]).ok().text()
}

fn whole(world: &World) {
    world.berth(&["storage", "check"]).ok();
}

#[test]
fn images_and_containers_are_the_same_on_the_other_driver_and_back() {
    if kernel::lacks("overlay", (3, 18)) {
        return;
    }
    let world = world("overlay");
    let before = shown(&world);
    let mut from = "overlay";
    for to in ["vfs", "fuse", "overlay"] {
        let told = migrate(&world, to);
        assert!(told.starts_with("moved 2 layers and 3 containers") && told.ends_with(&format!("from {from} to {to}")));
        same(&shown(&world), &before, to);
        assert_eq!(world.berth(&["info", "--format", "{{.Driver}}"]).ok().text(), to);
        assert!(!world.root().join(from).exists(), "{from} is still there");
        whole(&world);
        world.berth(&["start", "-a", "three"]).ok();
        assert_eq!(world.run(&["--rm", "--network", "none", "made", "cat", "/d/hard"]).ok().text(), "one");
        from = to;
    }
    assert_eq!(migrate(&world, "overlay"), "the state is kept with overlay: nothing is left to move");
    same(&shown(&world), &before, "after it");
}

#[test]
fn a_move_that_is_killed_at_any_moment_loses_nothing_and_can_be_ended() {
    if kernel::lacks("overlay", (3, 18)) {
        return;
    }
    let world = world("overlay");
    let before = shown(&world);
    let mut random = Random::seeded();
    let (mut from, mut to) = ("overlay", "vfs");
    let mut killed = 0;
    for round in 0..24 {
        let mut call = world.background(&["storage", "migrate", "--to", to]);
        std::thread::sleep(Duration::from_micros(random.below(if round % 2 == 0 { 60_000 } else { 400_000 })));
        if call.is_running() {
            call.signal(nix::sys::signal::Signal::SIGKILL);
            killed += 1;
        }
        call.wait(Duration::from_secs(60));
        whole(&world);
        same(&shown(&world), &before, &format!("round {round}, to {to}"));
        // What happens between two calls is not forgotten by the second.
        if round % 4 == 3 {
            world.berth(&["rm", "three"]).ok();
            world.berth(&["create", "--name", "three", "made", "true"]).ok();
            migrate(&world, to);
            assert!(!world.root().join(from).exists());
            same(&shown(&world), &before, &format!("round {round}, to {to}"));
            whole(&world);
            (from, to) = (to, from);
        }
    }
    assert!(killed > 6, "only {killed} were killed");
}

#[test]
fn what_was_copied_can_be_taken_back() {
    if kernel::lacks("overlay", (3, 18)) {
        return;
    }
    let world = world("overlay");
    let before = shown(&world);
    for pause in [20, 60, 100, 150, 200, 300] {
        let mut call = world.background(&["storage", "migrate", "--to", "vfs"]);
        std::thread::sleep(Duration::from_millis(pause));
        if call.is_running() {
            call.signal(nix::sys::signal::Signal::SIGKILL);
        }
        call.wait(Duration::from_secs(60));
        let here = world.berth(&["info", "--format", "{{.Driver}}"]).ok().text();
        let found = world.berth(&["storage", "check"]).ok();
        if here == "overlay" && found.err().contains("was interrupted") {
            assert!(found.err().contains("--to vfs goes on") && found.err().contains("--to overlay takes it back"));
        }
        migrate(&world, "overlay");
        assert!(!world.root().join("vfs").exists());
        same(&shown(&world), &before, "taken back");
        assert_eq!(world.berth(&["storage", "check"]).ok().err(), "");
    }
}

#[test]
fn what_stands_against_a_move_is_said_and_changes_nothing() {
    if kernel::lacks("overlay", (3, 18)) {
        return;
    }
    let world = world("overlay");
    let before = shown(&world);
    world.berth(&["storage", "migrate", "--to", "nope"]).refused(1, &["nope", "vfs"]);
    world.berth(&["storage", "migrate"]).ended(1);
    world.start(&["--name", "up", "--network", "none"], "sleep 1000");
    world.berth(&["storage", "migrate", "--to", "vfs"]).refused(1, &["1 container (up)", "berth stop up"]);
    world.berth(&["rm", "-f", "up"]).ok();
    let call = world.background(&["events"]);
    std::thread::sleep(Duration::from_millis(300));
    world.berth(&["storage", "migrate", "--to", "vfs"]).refused(1, &["in use by other berth commands, or a daemon"]);
    call.signal(nix::sys::signal::Signal::SIGTERM);
    call.wait(Duration::from_secs(10));
    let with_size = world.berth(&["--storage-driver", "vfs", "storage", "migrate", "--to", "overlay"]).ok();
    assert!(with_size.out().contains("nothing is left to move"), "{with_size}");
    same(&shown(&world), &before, "after it");
    whole(&world);
    // The remedy that a state of another driver names works as it stands.
    let config = world.at("berth.toml");
    std::fs::write(&config, "storage = \"vfs\"\n").unwrap();
    let refused = world.berth(&["--config", &config, "run", "--rm", "box", "true"]);
    refused.refused(125, &["berth storage migrate --to vfs moves them"]);
    world.berth(&["--config", &config, "storage", "migrate", "--to", "vfs"]).ok();
    world.berth(&["--config", &config, "run", "--rm", "--network", "none", "box", "true"]).ok();
    same(&shown(&world), &before, "after it");
}

#[test]
fn a_daemon_keeps_its_storage() {
    let world = World::new(Mode::Daemon);
    world.berth(&["storage", "migrate", "--to", "vfs"]).refused(1, &["a daemon", "stop"]);
    world.run(&["--rm", "box", "true"]).ok();
}

#[test]
fn a_full_disk_takes_back_what_was_copied_and_says_how_much_is_missing() {
    if kernel::lacks("overlay", (3, 18)) {
        return;
    }
    let world = World::bare(Mode::Embedded);
    std::fs::write(world.path("box.tar"), crate::support::image::busybox()).unwrap();
    let script = r#"
        set -eu
        mkdir small; mount -t tmpfs -o size=24m none small
        b() { berth --root "$PWD/small" "$@"; }
        b --storage-driver overlay import box.tar box >&2
        b run --name one --network none box dd if=/dev/urandom of=/data bs=1M count=12 2>&1 >&2
        b export one | sha256sum >before
        if b storage migrate --to vfs 2>said; then exit 3; fi
        cat said
        b export one | sha256sum | cmp - before
        [ ! -e small/vfs ]
        b storage check
        b info --format '{{.Driver}}'
    "#;
    std::fs::write(world.path("script"), script).unwrap();
    let told = world.shell("unshare -m --propagation private sh script").ok().text();
    assert!(told.contains("No space left on device") && told.contains("more"), "{told}");
    assert!(told.ends_with("overlay"), "{told}");
}
