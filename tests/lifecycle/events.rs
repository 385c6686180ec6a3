//! Events of all engines and monitors, past and present.

use std::time::Duration;

both! {
    fn a_life_is_told_in_order(world) {
        let follow = world.background(&[
            "events",
            "--since",
            "0",
            "--filter",
            "container=one",
            "--format",
            "{{.Type}} {{.Action}}",
        ]);
        world.run(&["--name", "one", "box", "sh", "-c", "exit 3"]).ended(3);
        world.berth(&["rm", "one"]).ok();
        follow.expect("container destroy\n", Duration::from_secs(20));
        let lines = follow.so_far();
        let order: Vec<&str> = lines.lines().filter(|line| !line.ends_with("attach")).collect();
        assert_eq!(order, ["container create", "container start", "container die", "container destroy"]);
    }

    fn the_past_is_kept_and_chosen_from(world) {
        world.run(&["--name", "one", "-l", "a=b", "box", "sh", "-c", "exit 3"]).ended(3);
        world.run(&["--rm", "--name", "two", "box", "true"]).ok();
        let past = |filters: &[&str], format: &str| {
            let mut call = vec!["events", "--since", "1h", "--until", "0s", "--format", format];
            for filter in filters {
                call.extend(["--filter", filter]);
            }
            world.berth(&call).ok().lines()
        };
        assert_eq!(
            past(
                &["event=die", "container=one"],
                "{{.Actor.Attributes.exitCode}} {{.Actor.Attributes.image}} {{.Actor.Attributes.name}}"
            ),
            ["3 box one"]
        );
        assert_eq!(past(&["event=start", "label=a=b"], "{{.Actor.Attributes.name}}"), ["one"]);
        assert_eq!(past(&["type=image"], "{{.Action}}"), ["import"]);
        assert_eq!(past(&["event=die"], "{{.Actor.Attributes.name}}"), ["one", "two"]);
    }

    fn both_formats_are_complete(world) {
        let id = world.berth(&["create", "--name", "one", "box", "true"]).ok().text();
        let lines = world
            .berth(&["events", "--since", "1h", "--until", "0s", "--filter", "event=create", "--format", "json"])
            .ok();
        let event: serde_json::Value = serde_json::from_str(&lines.lines()[0]).unwrap();
        assert_eq!(
            (event["id"].as_str(), event["Actor"]["ID"].as_str(), event["status"].as_str()),
            (Some(&*id), Some(&*id), Some("create"))
        );
        assert!(event["timeNano"].as_i64().unwrap() / 1_000_000_000 == event["time"].as_i64().unwrap(), "{event}");
        let text = world.berth(&["events", "--since", "1h", "--until", "0s", "--filter", "event=create"]).ok().text();
        assert!(text.contains(&format!("container create {id} (image=box")), "{text}");
    }
}
