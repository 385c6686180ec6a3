//! Storage drivers: the same images on each, sizes where they can be kept, and what is said where they cannot.

mod fuse;
mod kills;

use std::fs;

use crate::support::image::busybox;
use crate::support::{Mode, World, find_program, kernel, skip};

const DRIVERS: [&str; 4] = ["overlay", "btrfs", "fuse", "vfs"];

/// `b DRIVER ARGUMENTS` is berth with a state of that driver's own; btrfs has a file system in a file for it.
const SCRIPT: &str = r#"
set -eu
truncate -s 4G disk; mkfs.btrfs -q disk >&2; mkdir ground; mount -o loop disk ground
root() {
    case $1 in btrfs) echo "$PWD/ground/state" ;; *) echo "$PWD/state-$1" ;; esac
}
b() {
    berth --root "$(root "$1")" --storage-driver "$@"
}
"#;

/// Runs the script in a mount namespace of its own; `None`, and says why, where there is no btrfs.
fn on_each_driver(world: &World, script: &str) -> Option<crate::support::call::Outcome> {
    let known = fs::read_to_string("/proc/filesystems").unwrap().contains("btrfs");
    if !known || find_program("mkfs.btrfs").is_none() {
        skip("no btrfs in the kernel, or no mkfs.btrfs");
        return None;
    }
    fs::write(world.path("box.tar"), busybox()).unwrap();
    fs::write(world.path("script"), format!("{SCRIPT}{script}")).unwrap();
    Some(world.shell("unshare -m --propagation private bash script"))
}

#[test]
fn what_is_made_on_one_driver_is_the_same_on_all() {
    if kernel::lacks("overlay", (3, 18)) {
        return;
    }
    let world = World::bare(Mode::Embedded);
    let script = r#"
        b overlay import box.tar box >&2
        b overlay save -o box.image box
        for driver in btrfs fuse vfs; do b $driver load -i box.image >&2; done
        tell() {
            b $1 inspect --format "$2 $1 {{json .RootFS.Layers}}" $2
            id=$(b $1 create --network none $2 true)
            # The top has no entry in these archives: its times are those of its making.
            echo "$2 $1 $(b $1 export $id | tar --numeric-owner --full-time -tvvf - | tr -s ' ' | grep -v ' \./$' | sort | md5sum)"
            b $1 rm $id >&2
        }
        for driver in overlay btrfs fuse vfs; do tell $driver box; done
        for maker in overlay btrfs fuse vfs; do
            b $maker run --name work --network none box sh -c '
                mkdir -p /new/dir /gone; echo made >/new/dir/file; ln /new/dir/file /new/hard; ln -s ../etc /new/link
                chmod 4751 /new/dir/file; chown 12:34 /new/dir; truncate -s 3M /new/sparse; mkfifo /new/fifo; rm -r /gone'
            b $maker commit work made-$maker >&2
            b $maker run --name again --network none made-$maker sh -c 'rm /new/hard; mv /new/dir /new/moved; echo more >>/new/moved/file'
            b $maker commit again made-$maker >&2
            b $maker rm work again >&2
            b $maker save -o made.image made-$maker
            for driver in overlay btrfs fuse vfs; do
                [ $driver = $maker ] || b $driver load -i made.image >&2
                tell $driver made-$maker
                b $driver run --rm --network none made-$maker sh -c 'cat /new/moved/file; [ ! -e /new/hard ]' | tr '\n' ' '
                echo
            done
        done
    "#;
    let Some(outcome) = on_each_driver(&world, script) else { return };
    let lines = outcome.ok().lines();
    for image in ["box", "made-overlay", "made-btrfs", "made-fuse", "made-vfs"] {
        let said = |driver: &str| {
            let prefix = format!("{image} {driver} ");
            lines.iter().filter_map(|line| line.strip_prefix(&prefix).map(str::to_owned)).collect::<Vec<_>>()
        };
        let first = said(DRIVERS[0]);
        let layers: Vec<String> = serde_json::from_str(&first[0]).unwrap();
        assert_eq!((first.len(), layers.len()), (2, if image == "box" { 1 } else { 3 }), "{lines:#?}");
        for driver in &DRIVERS[1..] {
            assert_eq!(said(driver), first, "{image} on {driver}");
        }
    }
    assert_eq!(
        lines.iter().filter(|line| line.trim_end() == "made more").count(),
        DRIVERS.len() * DRIVERS.len(),
        "{lines:#?}"
    );
}

#[test]
fn a_container_s_size_is_kept_to_or_refused() {
    if kernel::lacks("overlay", (3, 18)) {
        return;
    }
    let world = World::bare(Mode::Embedded);
    let script = r#"
        for driver in overlay btrfs fuse vfs; do b $driver import box.tar box >&2; done
        fill='dd if=/dev/zero of=/much bs=1M count=40 2>&1; sync; wc -c </much'
        b btrfs run --rm --network none --storage-opt size=20m box sh -c "$fill" || echo full $?
        b btrfs run --rm --network none box sh -c "$fill"
        b btrfs info --format '{{json .DriverStatus}}'
        echo 'storage-options.size = "20m"' >berth.toml
        b btrfs --config berth.toml run --rm --network none box sh -c "$fill" || echo full $?
        for driver in overlay fuse vfs; do
            b $driver run --rm --storage-opt size=20m box true 2>&1 && echo ran anyway
        done
        b btrfs run --rm --storage-opt colour=red box true 2>&1 && echo ran anyway
        for driver in overlay btrfs fuse vfs; do echo "left: $(b $driver ps -aq)"; done
    "#;
    let Some(outcome) = on_each_driver(&world, script) else { return };
    let text = outcome.out();
    assert_eq!(text.matches("Disk quota exceeded").count() + text.matches("Quota exceeded").count(), 2, "{outcome}");
    assert_eq!(text.lines().filter(|line| *line == "41943040").count(), 1, "{outcome}");
    assert!(text.contains(r#"["Quotas","simple"]"#) || text.contains(r#"["Quotas","full"]"#), "{outcome}");
    for driver in ["overlay", "fuse", "vfs"] {
        let said = format!("--storage-opt size: the storage driver {driver} cannot limit a layer here");
        assert!(text.contains(&said), "{outcome}");
    }
    assert_eq!(text.lines().filter(|line| *line == "left: ").count(), 4, "{outcome}");
    assert!(text.contains("unknown storage option colour") && !text.contains("ran anyway"), "{outcome}");
}

/// A world whose state is made with a driver; `None`, said why, where that does not work.
pub(super) fn world(driver: &str) -> Option<World> {
    let world = World::bare(Mode::Embedded);
    let made = world.feed(&["--storage-driver", driver, "import", "-", "box"], crate::support::image::busybox());
    if made.code != 0 {
        crate::support::skip(&format!("no {driver} here: {}", made.err()));
        return None;
    }
    Some(world)
}
