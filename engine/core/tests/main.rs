//! Containers from create to remove, on a real store, driver, backend and monitor; and what killed engines leave.
//!
//! This binary is its own monitor (`argv[0]`), its own reaper, and the engines that are killed. Without root or a
//! static busybox only what needs neither is run.

mod crash;
mod lifecycle;
mod machine;

use std::process::ExitCode;

type Test = (&'static str, fn());

/// Needs no process in a container.
const PLAIN: &[Test] = &[
    ("a_container_is_created_listed_and_removed", lifecycle::a_container_is_created_listed_and_removed),
    ("a_name_has_one_owner", lifecycle::a_name_has_one_owner),
    ("engines_side_by_side_make_and_remove_without_errors", crash::engines_side_by_side_make_and_remove_without_errors),
    ("a_killed_engine_leaves_what_the_next_one_cleans_up", crash::a_killed_engine_leaves_what_the_next_one_cleans_up),
    ("after_a_boot_layers_without_a_record_are_removed", crash::after_a_boot_layers_without_a_record_are_removed),
    ("a_container_without_monitor_is_recorded_as_killed", crash::a_container_without_monitor_is_recorded_as_killed),
    ("a_loss_that_cannot_be_noted_is_told", crash::a_loss_that_cannot_be_noted_is_told),
    ("a_reboot_is_told_from_a_killed_monitor", crash::a_reboot_is_told_from_a_killed_monitor),
    ("whoever_lists_removes_what_nobody_lived_to_remove", crash::whoever_lists_removes_what_nobody_lived_to_remove),
];

const RUNNING: &[Test] = &[
    ("a_program_runs_and_its_exit_code_is_told", lifecycle::a_program_runs_and_its_exit_code_is_told),
    ("a_program_that_is_not_there_is_127", lifecycle::a_program_that_is_not_there_is_127),
    ("an_attached_stream_misses_no_output", lifecycle::an_attached_stream_misses_no_output),
    (
        "a_container_is_stopped_started_and_removed_by_force",
        lifecycle::a_container_is_stopped_started_and_removed_by_force,
    ),
    (
        "a_throwaway_container_is_gone_when_its_end_is_told",
        lifecycle::a_throwaway_container_is_gone_when_its_end_is_told,
    ),
    ("a_second_program_runs_inside", lifecycle::a_second_program_runs_inside),
    ("settings_reach_the_program", lifecycle::settings_reach_the_program),
    ("limits_and_names_change_while_it_runs", lifecycle::limits_and_names_change_while_it_runs),
    (
        "a_reboot_ends_a_throwaway_container_that_ran_and_keeps_one_that_did_not",
        crash::a_reboot_ends_a_throwaway_container_that_ran_and_keeps_one_that_did_not,
    ),
    ("a_lost_monitor_is_noticed", crash::a_lost_monitor_is_noticed),
    ("a_lost_container_is_restarted_if_its_policy_says_so", crash::a_lost_container_is_restarted_if_its_policy_says_so),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    if name == berth_monitor::ROLE {
        return berth_monitor::main(arguments);
    }
    let arguments: Vec<String> = arguments.filter_map(|argument| argument.into_string().ok()).collect();
    if let [option, root, verb, id] = arguments.as_slice()
        && (option.as_str(), verb.as_str()) == ("--root", "monitor-reap")
    {
        machine::open(root.as_ref()).reap(id).unwrap();
        return ExitCode::SUCCESS;
    }
    if let [root, verb, seed] = arguments.as_slice()
        && verb == "churn"
    {
        crash::churn(root.as_ref(), seed.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        PLAIN.iter().chain(RUNNING).for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if std::env::var_os("BERTH_TEST_EMULATED").is_some() {
        println!("skipped: QEMU's user mode does not start this program a second time");
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    let running: &[Test] = match machine::why_not() {
        None => RUNNING,
        Some(why) => {
            println!("{} tests are skipped: {why}", RUNNING.len());
            &[]
        }
    };
    for (name, test) in PLAIN.iter().chain(running) {
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let ended = std::panic::catch_unwind(test);
        println!("test {name} ... {}", if ended.is_ok() { "ok" } else { "FAILED" });
        failed += i32::from(ended.is_err());
    }
    ExitCode::from(u8::try_from(failed).unwrap_or(1))
}
