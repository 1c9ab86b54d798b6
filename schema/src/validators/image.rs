//! Container image references, by the grammar of the distribution project.

use super::Problem;

/// Checks `[domain[:port]/]path[:tag][@digest]`.
pub(super) fn check(text: &str) -> Result<(), Problem> {
    if is_reference(text) {
        return Ok(());
    }
    Err(Problem::new(
        format!("`{text}` is not an image reference."),
        "Write [registry/]name[:tag][@sha256:digest], as docker.io/library/postgres:18 (the name in lower case).",
    ))
}

fn is_reference(text: &str) -> bool {
    let (rest, digest) = text.split_once('@').map_or((text, None), |(rest, digest)| (rest, Some(digest)));
    let slash = rest.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match rest[slash..].split_once(':') {
        Some((last, tag)) => (&rest[..slash + last.len()], Some(tag)),
        None => (rest, None),
    };
    name.len() <= 255 && is_name(name) && tag.is_none_or(is_tag) && digest.is_none_or(is_digest)
}

fn is_name(name: &str) -> bool {
    let path = match name.split_once('/') {
        Some((domain, path)) if is_domain(domain) => path,
        _ => name,
    };
    !path.is_empty() && path.split('/').all(is_component)
}

/// The first part is a registry when it has a dot or a port, or is `localhost`.
fn is_domain(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let label = |label: &str| {
        let plain = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        !label.is_empty() && plain && !label.starts_with('-') && !label.ends_with('-')
    };
    let literal = host.starts_with('[') && host.ends_with(']');
    (port.is_some() || host.contains('.') || literal || host == "localhost")
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
        && (literal || host.split('.').all(label))
}

/// Lower-case letters and digits, with `.`, `_`, `__` or hyphens between them.
fn is_component(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let edges =
        text.bytes().next().is_some_and(alphanumeric) && text.bytes().last().is_some_and(alphanumeric);
    let separators = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    edges
        && separators
            .filter(|separator| !separator.is_empty())
            .all(|separator| matches!(separator, "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

fn is_digest(text: &str) -> bool {
    let hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    match text.split_once(':') {
        Some(("sha256", digest)) => hex(digest, 64),
        Some(("sha512", digest)) => hex(digest, 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_told_from_other_texts() {
        let digest = "sha256:".to_owned() + &"0af".repeat(22)[..64];
        for good in [
            "postgres",
            "postgres:18",
            "library/postgres:18.1-bookworm",
            "docker.io/library/postgres:18",
            "localhost:5000/postgres",
            "localhost/postgres:18",
            "registry.example.com:5000/a/b__c/d-e.f:Tag_1",
            "[::1]:5000/postgres",
            &format!("postgres@{digest}"),
            &format!("postgres:18@{digest}"),
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "Postgres",
            "postgres:",
            "postgres:18:1",
            "postgres@sha256:12",
            "/postgres",
            "postgres/",
            "a//b",
            "a..b/postgres",
            "post gres",
            "https://docker.io/postgres",
            "-postgres",
            "postgres:-18",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
