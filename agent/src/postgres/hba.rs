//! pg_hba.conf: the agent's own part first, which is the client gate (A9), then the users' lines.

use pgha_agent_core::observation::Gate;
use pgha_schema::names::ROLE_REPLICATION;

/// First line of the file; tells a restarted agent what it wrote.
const OPEN: &str = "# gate: open";
const CLOSED: &str = "# gate: closed";

/// The whole file. With `encrypted`, whoever is not encrypted is refused.
pub fn render(gate: Gate, users: &[String], encrypted: bool) -> String {
    let mut text = String::new();
    text.push_str(match gate {
        Gate::Open => OPEN,
        Gate::Closed => CLOSED,
    });
    text.push_str("\n# Written by pgha-agent; edits are overwritten.\n");
    // Whoever reaches the socket is inside the container: the agent, and people who may exec into the pod.
    text.push_str("local all all trust\n");
    let host = if encrypted { "hostssl" } else { "host" };
    text.push_str(&format!("{host} replication {ROLE_REPLICATION} all scram-sha-256\n"));
    // pg_rewind reads its source over an ordinary connection, encrypted where that is to be had; so do agents that ask which WAL
    // is left, and they know no other way than the plain one.
    text.push_str(&format!("host postgres {ROLE_REPLICATION} all scram-sha-256\n"));
    text.push_str(&format!("host all {ROLE_REPLICATION} all reject\n"));
    if encrypted {
        text.push_str("hostnossl all all all reject\nhostnossl replication all all reject\n");
    }
    match gate {
        Gate::Closed => text.push_str("host all all all reject\nhost replication all all reject\n"),
        Gate::Open if users.is_empty() => text.push_str("host all all all scram-sha-256\n"),
        Gate::Open => users.iter().for_each(|line| text.push_str(&format!("{line}\n"))),
    }
    text
}

/// The gate that a file was rendered with; anything else counts as open, so that it is closed again.
pub fn gate_of(text: &str) -> Gate {
    if text.lines().next() == Some(CLOSED) { Gate::Closed } else { Gate::Open }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_gate_lets_in_only_the_socket_and_replication() {
        let text = render(Gate::Closed, &["host all all 10.0.0.0/8 trust".to_owned()], false);
        assert_eq!(gate_of(&text), Gate::Closed);
        assert!(!text.contains("10.0.0.0/8"), "{text}");
        let allowed: Vec<&str> =
            text.lines().filter(|line| !line.starts_with('#') && !line.ends_with("reject")).collect();
        assert_eq!(
            allowed,
            [
                "local all all trust",
                "host replication pgha_replication all scram-sha-256",
                "host postgres pgha_replication all scram-sha-256",
            ]
        );
    }

    #[test]
    fn an_open_gate_has_the_users_lines_or_the_default() {
        let text = render(Gate::Open, &["hostssl all app all scram-sha-256".to_owned()], false);
        assert_eq!(gate_of(&text), Gate::Open);
        assert!(text.ends_with("hostssl all app all scram-sha-256\n"));
        assert!(!text.contains("host all all all"));
        assert!(render(Gate::Open, &[], false).ends_with("host all all all scram-sha-256\n"));
    }

    #[test]
    fn where_encryption_is_required_the_users_lines_come_after_a_refusal() {
        let text = render(Gate::Open, &["host all all all trust".to_owned()], true);
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                "local all all trust",
                "hostssl replication pgha_replication all scram-sha-256",
                "host postgres pgha_replication all scram-sha-256",
                "host all pgha_replication all reject",
                "hostnossl all all all reject",
                "hostnossl replication all all reject",
                "host all all all trust",
            ]
        );
    }

    #[test]
    fn a_file_of_unknown_origin_counts_as_open() {
        assert_eq!(gate_of("local all all trust\n"), Gate::Open);
    }
}
