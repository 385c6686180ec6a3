//! Images: in from every kind of archive, out again, and what a file is survives the whole way.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::call::call;
use crate::support::image::{archive, busybox, file, folder};
use crate::support::world::LIMIT;
use crate::support::{Mode, World, find_program, skip};

fn small() -> Vec<u8> {
    archive(&[folder("etc/"), file("etc/greeting", b"hello\n")])
}

/// The members of a tar file with everything GNU tar knows about them, one line each, sorted.
fn listing(tarball: &Path) -> Vec<String> {
    let mut command = Command::new("tar");
    command.args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "--full-time", "-tvvf"]).arg(tarball);
    let mut lines = call(command, &[], LIMIT).ok().lines();
    lines.sort();
    lines
}

/// What lies below a folder: every attribute that stat(1), getfattr(1) and the content show.
fn facts(folder: &str) -> Vec<String> {
    let script = "cd \"$1\" && find . ! -path ./proc ! -path ./dev ! -path ./sys -print0 | sort -z | while IFS= read -r -d '' f; do \
        stat --printf '%n %F %a %u:%g %h %t:%T %.Y ' \"$f\"; [ -d \"$f\" ] || stat --printf '%s ' \"$f\"; \
        [ -L \"$f\" ] && readlink \"$f\" | tr '\\n' ' '; \
        getfattr -hd -m - -e hex --absolute-names \"$f\" 2>/dev/null | grep = | sort | tr '\\n' ' '; \
        [ -f \"$f\" ] && [ ! -L \"$f\" ] && md5sum < \"$f\" | cut -c1-32 | tr '\\n' ' '; echo; done";
    let mut command = Command::new("bash");
    command.args(["-c", script, "facts", folder]);
    call(command, &[], LIMIT).ok().lines()
}

both! {
    fn import_takes_every_compression(world) {
        fs::write(world.path("plain.tar"), small()).unwrap();
        for (tool, ending) in [("gzip", "gz"), ("xz", "xz"), ("zstd", "zst"), ("bzip2", "bz2")] {
            if find_program(tool).is_none() {
                skip(&format!("{tool} is not installed"));
                continue;
            }
            world.shell(&format!("{tool} -c plain.tar > packed.{ending}")).ok();
            let id = world
                .berth(&["import", &world.at(&format!("packed.{ending}")), &format!("from-{ending}:1")])
                .ok()
                .text();
            assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
        }
        world.shell("berth import plain.tar plain").ok();
        world.shell("cat plain.tar | berth import - piped").ok();
        let layers: std::collections::BTreeSet<_> = world
            .berth(&["images", "--format", "{{.Repository}}:{{.Tag}}"])
            .ok()
            .lines()
            .iter()
            .filter(|name| !name.starts_with("box"))
            .map(|id| world.inspect(id, "{{index .RootFS.Layers 0}}"))
            .collect();
        assert_eq!(layers.len(), 1, "the same content is the same layer");
        world.shell("sha256sum plain.tar | cut -c1-64 | sed s/^/sha256:/ > digest").ok();
        assert_eq!(layers.first().unwrap(), fs::read_to_string(world.path("digest")).unwrap().trim());
    }

    fn import_applies_changes_and_a_message(world) {
        world
            .feed(
                &[
                    "import",
                    "-c",
                    "CMD [\"cat\", \"/etc/greeting\"]",
                    "-c",
                    "ENV A=1 B=2",
                    "-c",
                    "WORKDIR /etc",
                    "-c",
                    "USER 5",
                    "-c",
                    "EXPOSE 80",
                    "-c",
                    "LABEL x=y",
                    "-m",
                    "first",
                    "-",
                    "m:v1",
                ],
                &small(),
            )
            .ok();
        assert_eq!(
            world.inspect("m:v1", "{{json .Config.Cmd}} {{.Config.WorkingDir}} {{.Config.User}} {{.Config.Labels.x}}"),
            r#"["cat","/etc/greeting"] /etc 5 y"#
        );
        assert!(world.berth(&["history", "m:v1"]).ok().out().contains("first"));
        world.feed(&["import", "-c", "NONSENSE x", "-", "bad"], &small()).refused(1, &["not a valid change command"]);
        world.feed(&["import", "-", "Bad:Name:"], &small()).refused(1, &["invalid reference format"]);
    }

    fn tags_come_and_go(world) {
        world.berth(&["tag", "box", "registry.example.org:5000/a/box:v1"]).ok();
        world.berth(&["tag", "box:latest", "other"]).ok();
        world.berth(&["tag", "nothing", "x"]).refused(1, &["No such image: nothing"]);
        let table = world.berth(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).ok();
        let mut names = table.lines();
        names.sort();
        assert_eq!(names, ["box:latest", "other:latest", "registry.example.org:5000/a/box:v1"]);
        let removed = world.berth(&["rmi", "other"]).ok();
        assert_eq!(removed.text(), "Untagged: other:latest");
        let id = world.inspect("box", "{{.Id}}");
        world.berth(&["rmi", &id]).refused(1, &["multiple", "force"]);
        let removed = world.berth(&["rmi", "-f", &id[7..19]]).ok();
        assert!(removed.out().contains(&format!("Deleted: {id}")), "{removed}");
        assert_eq!(world.berth(&["images", "-q"]).ok().text(), "");
        world.berth(&["rmi", "box"]).refused(1, &["No such image: box"]);
    }

    fn commit_keeps_changes_and_configuration(world) {
        world
            .run(&[
                "--name",
                "one",
                "-e",
                "KEEP=1",
                "box",
                "sh",
                "-c",
                "echo new > /new; rm /etc/group; mkdir -p /deep/er; rm -r /mnt; mkdir /mnt; touch /mnt/x",
            ])
            .ok();
        let id = world
            .berth(&["commit", "-a", "Somebody", "-m", "why", "-c", "CMD [\"cat\", \"/new\"]", "one", "made:1"])
            .ok()
            .text();
        assert!(id.starts_with("sha256:"), "{id}");
        assert_eq!(world.run(&["--rm", "made:1"]).ok().text(), "new");
        assert_eq!(
            world.run(&["--rm", "made:1", "sh", "-c", "ls /etc/group 2>&1; ls /mnt; echo $KEEP"]).ok().text(),
            "ls: /etc/group: No such file or directory\nx\n1"
        );
        assert_eq!(world.inspect("made:1", "{{.Author}} {{.Comment}} {{len .RootFS.Layers}}"), "Somebody why 2");
        assert_eq!(world.berth(&["history", "-q", "made:1"]).ok().lines().len(), 2);
        world.berth(&["rmi", "box"]).ended(1);
        world.berth(&["rm", "one"]).ok();
        world.berth(&["rmi", "made:1"]).ok();
    }

    fn save_and_load_give_the_same_image(world) {
        world.run(&["--name", "one", "box", "sh", "-c", "echo more > /more"]).ok();
        world.berth(&["commit", "one", "two:v2"]).ok();
        let id = world.inspect("two:v2", "{{.Id}}");
        world.shell("berth save -o saved.tar two:v2 && berth save box | gzip > box.tar.gz").ok();
        let other = world.beside(world.mode());
        let said = other.berth(&["load", "-i", &world.at("saved.tar")]).ok();
        assert!(said.out().contains("Loaded image: two:v2"), "{said}");
        assert_eq!(other.inspect("two:v2", "{{.Id}}"), id);
        assert_eq!(other.run(&["--rm", "two:v2", "cat", "/more"]).ok().text(), "more");
        let gz = fs::read(world.path("box.tar.gz")).unwrap();
        assert!(other.feed(&["load"], &gz).ok().out().contains("Loaded image: box:latest"));
        other.berth(&["save", "-o", &other.at("again.tar"), "two:v2"]).ok();
        assert_eq!(
            fs::read(world.path("saved.tar")).unwrap(),
            fs::read(other.path("again.tar")).unwrap(),
            "byte for byte"
        );
        world.berth(&["save", "-o", &world.at("x.tar"), "nothing"]).refused(1, &["nothing"]);
        assert!(!world.path("x.tar").exists());
    }

    fn what_is_saved_is_an_oci_layout_and_a_docker_archive(world) {
        world.shell("berth save -o saved.tar box && mkdir layout && tar -C layout -xf saved.tar").ok();
        let json = |name: &str| -> serde_json::Value {
            serde_json::from_slice(&fs::read(world.path("layout").join(name)).unwrap()).unwrap()
        };
        assert_eq!(json("oci-layout")["imageLayoutVersion"], "1.0.0");
        assert_eq!(json("manifest.json")[0]["RepoTags"], serde_json::json!(["box:latest"]));
        let digest = json("index.json")["manifests"][0]["digest"].as_str().unwrap().to_owned();
        let manifest = json(&format!("blobs/sha256/{}", &digest[7..]));
        for descriptor in std::iter::once(&manifest["config"]).chain(manifest["layers"].as_array().unwrap()) {
            let hex = &descriptor["digest"].as_str().unwrap()[7..];
            let path = world.path("layout").join("blobs/sha256").join(hex);
            assert_eq!(fs::metadata(&path).unwrap().len(), descriptor["size"].as_u64().unwrap());
            assert!(world.shell(&format!("sha256sum {}", path.display())).ok().out().starts_with(hex));
        }
        // Loaded again from the layout alone, as other programs write it.
        world.shell("cd layout && rm manifest.json && tar -cf ../layout.tar .").ok();
        world.berth(&["rmi", "box"]).ok();
        world.berth(&["load", "-i", &world.at("layout.tar")]).ok();
        assert_eq!(world.sh(&[], "echo works"), "works");
        if find_program("skopeo").is_none() {
            return skip("skopeo is not installed");
        }
        world.shell("skopeo inspect --config docker-archive:saved.tar && skopeo inspect oci-archive:saved.tar").ok();
    }

    fn load_picks_the_platform_that_is_asked_for(world) {
        let line = "mkdir all && for arch in arm64 s390x; do \
            berth import --platform linux/$arch root.tar both:1 && berth save both:1 | tar -xC all && mv all/index.json $arch.json && berth rmi both:1; done";
        fs::write(world.path("root.tar"), small()).unwrap();
        world.shell(line).ok();
        let index = |name: &str| -> serde_json::Value {
            serde_json::from_slice(&fs::read(world.path(name)).unwrap()).unwrap()
        };
        let mut both = index("arm64.json");
        both["manifests"].as_array_mut().unwrap().push(index("s390x.json")["manifests"][0].take());
        fs::write(world.path("all/index.json"), both.to_string()).unwrap();
        world.shell("rm all/manifest.json && tar -C all -cf both.tar .").ok();
        for architecture in ["s390x", "arm64"] {
            world.berth(&["load", "-i", "both.tar", "--platform", &format!("linux/{architecture}")]).ok();
            assert_eq!(world.inspect("both:1", "{{.Architecture}}"), architecture);
        }
        world.berth(&["load", "-i", "both.tar", "--platform", "linux/riscv64"]).refused(1, &["riscv64"]);
    }

    fn export_is_the_root_as_it_is(world) {
        world.run(&["--name", "one", "box", "sh", "-c", "echo x > /added; rm /etc/group"]).ok();
        world
            .shell("berth export one | tar -t > names; berth export -o c.tar one && tar -xOf c.tar added > content")
            .ok();
        let names = fs::read_to_string(world.path("names")).unwrap();
        assert!(
            names.lines().any(|name| name == "added" || name == "./added") && !names.contains("etc/group"),
            "{names}"
        );
        assert_eq!(fs::read_to_string(world.path("content")).unwrap(), "x\n");
        world.shell("berth import c.tar again").ok();
        assert_eq!(world.run(&["--rm", "again", "cat", "/added"]).ok().text(), "x");
    }

    fn cp_copies_as_cp_does_both_ways(world) {
        world.start(
            &["--name", "one"],
            "mkdir -p /d/sub; echo one > /d/f; echo two > /d/sub/g; ln -s f /d/link; sleep 1000",
        );
        crate::support::eventually("it made its files", LIMIT, || {
            world.berth(&["exec", "one", "test", "-e", "/d/link"]).code == 0
        });
        world.shell("berth cp one:/d out && berth cp one:/d/f file && mkdir flat && berth cp one:/d/. flat").ok();
        assert_eq!(fs::read_to_string(world.path("out/sub/g")).unwrap(), "two\n");
        assert_eq!(fs::read_to_string(world.path("file")).unwrap(), "one\n");
        assert_eq!(fs::read_link(world.path("flat/link")).unwrap(), Path::new("f"));
        assert_eq!(fs::read_to_string(world.path("flat/sub/g")).unwrap(), "two\n");
        world.shell("berth cp one:/ whole").ok();
        assert_eq!(fs::read_to_string(world.path("whole/d/sub/g")).unwrap(), "two\n");
        world.shell("echo in > in && berth cp in one:/tmp/ && berth cp in one:/tmp/named && berth cp out one:/tmp").ok();
        assert_eq!(
            world.berth(&["exec", "one", "sh", "-c", "cat /tmp/in /tmp/named /tmp/out/sub/g"]).ok().text(),
            "in\nin\ntwo"
        );
        assert_eq!(world.shell("berth cp one:/d/f - | tar -xO").ok().out(), "one\n");
        world.shell("tar -c in | berth cp - one:/root").ok();
        assert_eq!(world.berth(&["exec", "one", "cat", "/root/in"]).ok().text(), "in");
        world.shell("mkdir z && echo packed > z/packed && tar -C z -cz packed | berth cp - one:/root").ok();
        assert_eq!(world.berth(&["exec", "one", "cat", "/root/packed"]).ok().text(), "packed");
        world.berth(&["cp", "one:/nowhere", &world.at("x")]).refused(1, &["/nowhere"]);
        world.berth(&["cp", &world.at("in"), "one:/nowhere/x"]).refused(1, &["nowhere"]);
        world.berth(&["cp", &world.at("missing"), "one:/"]).refused(1, &["missing"]);
        world.berth(&["cp", "nobody:/", &world.at("x")]).refused(1, &["No such container: nobody"]);
        // Of one that does not run, and through what is mounted into one that does.
        world.berth(&["stop", "-t", "0", "one"]).ok();
        assert_eq!(world.shell("berth cp one:/tmp/named - | tar -xO").ok().out(), "in\n");
        world.start(
            &["--name", "mm", "-v", &format!("{}:/bound", world.at("out")), "--tmpfs", "/t"],
            "echo inside > /t/x; sleep 1000",
        );
        crate::support::eventually("it made its file", LIMIT, || {
            world.berth(&["exec", "mm", "test", "-e", "/t/x"]).code == 0
        });
        assert_eq!(
            world.shell("berth cp mm:/t/x - | tar -xO; berth cp mm:/bound/f - | tar -xO").ok().out(),
            "inside\none\n"
        );
    }

    fn cp_follows_a_link_that_ends_in_a_slash_or_a_dot(world) {
        world.start(&["--name", "one"], "mkdir /d /new; echo x > /d/f; ln -s d /l; sleep 1000");
        crate::support::eventually("it made its files", LIMIT, || {
            world.berth(&["exec", "one", "test", "-e", "/l/f"]).code == 0
        });
        world.shell("mkdir out && berth cp one:/l/ out && berth cp one:/l/. out && berth cp one:/l out/link").ok();
        assert!(world.path("out/l").symlink_metadata().unwrap().is_dir());
        for name in ["out/l/f", "out/f"] {
            assert_eq!(fs::read_to_string(world.path(name)).unwrap(), "x\n", "{name}");
        }
        assert_eq!(fs::read_link(world.path("out/link")).unwrap(), Path::new("d"));
        world.shell("ln -s out up && berth cp up/. one:/new && berth cp up/ one:/new && berth cp up one:/new/other").ok();
        let look = "cat /new/f /new/up/f; readlink /new/other";
        assert_eq!(world.berth(&["exec", "one", "sh", "-c", look]).ok().text(), "x\nx\nout");
    }

    fn a_file_that_would_be_a_whiteout_is_not_committed(world) {
        world.run(&["--name", "one", "box", "sh", "-c", "mkdir /d && touch /d/.wh.f"]).ok();
        world.berth(&["commit", "one", "made"]).refused(1, &["d/.wh.f", "rename or remove it"]);
        assert_eq!(world.berth(&["images", "-q", "made"]).ok().text(), "");
    }

    fn cp_takes_files_as_they_are(world) {
        world.start(&["--name", "one"], "sleep 1000");
        let make = "mkdir up && cd up && echo x > a && ln a b && ln -s nowhere l && mkfifo p && truncate -s 5M holes && \
            echo end >> holes && setfattr -n user.note -v kept a && chown 7:8 a && chmod 4755 a && \
            touch -d '2001-02-03 04:05:06.123456789' a holes";
        world.shell(make).ok();
        world.shell("berth cp -a up one:/ && berth cp -a one:/up back && berth cp up one:/plain").ok();
        let look = |folder: &str| {
            let line = "stat -c '%n %F %a %h %s %u %g %y' a b holes p; stat -c '%n %F' l; md5sum holes; getfattr -d a";
            world.shell(&format!("cd {folder} && {line}")).ok().out()
        };
        assert_eq!(look("back"), look("up"));
        let owners = world.berth(&["exec", "one", "stat", "-c", "%u %g %h", "/plain/a"]).ok().text();
        assert_eq!(owners, "0 0 2");
    }

    fn cp_gives_files_as_they_are(world) {
        let make = "mkdir -p /d/empty; truncate -s 5M /d/holes; echo end >> /d/holes; mkfifo /d/fifo; echo x > /d/a; \
            ln /d/a /d/b; chmod 4711 /d/a; touch -d '1969-01-01 00:00:00' /d/old";
        world.run(&["--name", "one", "box", "sh", "-c", make]).ok();
        let look = "stat -c '%n %F %a %h %s' * && stat -c %Y old && md5sum holes && du -k holes | cut -f1";
        let inside = "cd /d && stat -c '%n %F %a %h %s' * && stat -c %Y old && md5sum holes";
        world.shell("berth cp one:/d out && berth cp out one:/again").ok();
        let mut found = world.shell(&format!("cd out && {look}")).ok().lines();
        let blocks: u32 = found.pop().unwrap().parse().unwrap();
        assert!(blocks < 1024, "the holes were filled: {blocks} KiB");
        world.berth(&["commit", "one", "made"]).ok();
        assert_eq!(world.run(&["--rm", "made", "sh", "-c", inside]).ok().lines(), found);
        assert_eq!(world.run(&["--rm", "made", "stat", "-c", "%Y", "/again/old"]).ok().text(), "-31536000");
    }

    fn an_image_of_130_layers_works(world) {
        let mut layers: Vec<Vec<u8>> = (0..130u32)
            .map(|number| {
                let (name, content) = (format!("layer-{number}"), format!("{number}\n"));
                let whiteout = format!(".wh.layer-{}", number.wrapping_sub(2));
                let own = file(&name, content.as_bytes());
                let last = file("last", content.as_bytes());
                // Every tenth hides a file of two layers before.
                if number % 10 == 5 { archive(&[own, last, file(&whiteout, b"")]) } else { archive(&[own, last]) }
            })
            .collect();
        layers[0] = busybox().to_vec();
        fs::write(world.path("deep.tar"), docker_archive(world, "deep:1", &layers)).unwrap();
        world.shell("berth load -i deep.tar").ok();
        assert_eq!(world.inspect("deep:1", "{{len .RootFS.Layers}}"), "130");
        let seen = world
            .run(&[
                "--rm",
                "deep:1",
                "sh",
                "-c",
                "cat /last; ls / | grep -c layer-; ls /layer-3 /layer-13 2>/dev/null; cat /layer-129 /layer-1",
            ])
            .ok();
        assert_eq!(seen.text(), "129\n116\n129\n1");
        world.run(&["--name", "one", "deep:1", "sh", "-c", "echo top > /layer-50"]).ok();
        world.berth(&["commit", "one", "deep:2"]).ok();
        assert_eq!(world.run(&["--rm", "deep:2", "cat", "/layer-50"]).ok().text(), "top");
        world.berth(&["save", "-o", &world.at("out.tar"), "deep:2"]).ok();
        world.berth(&["rm", "one"]).ok();
        world.berth(&["rmi", "deep:2", "deep:1"]).ok();
        world.berth(&["load", "-i", &world.at("out.tar")]).ok();
        assert_eq!(world.run(&["--rm", "deep:2", "sh", "-c", "cat /layer-50 /last"]).ok().text(), "top\n129");
    }

    fn used_space_is_told_and_given_back(world) {
        world.run(&["--name", "one", "box", "sh", "-c", "head -c 1000000 /dev/zero > /x"]).ok();
        let df = world.berth(&["system", "df"]).ok().out();
        assert!(df.contains("Images") && df.contains("Containers"), "{df}");
        world.berth(&["commit", "one", "x"]).ok();
        // The layers as they lie on the disk: the box's is shared by both images, and the container's has what it wrote.
        let df = world.berth(&["system", "df", "-v"]).ok().lines();
        let layers = df.iter().skip_while(|line| !line.starts_with("LAYER")).skip(1).collect::<Vec<_>>();
        let counts = |line: &str| line.split_whitespace().rev().take(2).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(layers.iter().map(|line| counts(line)).collect::<Vec<_>>(), [["1", "2"], ["1", "0"], ["0", "1"]]);
        assert!(layers[1].contains("(a container's own)") && layers[1].contains(" 1.0"), "{df:#?}");
        assert!(df.iter().any(|line| line.starts_with("Storage of ") && line.contains(" in 3 layers")), "{df:#?}");
        world.berth(&["rm", "one"]).ok();
        world.berth(&["tag", "box", "x"]).ok();
        assert_eq!(world.berth(&["images", "-qf", "dangling=true"]).ok().lines().len(), 1);
        let pruned = world.berth(&["image", "prune", "-f"]).ok();
        assert!(pruned.out().contains("Total reclaimed space: 1"), "{pruned}");
        assert_eq!(world.berth(&["images", "-qf", "dangling=true"]).ok().text(), "");
    }
}

/// A docker-archive of these layers, as `docker save` wrote it before OCI.
pub(crate) fn docker_archive(world: &World, name: &str, layers: &[Vec<u8>]) -> Vec<u8> {
    let digests: Vec<String> = layers.iter().map(|layer| digest(world, layer)).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": digests.iter().map(|hex| format!("sha256:{hex}")).collect::<Vec<_>>()},
    });
    let config = config.to_string();
    let config_name = format!("{}.json", digest(world, config.as_bytes()));
    let names: Vec<String> = digests.iter().map(|hex| format!("{hex}/layer.tar")).collect();
    let manifest = serde_json::json!([{"Config": config_name, "RepoTags": [name], "Layers": names}]).to_string();
    let mut members = vec![file("manifest.json", manifest.as_bytes()), file(&config_name, config.as_bytes())];
    members.extend(names.iter().zip(layers).map(|(name, layer)| file(name, layer)));
    archive(&members)
}

pub(crate) fn digest(world: &World, bytes: &[u8]) -> String {
    fs::write(world.path("to-digest"), bytes).unwrap();
    world.shell("sha256sum to-digest").ok().out()[..64].to_owned()
}

/// Everything that a file can be, made by the host's own tools in `folder`.
fn make_everything(world: &World) {
    let script = r#"
        set -e; mkdir tree; cd tree; mkdir proc sys dev
        echo plain > plain; chmod 0640 plain; chown 12345:54321 plain; touch -d '2001-02-03 04:05:06.123456789' plain
        echo old > old; touch -d '1969-12-31 23:59:58.5' old
        echo setuid > setuid; chmod 6755 setuid; mkdir sticky; chmod 3777 sticky
        ln plain hard-1; mkdir dir; ln plain dir/hard-2
        ln -s plain link; ln -s '/absolute/../target with space' odd-link; ln -s "$(head -c 300 /dev/zero | tr '\0' l)" long-link
        truncate -s 5M sparse; printf start | dd of=sparse conv=notrunc 2>/dev/null; printf middle | dd of=sparse bs=1M seek=3 conv=notrunc 2>/dev/null
        truncate -s 1M hole; mkfifo fifo; mknod null c 1 3; mknod block b 7 1234
        touch 'with space' $'new\nline' 'grüße' $'bytes\377\376' -- '-dash' '.wh' '.whatever' "$(head -c 250 /dev/zero | tr '\0' n)"
        mkdir -p "$(head -c 120 /dev/zero | tr '\0' a)/$(head -c 120 /dev/zero | tr '\0' b)/$(head -c 120 /dev/zero | tr '\0' c)"
        echo deep > "$(head -c 120 /dev/zero | tr '\0' a)/$(head -c 120 /dev/zero | tr '\0' b)/$(head -c 120 /dev/zero | tr '\0' c)/deep"
        echo attr > attr; setfattr -n user.text -v value attr; setfattr -n user.binary -v 0x000102ff0a attr; setfattr -n user.empty attr
        setfattr -n user.on-dir -v d dir; setfattr -n trusted.kept -v t attr
        cp /bin/busybox capable; setcap cap_net_raw,cap_net_bind_service+ep capable
        touch empty; touch -d '2030-01-01 00:00:00.000000001' dir; touch -h -d '2010-10-10 10:10:10.101010101' link
    "#;
    world.shell(script).ok();
}

#[test]
fn what_a_file_is_survives_import_commit_save_load_and_export() {
    for tool in ["setfattr", "getfattr", "setcap"] {
        if find_program(tool).is_none() {
            return skip(&format!("{tool} is not installed"));
        }
    }
    let world = World::new(Mode::Embedded);
    make_everything(&world);
    world.shell("mkdir -p base/bin base/proc base/sys base/dev && cp /bin/busybox base/bin/").ok();
    world.shell("tar -C base -c . | berth import - base && tar -C tree --xattrs --xattrs-include='*' --format=posix --sparse -cf tree.tar .").ok();
    let expected = facts(&world.at("tree"));
    let compare = |what: &str, tarball: &str| {
        let folder = format!("out-{}", what.replace(' ', "-"));
        world
            .shell(&format!(
                "mkdir {folder} && tar -C {folder} --xattrs --xattrs-include='*' --same-owner -xpf {tarball}"
            ))
            .ok();
        let found: Vec<String> = facts(&world.at(&folder));
        let only = |here: &[String], there: &[String]| -> String {
            here.iter().filter(|line| !there.contains(line)).take(5).map(|line| format!("\n  {line}")).collect()
        };
        // The container's own root and mount points are the engine's; what the test made is not.
        let own = |lines: &[String]| lines.iter().filter(|line| !line.starts_with(". ")).cloned().collect::<Vec<_>>();
        let (expected, found) = (own(&expected), own(&found));
        assert!(
            expected == found,
            "{what}:\nwent in:{}\ncame out:{}",
            only(&expected, &found),
            only(&found, &expected)
        );
        let sparse = fs::metadata(world.path(&folder).join("sparse")).unwrap();
        assert!(std::os::unix::fs::MetadataExt::blocks(&sparse) * 512 < 2 << 20, "{what}: the holes were filled");
    };

    // Import, and out again by way of a container.
    world
        .shell("berth import tree.tar tree && berth create --name tt tree nothing && berth export -o exported.tar tt")
        .ok();
    compare("import and export", "exported.tar");
    // By cp into a container, commit, save, load, export.
    world.shell("berth create --name one -v /tmp:/unused base nothing 2>/dev/null; berth rm one; berth create --name one base nothing && \
        tar -C tree --xattrs --xattrs-include='*' --format=posix --sparse -c . | berth cp -a - one:/ && berth commit one made && berth save -o saved.tar made").ok();
    let other = world.beside(Mode::Embedded);
    other.berth(&["load", "-i", &world.at("saved.tar")]).ok();
    other.shell("berth create --name two made nothing").ok();
    other.berth(&["export", "-o", &world.at("second.tar"), "two"]).ok();
    world
        .shell(
            "mkdir all && tar -C all --xattrs --xattrs-include='*' --same-owner -xpf second.tar && rm -r all/bin && \
        tar -C all --xattrs --xattrs-include='*' --format=posix --sparse -cf third.tar .",
        )
        .ok();
    compare("cp, commit, save, load and export", "third.tar");
    // The layer itself, as GNU tar reads it.
    world.shell("mkdir layout && tar -C layout -xf saved.tar").ok();
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(world.path("layout/manifest.json")).unwrap()).unwrap();
    let layer = manifest[0]["Layers"].as_array().unwrap().last().unwrap().as_str().unwrap().to_owned();
    let lines = listing(&world.path("layout").join(layer));
    assert!(
        lines.iter().any(|line| line.contains("2001-02-03 04:05:06.123456789") && line.contains("12345/54321")),
        "{lines:#?}"
    );
    assert!(
        lines.iter().any(|line| line.starts_with("-rwsr-sr-x")) && lines.iter().any(|line| line.contains(" link to ")),
        "{lines:#?}"
    );
}

#[test]
fn changes_made_inside_a_container_survive_commit() {
    let world = World::new(Mode::Embedded);
    let script = "echo x > /f; ln /f /g; touch -d '2005-05-05 05:05:05' /f; mkfifo /p; ln -s /nowhere /l; \
        dd if=/dev/zero of=/s bs=1 count=1 seek=3000000 2>/dev/null; chown 7:8 /f; chmod 4711 /f; mv /etc /etc2; mkdir /etc; echo y > /etc/only";
    world.run(&["--name", "one", "box", "sh", "-c", script]).ok();
    world.berth(&["commit", "one", "made"]).ok();
    let look = "stat -c '%n %a %u:%g %h %s %Y' /f /g /s; stat -c %F /p; readlink /l; ls /etc; ls /etc2/passwd; [ $(stat -c %i /f) = $(stat -c %i /g) ] && echo linked; du -k /s | cut -f1";
    let seen = world.run(&["--rm", "made", "sh", "-c", look]).ok().lines();
    assert_eq!(seen[0], "/f 4711 7:8 2 2 1115269505");
    assert_eq!(seen[1], "/g 4711 7:8 2 2 1115269505");
    assert!(seen[2].starts_with("/s 644 0:0 1 3000001 "), "{seen:?}");
    let rest: Vec<&str> = seen[3..]
        .iter()
        .map(String::as_str)
        .filter(|line| !["hostname", "hosts", "resolv.conf", "mtab"].contains(line))
        .collect();
    assert_eq!(rest[..5], ["fifo", "/nowhere", "only", "/etc2/passwd", "linked"]);
    assert!(rest[5].parse::<u32>().unwrap() < 100, "the hole was filled: {rest:?}");
}
