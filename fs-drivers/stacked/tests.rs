//! Layers in each form, without the file system that stacks them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{DIFF, changes, create, lower};
use crate::conformance::bed::{assert_same, scratch, snapshot};
use crate::conformance::properties::{step, without_links, work};
use crate::diff::{UnpackOptions, pack, unpack};
use crate::folder::Folder;
use crate::{Access, ChangeKind, Driver, LayerId, Result, Whiteouts, registry};

const FORMS: [Whiteouts; 2] = [Whiteouts::Overlay, Whiteouts::Aufs];

fn id(name: &str) -> LayerId {
    name.parse().unwrap()
}

struct Layers {
    folder: Folder,
    form: Whiteouts,
    _scratch: tempfile::TempDir,
}

impl Layers {
    fn new(form: Whiteouts) -> Self {
        let scratch = scratch();
        let (folder, _) = Folder::open(scratch.path(), "layers").unwrap();
        Self { folder, form, _scratch: scratch }
    }

    fn unpack(&self, name: &str, parents: &[LayerId], archive: &[u8]) -> Result<()> {
        self.folder.create(&id(name))?;
        create(&self.folder, &id(name), parents)?;
        unpack(
            archive,
            berth_arch::root_dir::RootDir::open(&self.path(name)).unwrap(),
            self.form,
            UnpackOptions::default(),
        )
        .map(drop)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.layer_path(&id(name)).join(DIFF)
    }

    fn changes(&self, chain: &[LayerId]) -> Vec<String> {
        let mut found = Vec::new();
        changes(&self.folder, self.form, &chain[0], &chain[1..], &mut |change| {
            let letter = match change.kind {
                ChangeKind::Added => 'A',
                ChangeKind::Modified => 'C',
                ChangeKind::Deleted => 'D',
            };
            found.push(format!("{letter} /{}", change.path.display()));
            Ok(())
        })
        .unwrap();
        found
    }

    /// Flattened to one directory.
    fn whole(&self, chain: &[LayerId]) -> std::path::PathBuf {
        let names = lower(&self.folder, self.form, chain, 1).unwrap();
        assert_eq!(names.len(), 1);
        self.folder.path().join(&names[0])
    }
}

fn vfs(root: &Path) -> Box<dyn Driver> {
    let entry = registry::DRIVERS.iter().find(|entry| entry.name == "vfs").unwrap();
    (entry.open)(root).unwrap()
}

fn tree(driver: &dyn Driver, name: &LayerId) -> std::path::PathBuf {
    driver.directory(name).unwrap().unwrap()
}

#[test]
fn a_flattened_chain_of_random_layers_is_what_whole_copies_are_and_both_forms_tell_the_same_changes() {
    let steps = || prop::collection::vec(step(), 0..30);
    let mut runner = TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
    let random = (steps(), steps(), steps());
    runner
        .run(&random, |(first, second, third)| {
            let root = scratch();
            let driver = vfs(root.path());
            let chain = [id("c"), id("b"), id("a")];
            let mut archives = Vec::new();
            for (n, steps) in [(2, &first), (1, &second), (0, &third)] {
                let (own, parents) = (&chain[n], &chain[n + 1..]);
                driver.prepare(own, parents, &Default::default()).unwrap();
                work(&tree(&*driver, own), steps);
                let mut archive = Vec::new();
                pack(&*driver, own, parents, &mut archive).unwrap();
                archives.push((own.clone(), parents.to_vec(), archive));
            }
            let copies = without_links(snapshot(&tree(&*driver, &chain[0])));
            let told = FORMS.map(|form| {
                let layers = Layers::new(form);
                for (own, parents, archive) in &archives {
                    layers.unpack(own.as_str(), parents, archive).unwrap();
                }
                assert_same(&copies, &without_links(snapshot(&layers.whole(&chain))));
                layers.changes(&chain)
            });
            assert_eq!(told[0], told[1]);
            Ok(())
        })
        .unwrap();
}

fn archive(script: &str) -> Vec<u8> {
    let folder = scratch();
    let script = format!("umask 022; {script}; tar -cf ../out.tar --format=pax --numeric-owner $(ls -A)");
    let inner = folder.path().join("in");
    fs::create_dir(&inner).unwrap();
    let done = std::process::Command::new("sh").args(["-ec", &script]).current_dir(&inner).status().unwrap();
    assert!(done.success());
    fs::read(folder.path().join("out.tar")).unwrap()
}

#[test]
fn whiteouts_hide_what_is_below_and_nothing_of_their_own_layer() {
    for form in FORMS {
        let layers = Layers::new(form);
        layers.unpack("a", &[], &archive("mkdir -p d e f; touch d/x e/x f/x file other link-me")).unwrap();
        // What the archive has beside its whiteout stays, whatever the order.
        let second = archive(
            "mkdir -p d e; touch .wh.d d/y e/y e/.wh..wh..opq .wh.file file .wh.f .wh.never .wh..wh.plnk; touch f; rm f",
        );
        layers.unpack("b", &[id("a")], &second).unwrap();
        let chain = [id("b"), id("a")];
        let whole = layers.whole(&chain);
        let list = |path: &str| {
            let mut names: Vec<_> = fs::read_dir(whole.join(path))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names.join(" ")
        };
        assert_eq!((list(""), list("d"), list("e")), ("d e file link-me other".into(), "y".into(), "y".into()));
        let told = layers.changes(&chain);
        for expected in ["D /d/x", "A /d/y", "D /e/x", "D /f"] {
            assert!(told.contains(&expected.to_owned()), "{form:?}: {expected} is not in {told:?}");
        }
        assert!(!told.iter().any(|line| line.contains(".wh.") || line.contains("never")), "{told:?}");
    }
}

#[test]
fn files_of_a_flattened_chain_are_links_and_it_is_made_once() {
    let layers = Layers::new(Whiteouts::Overlay);
    layers.unpack("a", &[], &archive("echo a > file; mkdir -m 1777 tmp")).unwrap();
    layers.unpack("b", &[id("a")], &archive("echo b > other; mkdir -m 700 tmp; touch -d @5.5 tmp")).unwrap();
    let chain = [id("b"), id("a")];
    // What a crash left is not taken for whole.
    fs::create_dir(layers.folder.layer_path(&id("b")).join("m.new")).unwrap();
    let whole = layers.whole(&chain);
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    assert_eq!(inode(&whole.join("file")), inode(&layers.path("a").join("file")));
    let tmp = fs::metadata(whole.join("tmp")).unwrap();
    assert_eq!((tmp.mode() & 0o7777, tmp.mtime(), tmp.mtime_nsec()), (0o700, 5, 500_000_000));
    let made = inode(&whole);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(inode(&layers.whole(&chain)), made));
        }
    });
    assert!(!layers.folder.layer_path(&id("b")).join("m.new").exists());
    // Short chains are left alone, and it goes with its layer.
    assert_eq!(lower(&layers.folder, layers.form, &chain, 2).unwrap(), ["b/d", "a/d"]);
    layers.folder.remove(&id("b")).unwrap();
    assert!(!whole.exists() && layers.path("a").join("file").exists());
}

#[test]
fn aufs_layers_refuse_the_names_that_aufs_cannot_have() {
    let layers = Layers::new(Whiteouts::Aufs);
    let long = "x".repeat(243);
    for (name, script, part) in
        [("a", "mkdir .wh.d; touch .wh.d/f".to_owned(), ".wh."), ("b", format!("touch {long}"), "242")]
    {
        let refused = layers.unpack(name, &[], &archive(&script)).unwrap_err().to_string();
        assert!(refused.contains(part), "{refused}");
    }
    layers.unpack("c", &[], &archive(&format!("touch {}", &long[1..]))).unwrap();
}

#[test]
fn a_layer_that_shows_nothing_of_others_is_bound() {
    let layers = Layers::new(Whiteouts::Aufs);
    let mount = layers.folder.bind(&id("a"), DIFF, Access::ReadOnly);
    assert_eq!((mount.fstype.as_str(), mount.options), ("bind", vec!["ro".to_owned()]));
}
