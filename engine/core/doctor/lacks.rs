//! Of what does not work here: the kernel options, modules, switches and packages that would change that.

use berth_api::doctor::{Finding, Lack, Report};
use berth_arch::kernel::needs::{self, Needs};
use berth_arch::kernel::options::{Built, Module, Options, module};
use berth_arch::pretend;

/// Of every finding of the report that is not available.
pub(super) fn find(report: &mut Report) {
    let lists = [Some(&mut report.storage), Some(&mut report.isolation), report.packet_paths.as_mut()];
    let chosen = lists.into_iter().flatten().flat_map(|choice| choice.candidates.iter_mut());
    let mut kernel = None;
    for finding in report.facilities.iter_mut().chain(chosen).filter(|finding| !finding.available) {
        let Some(needs) = needs::of(&finding.name).filter(|needs| !is_pretended(needs, finding)) else { continue };
        finding.lacks = lacks(needs, kernel.get_or_insert_with(Options::read).as_ref());
    }
}

/// Then nothing of the host would change the answer.
fn is_pretended(needs: &Needs, finding: &Finding) -> bool {
    let name = needs.name;
    let by_name = pretend::FACILITIES.contains(&name) && pretend::without(name);
    by_name || finding.remedy.as_deref().is_some_and(|remedy| remedy.contains("BERTH_PRETEND_WITHOUT"))
}

fn lacks(needs: &Needs, kernel: Option<&Options>) -> Vec<Lack> {
    let mut lacks = Vec::new();
    let mut add = |kind: &str, name: &str, state: &str, remedy: String| {
        lacks.push(Lack { kind: kind.to_owned(), name: name.to_owned(), state: state.to_owned(), remedy });
    };
    for (option, makes) in needs.options {
        match (kernel.map(|kernel| (kernel.of(option), kernel)), makes) {
            // Not of the kernel's own tree, so that its configuration does not know it.
            (_, Some(name)) if option.is_empty() => {
                if let Some((state, remedy)) = absent(name) {
                    add("module", name, state, remedy);
                }
            }
            (Some((Built::In, _)), _) => {}
            (Some((Built::Off, kernel)), _) => {
                add("option", option, "off", format!("use a kernel that is built with it ({})", kernel.file.display()));
            }
            (Some((Built::Module, _)), Some(name)) => {
                if let Some((state, remedy)) = absent(name) {
                    add("module", name, state, remedy);
                }
            }
            (Some((Built::Module, _)), None) => {}
            // The kernel does not say how it was built; a module that is there answers for its option.
            (None, Some(name)) => match module(name) {
                Module::Here => {}
                Module::Loadable => add("module", name, "not loaded", format!("modprobe {name}")),
                Module::Missing => {
                    add("option", option, "unknown", format!("use a kernel with it, or with the module {name}"))
                }
            },
            (None, None) => add("option", option, "unknown", "use a kernel that is built with it".to_owned()),
        }
    }
    for switch in needs.switches.iter().filter(|switch| switch.is_in_the_way()) {
        add("sysctl", switch.name, switch.forbids, switch.remedy());
    }
    let is_there = |program: &Option<&str>| program.is_some_and(|program| berth_arch::program::find(program).is_some());
    for (name, _) in needs.packages.iter().filter(|(_, program)| !is_there(program)) {
        add("package", name, "", "install it, or what your distribution calls it".to_owned());
    }
    lacks
}

fn absent(name: &str) -> Option<(&'static str, String)> {
    match module(name) {
        Module::Here => None,
        Module::Loadable => Some(("not loaded", format!("modprobe {name}"))),
        Module::Missing => Some(("not installed", format!("install the module {name} for this kernel"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_one_of_a_finding() {
        let facilities = berth_arch::kernel::PROBES.iter().map(|(name, ..)| *name);
        let drivers = berth_fs_drivers::registry::ORDER.iter().copied();
        let paths = berth_network::firewall::names();
        let backends = ["namespace", "lxc", "crun", "runc"];
        let known: Vec<&str> = facilities.chain(drivers).chain(paths).chain(backends).collect();
        for needs in needs::NEEDS {
            assert!(known.contains(&needs.name), "{}", needs.name);
        }
    }

    #[test]
    fn a_module_that_there_is_not_is_named_with_what_to_do() {
        let needs = Needs {
            name: "x",
            options: &[("", Some("no_such_module")), ("CONFIG_NO_SUCH", None)],
            switches: &[],
            packages: &[("no-such", Some("no-such-program"))],
        };
        let found = lacks(&needs, None);
        let said: Vec<_> = found.iter().map(|lack| (lack.kind.as_str(), lack.state.as_str())).collect();
        assert_eq!(said, [("module", "not installed"), ("option", "unknown"), ("package", "")]);
    }
}
