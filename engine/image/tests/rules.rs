//! Docker's rules about who may remove what, and what is told of an image.

use berth_fs_drivers::{Access, mount};
use berth_image::{
    CommitOptions, Digest, Filter, ImageId, ImageUser, ImportOptions, LoadOptions, RemoveOptions, Removed, Result,
};
use berth_store::rusqlite::Connection;

use crate::fixture::{Fixture, archive, fixture, nobody, on_each_driver, quiet};

const FORCE: RemoveOptions = RemoveOptions { force: true, keep_parents: false };

fn used_by(running: bool) -> impl Fn(&Connection, &ImageId) -> Result<Vec<ImageUser>> {
    move |_, _| Ok(vec![ImageUser { container: "0123456789abcdef".to_owned(), running }])
}

fn commit(fixture: &Fixture, base: &ImageId, name: Option<&str>, content: &str) -> ImageId {
    let layer = fixture.container(base);
    let mounts = fixture.images.container_mounts(layer.number, None, Access::ReadWrite).unwrap();
    mount::with_mounted(&mounts, |root| std::fs::write(root.join("content"), content).unwrap()).unwrap();
    let options = CommitOptions {
        reference: name.map(|name| name.parse().unwrap()),
        message: Some(format!("wrote {content}")),
        created_by: "sh".to_owned(),
        changes: vec![format!("LABEL content={content}")],
        ..CommitOptions::default()
    };
    let id = fixture.images.commit(layer.number, base, &options, &mut quiet).unwrap();
    fixture.discard(&layer);
    id
}

#[test]
fn an_image_in_use_is_kept_with_dockers_words() {
    let fixture = fixture();
    let images = &fixture.images;
    let id = fixture.import("demo", &archive(&[("a", b"1")]));
    let short = id.short();
    let message =
        |name: &str, options, running| images.remove(name, options, &used_by(running)).unwrap_err().to_string();
    assert_eq!(
        message("demo", RemoveOptions::default(), false),
        format!(
            "conflict: unable to remove repository reference \"demo\" (must force) - container 0123456789ab is using its \
             referenced image {short}"
        )
    );
    assert_eq!(
        message(short, RemoveOptions::default(), false),
        format!(
            "conflict: unable to delete {short} (must be forced) - image is being used by stopped container 0123456789ab"
        )
    );
    assert_eq!(
        message(short, FORCE, true),
        format!(
            "conflict: unable to delete {short} (cannot be forced) - image is being used by running container 0123456789ab"
        )
    );
    let untagged = images.remove("demo", FORCE, &used_by(true)).unwrap();
    assert_eq!(untagged, [Removed::Untagged("demo:latest".into())]);
    assert!(images.prune(true, &Filter::default(), &used_by(false)).unwrap().removed.is_empty());
    images.remove(short, FORCE, &used_by(false)).unwrap();
    fixture.assert_empty();
}

#[test]
fn parents_without_a_name_go_with_their_last_child() {
    let fixture = fixture();
    let images = &fixture.images;
    let base = fixture.import("base", &archive(&[("a", b"1")]));
    let middle = commit(&fixture, &base, None, "one");
    let top = commit(&fixture, &middle, Some("top"), "two");
    let history = images.history("top").unwrap();
    let ids: Vec<_> = history.iter().map(|entry| entry.id.clone()).collect();
    assert_eq!(ids, [Some(top.clone()), Some(middle.clone()), Some(base.clone())]);
    assert_eq!((history[0].comment.as_str(), history[0].size), ("wrote two", 3));
    assert_eq!(images.list(&Filter::default()).unwrap().len(), 2, "what is between is not shown");
    assert_eq!(images.list(&Filter { all: true, ..Filter::default() }).unwrap().len(), 3);
    let labelled = Filter { labels: vec!["content=two".into()], ..Filter::default() };
    assert_eq!(images.list(&labelled).unwrap()[0].id, top);
    let before = Filter { before: Some("top".into()), ..Filter::default() };
    assert_eq!(images.list(&before).unwrap()[0].id, base);
    assert_eq!(
        images.remove(middle.short(), FORCE, &nobody).unwrap_err().to_string(),
        format!("conflict: unable to delete {} (cannot be forced) - image has dependent child images", middle.short())
    );
    let usage = images.disk_usage().unwrap();
    assert_eq!((usage.layers, usage.images.len()), (1 + 3 + 3, 3));
    assert_eq!((usage.images[0].shared, usage.images[0].unique), (4, 3));
    let inspect = images.inspect("top").unwrap();
    assert_eq!(inspect.image.parent.as_ref(), Some(&middle));
    assert_eq!(inspect.image.config.rootfs.diff_ids.len(), 3);
    images.remove("top", RemoveOptions::default(), &nobody).unwrap();
    assert_eq!(images.list(&Filter { all: true, ..Filter::default() }).unwrap().len(), 1, "only what has a name");
    images.remove("base", RemoveOptions::default(), &nobody).unwrap();
    fixture.assert_empty();
}

#[test]
fn a_container_that_changed_nothing_adds_no_layer() {
    on_each_driver(|fixture| {
        let base = fixture.import("base", &archive(&[("a", b"1")]));
        let layer = fixture.container(&base);
        let id = fixture.images.commit(layer.number, &base, &CommitOptions::default(), &mut quiet).unwrap();
        fixture.discard(&layer);
        let image = fixture.images.get(&id).unwrap();
        assert_eq!((image.config.rootfs.diff_ids.len(), fixture.count("layers")), (1, 1));
        assert!(image.config.history[1].empty_layer);
    });
}

#[test]
fn an_image_without_layers_has_an_empty_root() {
    on_each_driver(|fixture| {
        let config = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
        let manifest = br#"[{"Config":"c.json","RepoTags":["scratch:1"],"Layers":[]}]"#;
        let bytes = archive(&[("manifest.json", manifest), ("c.json", config)]);
        fixture.images.load(&bytes[..], &LoadOptions::default(), &mut quiet).unwrap();
        assert_eq!(fixture.images.resolve("scratch:1").unwrap().id, Digest::of(config));
        let id = commit(fixture, &Digest::of(config), Some("scratch:2"), "first");
        assert_eq!(fixture.images.get(&id).unwrap().config.rootfs.diff_ids.len(), 1);
        fixture.images.prune(true, &Filter::default(), &nobody).unwrap();
        fixture.assert_empty();
    });
}

#[test]
fn import_applies_changes_platform_and_message() {
    let fixture = fixture();
    let options = ImportOptions {
        changes: vec!["ENTRYPOINT [\"/x\"]".into(), "ENV A=b".into()],
        message: Some("by hand".into()),
        platform: Some(berth_arch::host::Platform {
            os: "linux".into(),
            architecture: "arm".into(),
            variant: Some("v6".into()),
        }),
        ..ImportOptions::default()
    };
    let id = fixture.images.import(&archive(&[])[..], &options, &mut quiet).unwrap();
    let config = fixture.images.get(&id).unwrap().config;
    assert_eq!((config.architecture.as_str(), config.variant.as_deref()), ("arm", Some("v6")));
    assert_eq!(config.config.entrypoint.unwrap(), ["/x"]);
    assert_eq!(config.comment.as_deref(), Some("by hand"));
    let wrong = ImportOptions { changes: vec!["RUN ls".into()], ..ImportOptions::default() };
    let error = fixture.images.import(&archive(&[])[..], &wrong, &mut quiet).unwrap_err();
    assert_eq!(error.to_string(), "run is not a valid change command");
}
