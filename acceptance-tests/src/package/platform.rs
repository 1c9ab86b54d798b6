//! For which platforms this machine's toolchain can build, and why not for the others.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::process::{on_path, run};

/// A platform in Go's words, and the targets of Rust that serve it, the better one first.
///
/// musl is better where it is there: such a binary needs no library of the machine that it runs on.
const PLATFORMS: [(&str, &[&str]); 4] = [
    ("linux_amd64", &["x86_64-unknown-linux-musl", "x86_64-unknown-linux-gnu"]),
    ("linux_arm64", &["aarch64-unknown-linux-musl", "aarch64-unknown-linux-gnu"]),
    ("darwin_amd64", &["x86_64-apple-darwin"]),
    ("darwin_arm64", &["aarch64-apple-darwin"]),
];

/// What can be done for a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// It is built.
    Build {
        /// The platform.
        platform: &'static str,
        /// Rust's target.
        target: &'static str,
        /// The C compiler, which is the linker too.
        compiler: String,
    },
    /// It is left out.
    Skip {
        /// The platform.
        platform: &'static str,
        /// Why, and what would change that.
        why: String,
    },
}

/// What this machine has.
pub trait Machine {
    /// Rust's target for the machine itself.
    fn host(&self) -> &str;
    /// Whether the standard library of a target is installed.
    fn has_target(&self, target: &str) -> bool;
    /// Whether a program is on PATH.
    fn has_program(&self, program: &str) -> bool;
    /// A variable of the environment.
    fn variable(&self, name: &str) -> Option<String>;
}

/// One plan for each platform that there are releases for.
pub fn plans(machine: &impl Machine) -> Vec<Plan> {
    PLATFORMS.into_iter().map(|(platform, targets)| plan(machine, platform, targets)).collect()
}

fn plan(machine: &impl Machine, platform: &'static str, targets: &'static [&'static str]) -> Plan {
    let mut reasons = Vec::new();
    for target in targets {
        if !machine.has_target(target) {
            reasons.push(format!("{target} is not installed (rustup target add {target})"));
            continue;
        }
        if !target.contains("-linux-") && machine.variable("PGHA_AGENT_BINARY").is_none() {
            reasons.push(format!("{target} needs PGHA_AGENT_BINARY, an agent built for Linux"));
            continue;
        }
        match compiler(machine, target) {
            Ok(compiler) => return Plan::Build { platform, target, compiler },
            Err(wanted) => reasons.push(format!("{target} needs a C compiler: {wanted}")),
        }
    }
    Plan::Skip { platform, why: reasons.join("; ") }
}

/// The C compiler for a target; else the names that were looked for.
fn compiler(machine: &impl Machine, target: &str) -> Result<String, String> {
    let variable = format!("CC_{}", target.replace('-', "_"));
    if let Some(named) = machine.variable(&variable) {
        return Ok(named);
    }
    let system = target.split('-').next().unwrap_or_default();
    let candidates = match target {
        target if target == machine.host() => vec!["cc".to_owned()],
        target if target.ends_with("-musl") && machine.host().starts_with(system) => {
            vec![format!("{system}-linux-musl-gcc"), "musl-gcc".to_owned()]
        }
        target if target.ends_with("-musl") => vec![format!("{system}-linux-musl-gcc")],
        target if target.ends_with("-gnu") => vec![format!("{system}-linux-gnu-gcc")],
        _ => vec![],
    };
    let found = candidates.iter().find(|program| machine.has_program(program));
    found.cloned().ok_or_else(|| [candidates, vec![variable]].concat().join(" or "))
}

/// The machine that this runs on.
#[derive(Debug, Clone)]
pub struct ThisMachine {
    host: String,
}

impl ThisMachine {
    /// Asks the compiler who it is.
    ///
    /// # Errors
    /// When there is no Rust.
    pub fn look() -> Result<Self> {
        let about = run(Command::new("rustc").arg("-vV"))?;
        let host = about.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
        Ok(Self { host: host.to_owned() })
    }
}

impl Machine for ThisMachine {
    fn host(&self) -> &str {
        &self.host
    }

    fn has_target(&self, target: &str) -> bool {
        let folder = run(Command::new("rustc").args(["--print", "target-libdir", "--target", target]));
        folder.is_ok_and(|folder| Path::new(folder.trim()).is_dir())
    }

    fn has_program(&self, program: &str) -> bool {
        on_path(program).is_some()
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Made {
        targets: &'static [&'static str],
        programs: &'static [&'static str],
    }

    impl Machine for Made {
        fn host(&self) -> &'static str {
            "x86_64-unknown-linux-gnu"
        }
        fn has_target(&self, target: &str) -> bool {
            self.targets.contains(&target)
        }
        fn has_program(&self, program: &str) -> bool {
            self.programs.contains(&program)
        }
        fn variable(&self, _: &str) -> Option<String> {
            None
        }
    }

    fn targets(machine: &Made) -> Vec<&'static str> {
        let target = |plan| match plan {
            Plan::Build { target, .. } => Some(target),
            Plan::Skip { .. } => None,
        };
        plans(machine).into_iter().filter_map(target).collect()
    }

    #[test]
    fn a_plain_machine_builds_for_itself_and_says_what_the_others_lack() {
        let machine = Made { targets: &["x86_64-unknown-linux-gnu"], programs: &["cc"] };
        assert_eq!(targets(&machine), ["x86_64-unknown-linux-gnu"]);
        let Plan::Skip { why, .. } = &plans(&machine)[1] else { panic!("linux_arm64 was not left out") };
        assert!(why.contains("rustup target add aarch64-unknown-linux-musl"), "{why}");
    }

    #[test]
    fn musl_is_taken_where_it_can_be() {
        let both = &["x86_64-unknown-linux-gnu", "x86_64-unknown-linux-musl"];
        assert_eq!(
            targets(&Made { targets: both, programs: &["cc", "musl-gcc"] }),
            ["x86_64-unknown-linux-musl"]
        );
        assert_eq!(targets(&Made { targets: both, programs: &["cc"] }), ["x86_64-unknown-linux-gnu"]);
    }

    #[test]
    fn another_processor_needs_its_compiler_and_another_system_its_agent() {
        let installed = &["aarch64-unknown-linux-gnu", "aarch64-apple-darwin"];
        assert_eq!(
            targets(&Made { targets: installed, programs: &["aarch64-linux-gnu-gcc"] }),
            ["aarch64-unknown-linux-gnu"]
        );
        let bare = Made { targets: installed, programs: &[] };
        let why = format!("{:?}", plans(&bare));
        assert!(why.contains("aarch64-linux-gnu-gcc or CC_aarch64_unknown_linux_gnu"), "{why}");
        assert!(why.contains("PGHA_AGENT_BINARY"), "{why}");
    }
}
