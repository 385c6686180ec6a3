//! Engines that are killed at any moment, on each driver: what they left is in order.

use super::{DRIVERS, on_each_driver};
use crate::support::image::busybox;
use crate::support::random::Random;
use crate::support::{Mode, World, kernel};

/// How many kills on each driver.
fn kills() -> u64 {
    std::env::var("BERTH_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(24)
}

#[test]
fn whatever_a_killed_engine_was_doing_no_layer_is_broken_and_none_is_left() {
    if kernel::lacks("overlay", (3, 18)) {
        return;
    }
    let world = World::bare(Mode::Embedded);
    let script = r#"
        RANDOM=SEED
        # A call that is killed within its first 60 ms, and a check of all layers after it.
        killed() {
            driver=$1
            limit=0.$(printf %03d $((RANDOM % 60)))
            local killed=0
            b_of=$(root $driver)
            timeout -s KILL $limit berth --root "$b_of" --storage-driver $driver "${@:2}" >said 2>&1 </dev/null || killed=$?
            [ $killed -ne 137 ] || kills=$((kills + 1))
            calls=$((calls + 1))
            b $driver storage check >check 2>&1 || { echo "$driver after $limit s of ${*:2}"; cat check; exit 9; }
        }
        for driver in overlay btrfs fuse vfs; do
            kills=0 calls=0 n=0
            b $driver import box.tar box >&2
            b $driver run --name base --network none box sh -c 'mkdir /d; seq 3000 >/d/f; rm -r /home; ln /d/f /d/l' >&2
            b $driver commit base base >&2
            b $driver save -o base.image base
            while [ $calls -lt KILLS ]; do
                n=$((n + 1))
                killed $driver import box.tar box$n
                # No name that may be the beginning of an ID: what was not created is asked for, too.
                killed $driver create --name killed$n --network none base true
                killed $driver run --rm --network none base sh -c 'seq 1000 >/x; rm -r /d'
                killed $driver commit base made$n
                b $driver commit base whole$n >&2
                killed $driver rmi whole$n
                killed $driver rm -f killed$n
                killed $driver rmi base
                killed $driver load -i base.image
            done
            b $driver load -i base.image >&2
            b $driver run --rm --network none base sh -c 'wc -l </d/l; [ ! -e /home ]'
            b $driver rm -f $(b $driver ps -aq) >&2
            b $driver system prune -af >&2
            b $driver storage check >&2
            echo "$driver calls $calls kills $kills layers $(ls $(root $driver)/$driver | grep -cv mount-points)"
        done
    "#;
    let (seed, kills) = (Random::seeded().below(30_000), kills());
    let script = script.replace("SEED", &seed.to_string()).replace("KILLS", &kills.to_string());
    std::fs::write(world.path("box.tar"), busybox()).unwrap();
    let Some(outcome) = on_each_driver(&world, &script) else { return };
    let text = outcome.ok().out();
    for driver in DRIVERS {
        let line = text.lines().find(|line| line.starts_with(driver)).unwrap_or_default();
        let words: Vec<_> = line.split(' ').collect();
        let [_, _, calls, _, killed, _, layers] = words[..] else { panic!("{driver}: {text}") };
        let [calls, killed, layers] = [calls, killed, layers].map(|word| word.parse::<u64>().unwrap());
        assert!(calls >= kills && killed * 10 >= calls && layers == 0, "{line}");
    }
    assert_eq!(text.lines().filter(|line| *line == "3000").count(), DRIVERS.len(), "{text}");
}
