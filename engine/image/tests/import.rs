//! Import, names, container layers, removal.

use std::io::Read;

use berth_fs_drivers::{Access, mount};
use berth_image::{Error, Filter, ImportOptions, Reference, RemoveOptions, Removed};

use crate::fixture::{archive, nobody, on_each_driver, quiet};

#[test]
fn an_imported_archive_is_seen_in_a_container_and_goes_with_its_last_name() {
    on_each_driver(|fixture| {
        let id = fixture.import("demo:1", &archive(&[("etc/hostname", b"demo\n")]));
        let images = &fixture.images;
        for name in ["demo:1", id.as_str(), id.hex(), id.short(), "docker.io/library/demo:1"] {
            assert_eq!(images.resolve(name).unwrap().id, id);
        }
        assert_eq!(images.resolve("demo").unwrap_err().to_string(), "No such image: demo:latest");
        let layer = fixture.container(&id);
        let mounts = images.container_mounts(layer.number, None, Access::ReadWrite).unwrap();
        let seen = mount::with_mounted(&mounts, |root| {
            let seen = std::fs::read_to_string(root.join("etc/hostname")).unwrap();
            std::fs::write(root.join("new"), "x").unwrap();
            seen
        });
        assert_eq!(seen.unwrap(), "demo\n");
        let mut changed = Vec::new();
        images
            .changes(layer.number, &mut |change| {
                changed.push(change.path.to_owned());
                Ok(())
            })
            .unwrap();
        assert_eq!(changed, [std::path::Path::new("new")]);
        fixture.assert_no_leftovers();
        fixture.discard(&layer);
        let removed = images.remove("demo:1", RemoveOptions::default(), &nobody).unwrap();
        assert_eq!(removed[0], Removed::Untagged("demo:1".into()));
        assert_eq!(removed[1], Removed::Deleted(id));
        assert_eq!(removed.len(), 3);
        fixture.assert_empty();
    });
}

#[test]
fn equal_layers_are_kept_once() {
    on_each_driver(|fixture| {
        let content = archive(&[("a", b"1")]);
        let first = fixture.import("one", &content);
        let second = fixture.import("two", &content);
        assert_ne!(first, second, "the time of creation differs");
        assert_eq!(fixture.count("layers"), 1);
        fixture.images.remove("one", RemoveOptions::default(), &nobody).unwrap();
        assert_eq!(fixture.count("layers"), 1);
        fixture.assert_no_leftovers();
        fixture.images.remove("two", RemoveOptions::default(), &nobody).unwrap();
        fixture.assert_empty();
    });
}

#[test]
fn a_broken_archive_leaves_nothing() {
    on_each_driver(|fixture| {
        let whole = archive(&[("a", &[7; 5000]), ("b", &[8; 5000])]);
        for length in [1, 511, 513, 3000, 5700, 7000] {
            let result = fixture.images.import(&whole[..length], &ImportOptions::default(), &mut quiet);
            assert!(result.is_err(), "{length}");
            fixture.assert_empty();
        }
        let failing = (&whole[..3000]).chain(Failing);
        assert!(fixture.images.import(failing, &ImportOptions::default(), &mut quiet).is_err());
        fixture.assert_empty();
    });
}

struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("the network went away"))
    }
}

#[test]
fn a_name_moves_to_the_image_tagged_last_and_the_other_is_dangling() {
    on_each_driver(|fixture| {
        let images = &fixture.images;
        let first = fixture.import("demo", &archive(&[("a", b"1")]));
        let second = fixture.import("demo", &archive(&[("a", b"2")]));
        assert_eq!(images.resolve("demo").unwrap().id, second);
        let dangling = images.list(&Filter { dangling: Some(true), ..Filter::default() }).unwrap();
        assert_eq!(dangling.iter().map(|image| &image.id).collect::<Vec<_>>(), [&first]);
        let other: Reference = "localhost:5000/x/demo:2".parse().unwrap();
        images.tag("demo", &other).unwrap();
        images.tag(first.short(), &"old".parse().unwrap()).unwrap();
        let error = images.remove(second.short(), RemoveOptions::default(), &nobody).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "conflict: unable to delete {} (must be forced) - image is referenced in multiple repositories",
                second.short()
            )
        );
        assert!(matches!(error, Error::Conflict(_)));
        let listed = images.list(&Filter { references: vec!["localhost:*/*/*".into()], ..Filter::default() }).unwrap();
        assert_eq!(listed[0].tags, [other]);
        images.remove(second.short(), RemoveOptions { force: true, ..RemoveOptions::default() }, &nobody).unwrap();
        assert_eq!(images.list(&Filter::default()).unwrap().len(), 1);
        let pruned = images.prune(true, &Filter::default(), &nobody).unwrap();
        assert_eq!((pruned.reclaimed, pruned.removed.len()), (1, 3));
        fixture.assert_empty();
    });
}
