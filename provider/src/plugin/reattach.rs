//! Debug mode: a person starts the provider, and tells the CLI by an environment variable where it listens.

use serde_json::json;
use std::path::Path;

/// Where hosts look for providers when a source names no host: Terraform's registry, then OpenTofu's.
pub const DEFAULT_HOSTS: [&str; 2] = ["registry.terraform.io", "registry.opentofu.org"];
/// The provider's source address below the host.
pub const SOURCE: &str = "pgha/postgres";

/// The line to paste into the shell that runs the CLI.
#[must_use]
pub fn export_line(process_id: u32, socket: &Path) -> String {
    let entry = json!({
        "Protocol": "grpc",
        "ProtocolVersion": super::handshake::PROTOCOL_VERSION,
        "Pid": process_id,
        // Keeps the CLI from ending a process that it didn't start.
        "Test": true,
        "Addr": { "Network": "unix", "String": socket },
    });
    let entries: serde_json::Map<_, _> =
        DEFAULT_HOSTS.iter().map(|host| (format!("{host}/{SOURCE}"), entry.clone())).collect();
    let text = serde_json::Value::from(entries).to_string();
    // Inside single quotes a shell takes everything but the quote itself literally.
    format!("TF_REATTACH_PROVIDERS='{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_json_for_both_hosts_within_shell_quotes() {
        let line = export_line(7, Path::new("/tmp/it's"));
        let quoted = line.strip_prefix("TF_REATTACH_PROVIDERS='").unwrap().strip_suffix('\'').unwrap();
        let value: serde_json::Value = serde_json::from_str(&quoted.replace(r"'\''", "'")).unwrap();
        for host in DEFAULT_HOSTS {
            let entry = &value[format!("{host}/pgha/postgres")];
            assert_eq!(entry["ProtocolVersion"], 6);
            assert_eq!(entry["Pid"], 7);
            assert_eq!(entry["Addr"]["String"], "/tmp/it's");
        }
    }
}
