use super::*;

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .map(|entry| {
            let entry = entry.unwrap();
            1 + if entry.file_type().unwrap().is_dir() { files(&entry.path()) } else { 0 }
        })
        .sum()
}

#[test]
fn names_are_found_in_either_case_until_they_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let names = Names::new(folder.path());
    assert!(names.lookup("web").is_empty());
    let (own, at) = (strings(&["Web", "c0ffee"]), addresses(&["10.0.0.2", "fd00::2"]));
    names.add("c0ffee", &own, &at).unwrap();
    names.add("c0ffee", &own, &at).unwrap();
    assert_eq!(names.lookup("wEB."), at);
    assert_eq!(names.lookup("c0ffee"), at);
    assert_eq!(names.reverse(at[1]).as_deref(), Some("web"));
    names.remove("c0ffee", &own, &at).unwrap();
    names.remove("c0ffee", &own, &at).unwrap();
    assert!(names.lookup("web").is_empty());
    assert_eq!(names.reverse(at[0]), None);
    assert_eq!(files(&folder.path().join("names")) + files(&folder.path().join("addresses")), 0);
}

#[test]
fn other_addresses_take_the_place_of_the_former_ones() {
    let folder = tempfile::tempdir().unwrap();
    let names = Names::new(folder.path());
    names.add("a", &strings(&["web"]), &addresses(&["10.0.0.2", "fd00::2"])).unwrap();
    names.add("a", &strings(&["web"]), &addresses(&["10.0.0.3", "fd00::2"])).unwrap();
    assert_eq!(names.lookup("web"), addresses(&["10.0.0.3", "fd00::2"]));
    assert_eq!(names.reverse("10.0.0.2".parse().unwrap()), None);
    assert_eq!(names.reverse("fd00::2".parse().unwrap()).as_deref(), Some("web"));
    assert_eq!(names.reverse("10.0.0.3".parse().unwrap()).as_deref(), Some("web"));
}

#[test]
fn those_who_share_a_name_are_each_first_at_times() {
    let folder = tempfile::tempdir().unwrap();
    let names = Names::new(folder.path());
    for owner in 1..=3 {
        names.add(&format!("c{owner}"), &strings(&["pool"]), &addresses(&[&format!("10.0.0.{owner}")])).unwrap();
    }
    let mut first = [0; 4];
    for _ in 0..300 {
        let found = names.lookup("pool");
        assert_eq!(found.len(), 3);
        let IpAddr::V4(address) = found[0] else { panic!() };
        first[usize::from(address.octets()[3])] += 1;
        // The one that a program sees that asks for both families.
        names.lookup("pool");
    }
    assert!(first[1..].iter().all(|count| *count > 50), "{first:?}");
}

#[test]
fn what_is_no_name_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let names = Names::new(folder.path());
    let long = ["a".repeat(64), ["a".repeat(63).as_str(); 4].join("."), "ä".into(), "a b".into(), "a\0".into()];
    let bad = ["", ".", "..", "a/b", "../a", ".a", "a.", "a..b", "/", "*"].map(str::to_owned);
    for name in bad.iter().chain(&long) {
        let error = names.add("a", &[String::from("good"), name.clone()], &addresses(&["10.0.0.2"])).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument(_)), "{name:?}");
        assert!(names.lookup(name).is_empty() || name == "a.");
        names.remove("a", std::slice::from_ref(name), &[]).unwrap();
    }
    for owner in ["", "..", "a/b", ".new.a"] {
        names.add(owner, &strings(&["good"]), &addresses(&["10.0.0.2"])).unwrap_err();
    }
    assert_eq!(files(folder.path()), 0);
    let longest = ["a".repeat(63), "a".repeat(63), "a".repeat(63), "a".repeat(61)].join(".");
    names.add("a", &[longest.clone(), "under_score".into()], &addresses(&["10.0.0.2"])).unwrap();
    assert_eq!(names.lookup(&longest).len(), 1);
}

#[test]
fn a_sweep_removes_what_the_dead_left_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let names = Names::new(folder.path());
    names.add("dead", &strings(&["web", "db"]), &addresses(&["10.0.0.2"])).unwrap();
    names.add("live", &strings(&["web"]), &addresses(&["10.0.0.3"])).unwrap();
    assert_eq!(names.owners().into_iter().collect::<Vec<_>>(), ["dead", "live"]);
    names.sweep(|owner| owner == "live").unwrap();
    assert_eq!(names.lookup("web"), addresses(&["10.0.0.3"]));
    assert!(names.lookup("db").is_empty());
    assert_eq!(names.reverse("10.0.0.2".parse().unwrap()), None);
    assert!(!folder.path().join("names/db").exists());
}

#[test]
fn many_at_once_lose_no_name() {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for owner in 0..4 {
            let path = folder.path();
            scope.spawn(move || {
                let (names, owner) = (Names::new(path), format!("c{owner}"));
                for round in 0..200 {
                    let at = addresses(&[&format!("10.0.{round}.1")]);
                    names.add(&owner, &strings(&["shared"]), &at).unwrap();
                    assert!(names.lookup("shared").contains(&at[0]), "{owner} round {round}");
                    names.remove(&owner, &strings(&["shared"]), &at).unwrap();
                }
            });
        }
    });
    assert!(Names::new(folder.path()).owners().is_empty());
}

#[test]
fn folders_are_for_their_owner_alone() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    Names::new(folder.path()).add("a", &strings(&["web"]), &addresses(&["10.0.0.2"])).unwrap();
    for path in ["names", "names/web", "addresses", "addresses/10.0.0.2"] {
        assert_eq!(std::fs::metadata(folder.path().join(path)).unwrap().mode() & 0o777, 0o700, "{path}");
    }
}
