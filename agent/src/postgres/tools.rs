//! PostgreSQL's programs, run to their end: initdb, pg_basebackup, pg_rewind, pg_controldata.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::control_data::{ControlData, ControlDataError};
use crate::secrets::Passwords;
use crate::settings::Layout;
use pgha_schema::desired::BootstrapSpec;
use pgha_schema::names::ROLE_REPLICATION;

/// A program that did not do what it is for.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It could not be started.
    #[error("{program}: {source}")]
    Start {
        /// Which.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It failed.
    #[error("{program} failed ({status}): {last_words}")]
    Failed {
        /// Which.
        program: String,
        /// How it ended.
        status: String,
        /// The end of what it said.
        last_words: String,
    },
    /// A file could not be read or written.
    #[error("{what}: {source}")]
    File {
        /// What was being done.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The control file's print is not understood.
    #[error(transparent)]
    ControlData(#[from] ControlDataError),
}

/// Runs PostgreSQL's programs of one image.
#[derive(Clone, Debug)]
pub struct Tools {
    layout: Layout,
}

impl Tools {
    /// The programs of this layout.
    pub fn new(layout: &Layout) -> Self {
        Self { layout: layout.clone() }
    }

    async fn run<I, S>(&self, name: &str, arguments: I, input: Option<&str>) -> Result<String, ToolError>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let output = self.output(name, arguments, input).await?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(ToolError::Failed {
            program: self.layout.program(name),
            status: output.status.to_string(),
            last_words: last_words(&String::from_utf8_lossy(&output.stderr)),
        })
    }

    async fn output<I, S>(&self, name: &str, arguments: I, input: Option<&str>) -> Result<Output, ToolError>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let program = self.layout.program(name);
        let start = |source| ToolError::Start { program: program.clone(), source };
        let mut child = Command::new(&program)
            .args(arguments)
            .env("LC_ALL", "C")
            .env("PGAPPNAME", "pgha_job")
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(start)?;
        if let (Some(mut stdin), Some(text)) = (child.stdin.take(), input) {
            stdin.write_all(text.as_bytes()).await.map_err(start)?;
        }
        child.wait_with_output().await.map_err(start)
    }

    /// What `postgres` prints about its configuration when it would start with it; empty where it would take it. It ends before it
    /// touches the data, so one may run there.
    pub async fn words_about_config(&self, pgdata: &Path, config: &Path) -> Result<String, ToolError> {
        let config = format!("config_file={}", config.display());
        let arguments = [OsStr::new("-C"), OsStr::new("port"), OsStr::new("-D"), pgdata.as_os_str()];
        let arguments = arguments.into_iter().chain([OsStr::new("-c"), OsStr::new(&config)]);
        let output = self.output("postgres", arguments, None).await?;
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(if output.status.success() { String::new() } else { words })
    }

    /// The major version of the binaries.
    pub async fn postgres_major(&self) -> Result<u32, ToolError> {
        let text = self.run("postgres", ["--version"], None).await?;
        major_of(&text).ok_or(ToolError::File {
            what: "the version that postgres prints",
            source: io::Error::new(io::ErrorKind::InvalidData, text),
        })
    }

    /// The control file of a data directory.
    pub async fn control_data(&self, pgdata: &Path) -> Result<ControlData, ToolError> {
        let text = self.run("pg_controldata", [OsStr::new("-D"), pgdata.as_os_str()], None).await?;
        Ok(ControlData::parse(&text)?)
    }

    /// initdb, then roles and database: all before any connection is possible (A4).
    pub async fn initdb(
        &self,
        into: &Path,
        spec: &BootstrapSpec,
        superuser: &str,
        passwords: &Passwords,
        major: u32,
    ) -> Result<(), ToolError> {
        let mut arguments: Vec<String> = vec![
            "-D".into(),
            into.to_string_lossy().into_owned(),
            "-U".into(),
            superuser.into(),
            "-A".into(),
            "trust".into(),
            "--encoding".into(),
            spec.encoding.clone(),
            "--locale".into(),
            spec.locale.clone(),
            "--no-instructions".into(),
        ];
        if spec.data_checksums {
            arguments.push("--data-checksums".into());
        } else if major >= 18 {
            arguments.push("--no-data-checksums".into());
        }
        self.run("initdb", arguments, None).await?;
        let sql = bootstrap_sql(spec, superuser, passwords);
        let arguments: [&OsStr; 7] = [
            OsStr::new("--single"),
            OsStr::new("-D"),
            into.as_os_str(),
            // Otherwise a failed statement is only printed.
            OsStr::new("-c"),
            OsStr::new("exit_on_error=on"),
            OsStr::new("-clog_statement=none"),
            OsStr::new("postgres"),
        ];
        self.run("postgres", arguments, Some(&sql)).await?;
        Ok(())
    }

    /// pg_basebackup into a directory that does not exist; it syncs what it wrote.
    pub async fn basebackup(&self, into: &Path, conninfo: &str) -> Result<(), ToolError> {
        let arguments: [&OsStr; 8] = [
            OsStr::new("-D"),
            into.as_os_str(),
            OsStr::new("-d"),
            OsStr::new(conninfo),
            OsStr::new("--checkpoint=fast"),
            OsStr::new("--wal-method=stream"),
            OsStr::new("--no-password"),
            OsStr::new("--no-manifest"),
        ];
        self.run("pg_basebackup", arguments, None).await?;
        Ok(())
    }

    /// pg_rewind of a stopped data directory to the history of a running primary. Nothing is synced yet: whoever calls has
    /// to, before the data counts.
    pub async fn rewind(&self, pgdata: &Path, conninfo: &str) -> Result<(), ToolError> {
        let arguments: [&OsStr; 5] = [
            OsStr::new("--no-sync"),
            OsStr::new("--target-pgdata"),
            pgdata.as_os_str(),
            OsStr::new("--source-server"),
            OsStr::new(conninfo),
        ];
        self.run("pg_rewind", arguments, None).await?;
        Ok(())
    }
}

/// `postgres (PostgreSQL) 18.4 (Debian …)`, also `18beta1`.
pub(crate) fn major_of(text: &str) -> Option<u32> {
    let version = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// What single-user mode is told, one statement a line.
fn bootstrap_sql(spec: &BootstrapSpec, superuser: &str, passwords: &Passwords) -> String {
    let mut lines =
        vec![format!("ALTER ROLE {} PASSWORD {};", identifier(superuser), literal(&passwords.superuser))];
    lines.extend(replication_role_sql(&passwords.replication));
    if spec.owner != superuser {
        lines.push(format!(
            "CREATE ROLE {} LOGIN PASSWORD {};",
            identifier(&spec.owner),
            literal(&passwords.app)
        ));
    }
    if spec.database == "postgres" {
        lines.push(format!("ALTER DATABASE postgres OWNER TO {};", identifier(&spec.owner)));
    } else {
        lines.push(format!(
            "CREATE DATABASE {} OWNER {};",
            identifier(&spec.database),
            identifier(&spec.owner)
        ));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// The replication role with what pg_rewind calls.
fn replication_role_sql(password: &str) -> Vec<String> {
    let mut lines =
        vec![format!("CREATE ROLE {ROLE_REPLICATION} LOGIN REPLICATION PASSWORD {};", literal(password))];
    for function in [
        "pg_ls_dir(text, boolean, boolean)",
        "pg_stat_file(text, boolean)",
        "pg_read_binary_file(text)",
        "pg_read_binary_file(text, bigint, bigint, boolean)",
    ] {
        lines.push(format!("GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO {ROLE_REPLICATION};"));
    }
    lines
}

/// A string literal.
pub fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains('\\') {
        format!("E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}

/// A quoted identifier.
pub fn identifier(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

fn last_words(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(4)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_found_in_every_spelling() {
        assert_eq!(major_of("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major_of("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major_of("postgres"), None);
    }

    #[test]
    fn names_and_passwords_stay_what_they_are() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\b'"), "E'a\\\\b'''");
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
    }

    #[test]
    fn the_first_start_makes_role_and_database_of_the_application() {
        let spec = BootstrapSpec {
            database: "shop".into(),
            owner: "seller".into(),
            encoding: "UTF8".into(),
            locale: "C.UTF-8".into(),
            data_checksums: true,
        };
        let passwords = Passwords { superuser: "s".into(), app: "a".into(), replication: "r".into() };
        let sql = bootstrap_sql(&spec, "postgres", &passwords);
        assert!(sql.contains("CREATE ROLE \"seller\" LOGIN PASSWORD 'a';\n"), "{sql}");
        assert!(sql.ends_with("CREATE DATABASE \"shop\" OWNER \"seller\";\n"), "{sql}");
    }

    #[test]
    fn last_words_are_the_end_of_what_was_said() {
        assert_eq!(last_words("a\nb\nc\n\nd\ne\n"), "b | c | d | e");
        assert_eq!(last_words(""), "");
    }
}
