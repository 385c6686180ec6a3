//! A process that is killed between any two system calls: what it left is found and removed, and what it sealed is whole.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::bed::{id, ids, path_of, snapshot};
use super::each;
use crate::mount::open_contents;
use crate::{Access, LayerOptions, registry};

/// `DRIVER ROOT`: makes the test below a process that works until it is killed.
const VICTIM: &str = "BERTH_TEST_VICTIM";

/// Runs in a process of its own.
#[test]
fn victim() {
    let Ok(words) = std::env::var(VICTIM) else { return };
    let (name, root) = words.split_once(' ').unwrap();
    let entry = registry::DRIVERS.iter().find(|entry| entry.name == name).unwrap();
    let driver = (entry.open)(Path::new(root)).unwrap();
    for round in 0.. {
        let (name, base) = (format!("l{round}"), [id("base")]);
        // The test's own output goes elsewhere.
        let say = |step: &str| eprintln!("step {step} {name}");
        say("prepare");
        driver.prepare(&id(&name), &base, &LayerOptions::default()).unwrap();
        say("fill");
        let root = open_contents(&*driver, &id(&name), &base, Access::ReadWrite).unwrap();
        let top = path_of(&root);
        for n in 0..20 {
            std::fs::create_dir_all(top.join(format!("d{n}"))).unwrap();
            std::fs::write(top.join(format!("d{n}/f")), name.as_bytes()).unwrap();
        }
        drop(root);
        say("commit");
        driver.commit(&id(&name)).unwrap();
        say("sealed");
        if round % 2 == 0 {
            driver.remove(&id(&name)).unwrap();
            say("removed");
        }
    }
}

/// After `steps` steps have been announced, and `pause` microseconds. Gives the layers that were sealed and not removed.
fn kill_after(driver: &str, root: &Path, steps: usize, pause: u64) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "conformance::crash::victim", "--nocapture"])
        .env(VICTIM, format!("{driver} {}", root.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said: Vec<String> = lines.by_ref().take(steps).map(Result::unwrap).collect();
    assert!(said.iter().all(|line| line.starts_with("step ")), "{said:?}");
    std::thread::sleep(std::time::Duration::from_micros(pause));
    child.kill().unwrap();
    child.wait().unwrap();
    said.extend(lines.map_while(Result::ok));
    let named = |step: &str| {
        let prefix = format!("step {step} ");
        said.iter().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect::<Vec<_>>()
    };
    // An even one may have been on its way out.
    named("sealed").into_iter().filter(|name| name[1..].parse::<u32>().unwrap() % 2 == 1).collect()
}

#[test]
fn what_a_killed_process_left_is_removed_and_what_it_sealed_is_whole() {
    each(|bed| {
        bed.layer("base", &[], |root| {
            for n in 0..20 {
                std::fs::write(root.join(format!("b{n}")), "base").unwrap();
            }
        });
        bed.driver.commit(&id("base")).unwrap();
        let base = bed.read("base", &[], snapshot);
        for round in 0..18 {
            // Each step of two layers' lives, at another moment of it.
            let sealed = kill_after(bed.driver.name(), bed.root(), 1 + round / 2, (round as u64 * 397) % 2500);
            for name in &sealed {
                let whole = bed.read(name, &["base"], snapshot);
                assert_eq!(whole.iter().filter(|line| line.contains("/f\"")).count(), 20, "{name}");
            }
            bed.driver.sweep().unwrap();
            for found in bed.driver.list().unwrap().iter().filter(|found| found.as_str() != "base") {
                bed.driver.remove(found).unwrap();
            }
            assert_eq!(bed.driver.list().unwrap(), ids(&["base"]));
            let folder = bed.root().join(bed.driver.name());
            let left = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
            let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with(".removed")).collect();
            assert!(left.is_empty(), "{left:?}");
            assert_eq!(bed.read("base", &[], snapshot), base);
        }
    });
}
