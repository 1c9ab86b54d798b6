//! Image and version must speak of the same PostgreSQL.

use pgha_schema::resource::{PostgresVersion, SUPPORTED_MAJORS};

use super::cross::Config;
use crate::diagnostic::Diagnostics;
use crate::path::Path;

/// What an image reference says of itself.
struct Reference<'a> {
    /// The last part of its repository: `postgres`.
    name: &'a str,
    /// Its tag; none when it goes by digest or by `latest` left out.
    tag: Option<&'a str>,
}

fn parse(image: &str) -> Reference<'_> {
    let image = image.split_once('@').map_or(image, |(before, _)| before);
    let last = image.rsplit('/').next().unwrap_or(image);
    match last.split_once(':') {
        Some((name, tag)) => Reference { name, tag: Some(tag) },
        None => Reference { name: last, tag: None },
    }
}

/// `16.9` of the tag `16.9-alpine3.22`.
fn version_of(tag: &str) -> Option<(u32, Option<u32>)> {
    let numbers: String = tag.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let mut parts = numbers.split('.');
    let major = parts.next()?.parse().ok()?;
    Some((major, parts.next().and_then(|minor| minor.parse().ok())))
}

pub(super) fn rules(config: &Config<'_>, found: &mut Diagnostics) {
    let Some(image) = config.0.get("image").as_str() else { return };
    let reference = parse(image);
    let Some(tag) = reference.tag else { return };
    versions(config, found, &reference, tag);
    let user = config.get("pod.security_context.run_as_user").as_i64();
    if tag.contains("alpine") && user == Some(999) {
        found.warning(
            Path::of("pod.security_context.run_as_user"),
            "Alpine images have another postgres user",
            "The official Alpine image runs PostgreSQL with uid and gid 70, and its files belong to them. Set run_as_user, \
             run_as_group and fs_group to 70.",
        );
    }
}

fn versions(config: &Config<'_>, found: &mut Diagnostics, reference: &Reference<'_>, tag: &str) {
    let version = config.text("postgres_version").and_then(|text| text.parse::<PostgresVersion>().ok());
    let (Some(version), Some((major, minor))) = (version, version_of(tag)) else { return };
    let minors_differ = matches!((version.minor, minor), (Some(a), Some(b)) if a != b);
    if version.major == major && !minors_differ {
        return;
    }
    let told = minor.map_or_else(|| major.to_string(), |minor| format!("{major}.{minor}"));
    let summary = "image and postgres_version disagree";
    let detail = format!(
        "The image's tag `{tag}` says PostgreSQL {told}, and postgres_version is {version}{}. Write both alike, as \
         postgres_version = \"{major}\".",
        if config.0.get("postgres_version").is_null() { " (its default)" } else { "" }
    );
    if matches!(reference.name, "postgres" | "postgresql") {
        found.error(Path::of("postgres_version"), summary, detail);
    } else if SUPPORTED_MAJORS.contains(&major) {
        // Another image's tags may count anything.
        found.warning(Path::of("postgres_version"), summary, detail);
    }
}
