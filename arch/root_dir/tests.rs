//! Both ways of resolution on the same hostile trees.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{DIRECTORY, Links, RootDir, openat2, split, walk};

type Open = fn(&RootDir, &str, OFlags, Links) -> Result<OwnedFd, Errno>;

/// `..` gives EAGAIN while another test renames, in all of the system.
fn by_kernel(root: &RootDir, path: &str, flags: OFlags, links: Links) -> Result<OwnedFd, Errno> {
    let mode = Mode::from_raw_mode(0o600);
    let mut answers = (0..10_000).filter_map(|_| openat2::open(root.as_fd(), Path::new(path), flags, mode, links));
    answers.next().unwrap_or(Err(Errno::NOSYS))
}

fn by_walk(root: &RootDir, path: &str, flags: OFlags, links: Links) -> Result<OwnedFd, Errno> {
    walk::Walk::new(root.as_fd(), links).open(Path::new(path), flags, Mode::from_raw_mode(0o600))
}

/// A root with a file `secret` and a folder `outside` beside it.
struct Tree {
    folder: PathBuf,
    root: RootDir,
}

impl Tree {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("berth-root-dir-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("root/etc")).unwrap();
        fs::create_dir_all(folder.join("outside")).unwrap();
        fs::write(folder.join("secret"), "outside").unwrap();
        fs::write(folder.join("outside/secret"), "outside").unwrap();
        fs::write(folder.join("root/secret"), "inside").unwrap();
        fs::write(folder.join("root/etc/file"), "inside").unwrap();
        let root = RootDir::open(&folder.join("root")).unwrap();
        Self { folder, root }
    }

    fn link(&self, target: &str, name: &str) {
        symlink(target, self.folder.join("root").join(name)).unwrap();
    }

    /// The ways that this kernel has.
    fn ways(&self) -> Vec<(&'static str, Open)> {
        let kernel = !matches!(by_kernel(&self.root, ".", DIRECTORY, Links::Follow), Err(Errno::NOSYS));
        let mut ways: Vec<(&'static str, Open)> = vec![("walk", by_walk)];
        if kernel {
            ways.push(("openat2", by_kernel));
        }
        ways
    }

    fn expect(&self, path: &str, flags: OFlags, links: Links, expected: Result<&str, Errno>) {
        for (name, open) in self.ways() {
            let found = open(&self.root, path, flags, links).map(|fd| text(&fd));
            assert_eq!(found.as_deref(), expected.as_ref().map(|text| *text), "{path} by {name}");
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The content of a file, `link` for a link, `directory` for a directory.
fn text(fd: &OwnedFd) -> String {
    let stat = rustix::fs::statat(fd, "", rustix::fs::AtFlags::EMPTY_PATH).unwrap();
    match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
        rustix::fs::FileType::Directory => "directory".into(),
        rustix::fs::FileType::Symlink => "link".into(),
        _ => {
            let mut buffer = [0; 16];
            let read = rustix::io::read(fd, &mut buffer).unwrap_or(0);
            String::from_utf8_lossy(&buffer[..read]).into_owned()
        }
    }
}

const READ: OFlags = OFlags::RDONLY;

#[test]
fn links_and_dots_stop_at_the_root() {
    let tree = Tree::new("dots");
    tree.link("/secret", "absolute");
    tree.link("../../../../secret", "up");
    tree.link("..", "etc/parent");
    tree.link("/../..//./etc/", "etc/twisted");
    tree.link("absolute", "chain");
    tree.link(tree.folder.join("secret").to_str().unwrap(), "host-path");
    for path in ["secret", "/secret", "../secret", "../../outside/../secret", "absolute", "up", "chain"] {
        let expected = if path.contains("outside") { Err(Errno::NOENT) } else { Ok("inside") };
        tree.expect(path, READ, Links::Follow, expected);
    }
    tree.expect("etc/parent/../../secret", READ, Links::Follow, Ok("inside"));
    tree.expect("etc/twisted/file", READ, Links::Follow, Ok("inside"));
    tree.expect("etc/twisted/parent/etc/parent/absolute", READ, Links::Follow, Ok("inside"));
    tree.expect("host-path", READ, Links::Follow, Err(Errno::NOENT));
    for path in ["", "/", ".", "..", "etc/..", "etc/parent", "//"] {
        tree.expect(path, DIRECTORY, Links::Follow, Ok("directory"));
    }
}

#[test]
fn loops_of_links_end() {
    let tree = Tree::new("loops");
    tree.link("b", "a");
    tree.link("a", "b");
    tree.link("self/self/self", "self");
    tree.link("bomb1/x", "bomb0");
    tree.link("bomb0/bomb0/bomb0/bomb0", "bomb1");
    for path in ["a", "b", "self", "bomb0", "bomb1", "a/b/c"] {
        tree.expect(path, READ, Links::Follow, Err(Errno::LOOP));
    }
    for depth in 0..45 {
        tree.link(&if depth == 0 { "secret".into() } else { format!("deep{}", depth - 1) }, &format!("deep{depth}"));
    }
    tree.expect("deep39", READ, Links::Follow, Ok("inside"));
    tree.expect("deep40", READ, Links::Follow, Err(Errno::LOOP));
}

#[test]
fn a_last_link_is_followed_unless_it_must_not_be() {
    let tree = Tree::new("last");
    tree.link("secret", "link");
    tree.link("etc", "folder");
    tree.link("nothing", "dangling");
    tree.expect("link", READ, Links::Follow, Ok("inside"));
    tree.expect("link", OFlags::PATH | OFlags::NOFOLLOW, Links::Follow, Ok("link"));
    tree.expect("link", OFlags::PATH, Links::Follow, Ok(""));
    tree.expect("link", READ | OFlags::NOFOLLOW, Links::Follow, Err(Errno::LOOP));
    tree.expect("folder", DIRECTORY, Links::Follow, Ok("directory"));
    tree.expect("folder", DIRECTORY | OFlags::NOFOLLOW, Links::Follow, Err(Errno::NOTDIR));
    tree.expect("folder/", OFlags::PATH | OFlags::NOFOLLOW, Links::Follow, Ok("directory"));
    tree.expect("secret/", READ, Links::Follow, Err(Errno::NOTDIR));
    tree.expect("secret/x", READ, Links::Follow, Err(Errno::NOTDIR));
    tree.expect("secret", DIRECTORY, Links::Follow, Err(Errno::NOTDIR));
    tree.expect("link", DIRECTORY, Links::Follow, Err(Errno::NOTDIR));
    tree.expect("dangling", READ, Links::Follow, Err(Errno::NOENT));
    tree.expect("missing/x", READ, Links::Follow, Err(Errno::NOENT));
}

#[test]
fn refused_links_are_an_error_anywhere() {
    let tree = Tree::new("refused");
    tree.link("etc", "folder");
    tree.expect("folder/file", READ, Links::Refuse, Err(Errno::LOOP));
    tree.expect("folder", READ, Links::Refuse, Err(Errno::LOOP));
    tree.expect("etc/file", READ, Links::Refuse, Ok("inside"));
    let refused = tree.root.parent_no_links(Path::new("folder/file")).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::ELOOP));
    assert!(tree.root.parent_no_links(Path::new("etc/file")).is_ok());
}

#[test]
fn creation_follows_a_dangling_link_inside_only() {
    for (way, open) in Tree::new("probe").ways() {
        let tree = Tree::new(&format!("create-{way}"));
        tree.link("/../../made", "out");
        let flags = OFlags::CREATE | OFlags::WRONLY;
        open(&tree.root, "out", flags, Links::Follow).unwrap();
        assert!(tree.folder.join("root/made").exists() && !tree.folder.join("made").exists());
        let exclusive = open(&tree.root, "out", flags | OFlags::EXCL, Links::Follow);
        assert_eq!(exclusive.unwrap_err(), Errno::EXIST, "{way}");
    }
}

/// /proc/PID/root, cwd, exe and fd are links that lead where their text does not say.
#[test]
fn magic_links_lead_nowhere_outside() {
    let root = RootDir::open(Path::new("/proc")).unwrap();
    let ways = Tree::new("magic").ways();
    for path in ["self/root/etc/passwd", "thread-self/cwd/Cargo.toml", "self/exe", "1/root/etc/passwd"] {
        for (_, open) in &ways {
            assert!(open(&root, path, READ, Links::Follow).is_err(), "{path}");
        }
    }
    for (_, open) in &ways {
        assert!(open(&root, "self/status", READ, Links::Follow).is_ok());
    }
}

#[test]
fn names_deeper_than_the_held_directories_resolve() {
    let tree = Tree::new("deep");
    let deep = "d/".repeat(200);
    fs::create_dir_all(tree.folder.join("root").join(&deep)).unwrap();
    fs::write(tree.folder.join("root").join(&deep).join("f"), "inside").unwrap();
    tree.expect(&format!("{deep}f"), READ, Links::Follow, Ok("inside"));
    let back = format!("{deep}{}{deep}f", "../".repeat(150));
    tree.expect(&back, READ, Links::Follow, Err(Errno::NOENT));
    tree.expect(&format!("{deep}{}{}f", "../".repeat(150), "d/".repeat(150)), READ, Links::Follow, Ok("inside"));
    tree.expect(&format!("{deep}{}secret", "../".repeat(300)), READ, Links::Follow, Ok("inside"));
}

/// A name longer than the kernel takes at once is walked.
#[test]
fn names_longer_than_path_max_resolve() {
    let tree = Tree::new("long");
    let name = format!("{}secret", "etc/../".repeat(1000));
    let fd = tree.root.open_at(Path::new(&name), READ, Mode::empty()).unwrap();
    assert_eq!(text(&fd), "inside");
}

/// A folder becomes a link to the outside, and back, while names below it are opened.
#[test]
fn a_folder_swapped_with_a_link_never_leads_outside() {
    let tree = Tree::new("swap");
    let inside = tree.folder.join("root");
    fs::create_dir(inside.join("swapped")).unwrap();
    fs::write(inside.join("swapped/secret"), "inside").unwrap();
    symlink(tree.folder.join("outside"), inside.join("trap")).unwrap();
    symlink("../../outside", inside.join("trap2")).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for trap in ["trap", "trap2"] {
                    let flags = rustix::fs::RenameFlags::EXCHANGE;
                    for _ in 0..2 {
                        let root = &tree.root;
                        rustix::fs::renameat_with(root, "swapped", root, trap, flags).unwrap();
                    }
                }
            }
        });
        for (name, open) in tree.ways() {
            let mut opened = 0;
            for _ in 0..4000 {
                for path in ["swapped/secret", "swapped/../secret", "etc/../swapped/secret"] {
                    if let Ok(fd) = open(&tree.root, path, READ, Links::Follow) {
                        assert_eq!(text(&fd), "inside", "{name}");
                        opened += 1;
                    }
                }
            }
            assert!(opened > 0, "{name} never got through");
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn missing_directories_are_made_inside() {
    let tree = Tree::new("make");
    tree.link("/../../far/away", "link");
    for path in ["a/b/c", "link/x", "../../up", "a/../a/b/d/", "etc"] {
        let fd = tree.root.create_dir_all(Path::new(path), Mode::from_raw_mode(0o755)).unwrap();
        assert_eq!(text(&fd), "directory", "{path}");
    }
    for path in ["root/a/b/c", "root/a/b/d", "root/far/away/x", "root/up"] {
        assert!(tree.folder.join(path).is_dir(), "{path}");
    }
    assert!(!tree.folder.join("far").exists() && !tree.folder.join("up").exists());
    let error = tree.root.create_dir_all(Path::new("secret/x"), Mode::from_raw_mode(0o755)).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOTDIR));
}

#[test]
fn the_parent_of_a_name_is_inside() {
    let tree = Tree::new("parent");
    tree.link("/etc", "link");
    for (path, name) in [("link/file", "file"), ("a", "a"), ("etc/sub/", "sub"), ("", "."), ("/", "."), ("etc/..", ".")]
    {
        assert_eq!(tree.root.parent(Path::new(path)).unwrap().name, name, "{path}");
    }
    assert!(tree.root.exists(Path::new("link/file")).unwrap());
    assert!(!tree.root.exists(Path::new("link/none")).unwrap());
    assert!(!tree.root.exists(Path::new("secret/x")).unwrap());
    assert_eq!(tree.root.read_link(Path::new("link")).unwrap(), Path::new("/etc"));
    let kind = |stat: rustix::fs::Stat| rustix::fs::FileType::from_raw_mode(stat.st_mode);
    assert!(kind(tree.root.stat_no_follow(Path::new("link")).unwrap()).is_symlink());
    assert!(kind(tree.root.stat(Path::new("link")).unwrap()).is_dir());
}

#[test]
fn a_name_is_split_before_its_last_component() {
    for (path, directory, name) in
        [("a", "", "a"), ("/a", "/", "a"), ("a/b//", "a/", "b"), ("/", "", "."), ("a/.", "a/.", "."), ("..", "..", ".")]
    {
        assert_eq!(split(Path::new(path)), (Path::new(directory), std::ffi::OsStr::new(name)), "{path}");
    }
}
