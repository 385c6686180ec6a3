//! `berth info` and `berth doctor`.

use std::io::IsTerminal;

use berth_api::doctor::{Choice, Finding, Report};
use berth_api::models::SystemInfo;
use serde_json::Value;

use super::Act;
use crate::output::{self, known};
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Info {
    /// Format output: 'json' or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {
    /// Format output: 'json' or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Act for Info {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let mut info: Value = session.client.get("/info", &()).await?;
        if let Some(format) = &self.format {
            if format != "json" {
                known::fill::<SystemInfo>(&mut info);
            }
            output::print_formatted(format, &info)?;
            return Ok(0);
        }
        print_info(&info, session.client.connector().is_in_process());
        Ok(0)
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn print_info(info: &Value, in_process: bool) {
    let line = |name: &str, text: String| {
        if !text.is_empty() {
            println!("{name}: {text}");
        }
    };
    line("Engine", if in_process { "in this process (no daemon)" } else { "daemon" }.to_owned());
    for (name, field) in [
        ("Containers", "Containers"),
        (" Running", "ContainersRunning"),
        (" Paused", "ContainersPaused"),
        (" Stopped", "ContainersStopped"),
        ("Images", "Images"),
        ("Server Version", "ServerVersion"),
        ("Storage Driver", "Driver"),
    ] {
        line(name, shown(&info[field]));
    }
    for pair in info["DriverStatus"].as_array().into_iter().flatten() {
        line(&format!(" {}", shown(&pair[0])), shown(&pair[1]));
    }
    for refused in info["Berth"]["RefusedStorageDrivers"].as_array().into_iter().flatten() {
        line(&format!(" not {}", shown(&refused["name"])), shown(&refused["reason"]));
    }
    for (name, field) in
        [("Logging Driver", "LoggingDriver"), ("Cgroup Driver", "CgroupDriver"), ("Cgroup Version", "CgroupVersion")]
    {
        line(name, shown(&info[field]));
    }
    if let Value::Object(plugins) = &info["Plugins"] {
        println!("Plugins:");
        for kind in ["Volume", "Network", "Authorization", "Log"] {
            let names = plugins.get(kind).and_then(Value::as_array).into_iter().flatten();
            line(&format!(" {kind}"), names.map(shown).collect::<Vec<_>>().join(" "));
        }
    }
    line("Packet Path", shown(&info["Berth"]["PacketPath"]));
    for refused in info["Berth"]["RefusedPacketPaths"].as_array().into_iter().flatten() {
        line(&format!(" not {}", shown(&refused["name"])), shown(&refused["reason"]));
    }
    for (name, field) in [
        ("Isolation", "DefaultRuntime"),
        ("Kernel Version", "KernelVersion"),
        ("Operating System", "OperatingSystem"),
        ("OSType", "OSType"),
        ("Architecture", "Architecture"),
        ("CPUs", "NCPU"),
    ] {
        line(name, shown(&info[field]));
    }
    line("Total Memory", output::human::binary_size(info["MemTotal"].as_f64().unwrap_or_default()));
    line("Name", shown(&info["Name"]));
    line("Root Dir", shown(&info["DockerRootDir"]));
    let options: Vec<String> = info["SecurityOptions"].as_array().into_iter().flatten().map(shown).collect();
    line("Security Options", options.join(", "));
    for warning in info["Warnings"].as_array().into_iter().flatten() {
        eprintln!("{}", shown(warning));
    }
    println!("Run 'berth doctor' for what this host offers and why.");
}

impl Act for Doctor {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let report: Report = session.client.get("/berth/doctor", &()).await?;
        match &self.format {
            Some(format) => output::print_formatted(format, &serde_json::to_value(&report)?)?,
            None => print_report(&report),
        }
        let lacks = report.storage.picked.is_none() || report.isolation.picked.is_none() || !report.missing.is_empty();
        Ok(u8::from(lacks))
    }
}

fn print_report(report: &Report) {
    let host = &report.host;
    println!("berth {} on {}", report.version, shown(&host["operating_system"]));
    println!("kernel {}, {}", shown(&host["kernel"]["release"]), shown(&host["platform"]["architecture"]));
    println!("state in {}, run folder {}", report.state_root, report.run_root);
    choice("Storage", &report.storage);
    isolation(&report.isolation);
    if let Some(paths) = &report.packet_paths {
        choice("Packet path", paths);
    }
    println!("\nThis host:");
    findings(&report.facilities, None);
    for warning in &report.warnings {
        eprintln!("WARNING: {warning}");
    }
    for missing in &report.missing {
        eprintln!("MISSING: {missing}");
    }
}

/// What each backend that works here keeps apart: the names of [`berth_backends::Isolation`] and what they mean.
const MATRIX: &[(&str, &str)] = &[
    ("mount", "mounts of its own"),
    ("pid", "own processes only"),
    ("network", "own network"),
    ("uts", "own host name"),
    ("ipc", "own IPC objects"),
    ("user", "users mapped"),
    ("cgroup_namespace", "own control groups' names"),
    ("capabilities", "capabilities dropped"),
    ("no_new_privileges", "no new privileges"),
    ("seccomp", "system calls filtered"),
    ("pause", "pause"),
    ("stats", "statistics"),
    ("checkpoint", "checkpoint and restore"),
];

/// The choice, and a table of what each backend isolates here.
fn isolation(found: &Choice) {
    let mut short = found.clone();
    short.candidates.iter_mut().for_each(|candidate| candidate.detail = Value::Null);
    choice("Isolation", &short);
    let there: Vec<&Finding> = found.candidates.iter().filter(|candidate| candidate.available).collect();
    let first = 26;
    print!("\n  {:first$}", "What is kept apart");
    there.iter().for_each(|one| print!("  {:10}", one.name));
    println!();
    for (field, meaning) in MATRIX {
        print!("  {meaning:first$}");
        for one in &there {
            print!("  {:10}", if one.detail[field] == Value::Bool(true) { "yes" } else { "no" });
        }
        println!();
    }
    for one in there {
        let limits = plain(&one.detail["controllers"]);
        println!("  limits of {}: {}", one.name, if limits.is_empty() { "none" } else { &limits });
    }
}

fn choice(title: &str, choice: &Choice) {
    match &choice.picked {
        Some(name) => println!("\n{title}: {name} ({})", choice.why),
        None => println!("\n{title}: none ({})", choice.why),
    }
    findings(&choice.candidates, choice.picked.as_deref());
}

/// One line a finding: a mark, the name, what was found or why not; the remedy below.
fn findings(findings: &[Finding], picked: Option<&str>) {
    let colour = std::io::stdout().is_terminal();
    let paint = |code: &str, text: &str| if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
    let width = findings.iter().map(|finding| finding.name.len()).max().unwrap_or(0);
    for finding in findings {
        let (code, mark) = match (finding.available, picked == Some(finding.name.as_str())) {
            (true, true) => ("32;1", "*"),
            (true, false) => ("32", "+"),
            (false, _) => ("31", "-"),
        };
        let detail = match (&finding.reason, plain(&finding.detail)) {
            (Some(reason), _) => reason.clone(),
            (None, detail) if detail.is_empty() => finding.purpose.clone(),
            (None, detail) => detail,
        };
        println!("  {} {:width$}  {detail}", paint(code, mark), finding.name);
        if let Some(remedy) = &finding.remedy {
            println!("    {:width$}  {}", "", paint("33", &format!("remedy: {remedy}")));
        }
    }
}

/// A detail of any shape on one line: lists with commas, of objects what is true or not empty.
fn plain(detail: &Value) -> String {
    match detail {
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(map) => {
            let said = map.iter().filter_map(|(name, value)| match value {
                Value::Bool(true) => Some(name.clone()),
                Value::Bool(false) | Value::Null => None,
                other => Some(plain(other)).filter(|text| !text.is_empty()).map(|text| format!("{name}: {text}")),
            });
            said.collect::<Vec<_>>().join(", ")
        }
        other => shown(other),
    }
}
