//! Lines of pg_hba.conf, checked before a server has to refuse them.

use std::net::IpAddr;

use crate::names::ROLE_REPLICATION;
use crate::validators::{Problem, is_cidr};

const TYPES: [&str; 6] = ["local", "host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc"];
const METHODS: [&str; 14] = [
    "trust",
    "reject",
    "scram-sha-256",
    "md5",
    "password",
    "gss",
    "sspi",
    "ident",
    "peer",
    "ldap",
    "radius",
    "cert",
    "pam",
    "bsd",
];

/// Checks one line: type, database, user, address and method, in PostgreSQL's grammar.
pub fn check(line: &str) -> Result<(), Problem> {
    let fields = fields(line)?;
    let Some(kind) = fields.first() else {
        return Err(Problem::new(
            "The line is empty or a comment.",
            "Leave it out, or write `host database user address method`.",
        ));
    };
    if kind.starts_with("include") {
        return Err(Problem::new(
            format!("`{kind}` reads another file, which the pods don't have."),
            "Write the lines themselves.",
        ));
    }
    if !TYPES.contains(&kind.as_str()) {
        return Err(Problem::new(
            format!("`{kind}` is not a connection type."),
            format!("Begin the line with one of {}.", TYPES.join(", ")),
        ));
    }
    if kind == "hostssl" || kind == "hostgssenc" {
        return Err(Problem::new(
            format!("`{kind}` would never match: encrypted connections are not offered yet."),
            "Write `host` instead.",
        ));
    }
    let (Some(database), Some(user)) = (fields.get(1), fields.get(2)) else {
        return Err(missing("database and user", kind));
    };
    reaches_no_file(database)?;
    reaches_no_file(user)?;
    if user.trim_matches('"') == ROLE_REPLICATION {
        return Err(Problem::new(
            format!("The role `{ROLE_REPLICATION}` is the cluster's own."),
            "Leave the line out: standbys have lines of their own before yours.",
        ));
    }
    let method_at = if kind == "local" { 3 } else { 3 + address_fields(kind, &fields[3..])? };
    let method = fields.get(method_at).ok_or_else(|| missing("the method", kind))?;
    check_method(kind, method, &fields[method_at + 1..])
}

fn missing(what: &str, kind: &str) -> Problem {
    let form =
        if kind == "local" { "local database user method" } else { "host database user address method" };
    Problem::new(format!("The line ends before {what}."), format!("Write `{form}`."))
}

fn reaches_no_file(field: &str) -> Result<(), Problem> {
    match field.split(',').find(|part| part.starts_with('@')) {
        Some(part) => Err(Problem::new(
            format!("`{part}` reads a file, which the pods don't have."),
            "Write the names themselves, separated by commas.",
        )),
        None => Ok(()),
    }
}

/// How many fields the address takes: one, or two with a netmask.
fn address_fields(kind: &str, fields: &[String]) -> Result<usize, Problem> {
    let address = fields.first().ok_or_else(|| missing("the address", kind))?;
    let remedy = "Write a network as 10.0.0.0/8 or 2001:db8::/32, an address with a netmask, `all`, `samehost`, `samenet` or a \
                  host name.";
    if matches!(address.as_str(), "all" | "samehost" | "samenet") || is_cidr(address) {
        return Ok(1);
    }
    if address.parse::<IpAddr>().is_ok() {
        return match fields.get(1).map(|mask| mask.parse::<IpAddr>()) {
            Some(Ok(_)) => Ok(2),
            _ => Err(Problem::new(format!("The address `{address}` has no length or netmask."), remedy)),
        };
    }
    if METHODS.contains(&address.as_str()) {
        return Err(missing_address(kind, address));
    }
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let name = address.strip_prefix('.').unwrap_or(address);
    let all_digits = name.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'/');
    if !all_digits && name.split('.').all(label) {
        return Ok(1);
    }
    Err(Problem::new(format!("`{address}` is not an address."), remedy))
}

fn missing_address(kind: &str, method: &str) -> Problem {
    Problem::new(
        format!("The method `{method}` stands where a `{kind}` line has its address."),
        "Write the address before it, as `host all all 10.0.0.0/8 scram-sha-256`; `all` is every address.",
    )
}

fn check_method(kind: &str, method: &str, options: &[String]) -> Result<(), Problem> {
    if !METHODS.contains(&method) {
        return Err(Problem::new(
            format!("`{method}` is not an authentication method."),
            format!("Choose one of {}.", METHODS.join(", ")),
        ));
    }
    if method == "peer" && kind != "local" {
        return Err(Problem::new("The method `peer` works on `local` lines only.", "Choose scram-sha-256."));
    }
    if method == "cert" {
        return Err(Problem::new(
            "The method `cert` needs encrypted connections, which are not offered yet.",
            "Choose scram-sha-256.",
        ));
    }
    match options.iter().find(|option| !option.contains('=')) {
        Some(option) => Err(Problem::new(
            format!("`{option}` is not an option of the method."),
            "Write options as name=value.",
        )),
        None => Ok(()),
    }
}

/// The fields of a line: blanks separate them but inside quotes and after commas, `#` begins a comment.
fn fields(line: &str) -> Result<Vec<String>, Problem> {
    if line.chars().any(|c| c.is_control() && c != '\t') {
        return Err(Problem::new(
            "The text holds a line break or control character.",
            "Write each line of pg_hba.conf as an element of its own.",
        ));
    }
    let mut fields: Vec<String> = Vec::new();
    let (mut current, mut quoted) = (String::new(), false);
    for c in line.chars() {
        match c {
            '#' if !quoted => break,
            '"' => {
                quoted = !quoted;
                current.push(c);
            }
            c if c.is_whitespace() && !quoted => {
                // A blank after a comma does not end the field.
                if !current.is_empty() && !current.ends_with(',') {
                    fields.push(std::mem::take(&mut current));
                }
            }
            c => current.push(c),
        }
    }
    if quoted {
        return Err(Problem::new("A quotation mark is not closed.", "Close it."));
    }
    if !current.is_empty() {
        fields.push(current);
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_of_every_kind_are_accepted() {
        for line in [
            "local all all peer",
            "local all postgres trust # people who may exec",
            "host all all all scram-sha-256",
            "host  all\tall 10.0.0.0/8   md5",
            "host app,\"Other Db\", reports app,+readers 192.168.0.0 255.255.0.0 scram-sha-256",
            "host all all 2001:db8::/32 scram-sha-256",
            "host all all ::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff reject",
            "hostnossl replication backup samenet scram-sha-256",
            "host all /^app.*$ .example.com ldap ldapserver=ldap.example.com ldapprefix=\"uid=\"",
        ] {
            assert_eq!(check(line), Ok(()), "{line}");
        }
    }

    #[test]
    fn other_lines_are_refused_with_the_way_out() {
        for (line, message) in [
            ("", "The line is empty or a comment."),
            ("# host all all all trust", "The line is empty or a comment."),
            ("tcp all all all trust", "`tcp` is not a connection type."),
            ("host", "The line ends before database and user."),
            ("host all all", "The line ends before the address."),
            ("host all all trust", "The method `trust` stands where a `host` line has its address."),
            ("host all all 10.0.0.0/8", "The line ends before the method."),
            ("local all all", "The line ends before the method."),
            ("host all all 10.0.0.0 trust", "The address `10.0.0.0` has no length or netmask."),
            ("host all all 10.0.0.0/33 trust", "`10.0.0.0/33` is not an address."),
            ("host all all 10.0.0/8 trust", "`10.0.0/8` is not an address."),
            ("host all all all scram", "`scram` is not an authentication method."),
            ("host all all all peer", "The method `peer` works on `local` lines only."),
            ("hostssl all all all scram-sha-256", "`hostssl` would never match"),
            ("host all all all cert", "The method `cert` needs encrypted connections"),
            ("host @dbs all all trust", "`@dbs` reads a file"),
            ("include other.conf", "`include` reads another file"),
            ("host all \"app all trust", "A quotation mark is not closed."),
            ("host all pgha_replication all trust", "The role `pgha_replication` is the cluster's own."),
            ("host all all all scram-sha-256 map", "`map` is not an option of the method."),
            ("host all all all trust\nhost all all all reject", "The text holds a line break"),
        ] {
            let problem = check(line).unwrap_err().to_string();
            assert!(problem.starts_with(message), "{line}: {problem}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_judged(line in "(local|host)?[ a-z0-9./,\"#@:]{0,40}|\\PC{0,30}") {
            let _ = check(&line);
        }
    }
}
