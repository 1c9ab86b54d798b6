//! The peers of `network_policy`: pods or a network, and not nothing.

use std::net::IpAddr;

use super::cross::Config;
use crate::diagnostic::Diagnostics;
use crate::path::Path;
use crate::value::Value;

pub(super) fn rules(config: &Config<'_>, found: &mut Diagnostics) {
    for list in ["from", "metrics_from"] {
        let peers = config.0.get(&format!("network_policy.{list}"));
        for (index, peer) in peers.as_items().unwrap_or_default().iter().enumerate() {
            one(peer, &Path::of("network_policy").attribute(list).index(index), found);
        }
    }
}

fn one(peer: &Value, path: &Path, found: &mut Diagnostics) {
    if peer.is_unknown() {
        return;
    }
    let is_set = |name: &str| !peer.get(name).is_null();
    let by_labels = is_set("namespace_labels") || is_set("pod_labels");
    let mut error = |path: Path, detail: String| {
        let summary = format!("Invalid {path}");
        found.error(path, summary, detail);
    };
    if is_set("cidr") && by_labels {
        let detail =
            "Addresses of a network have no labels. Write two peers, one with cidr and one with labels.";
        error(path.attribute("cidr"), detail.to_owned());
    }
    if !is_set("cidr") && !by_labels {
        let detail = "It names nobody. Set pod_labels (an empty map: every pod of the namespace), namespace_labels (an empty \
                      map: every namespace) or cidr.";
        error(path.clone(), detail.to_owned());
    }
    if is_set("except") && !is_set("cidr") {
        let detail = "Only a network has parts to leave out. Set cidr, or leave except out.";
        error(path.attribute("except"), detail.to_owned());
    }
    let Some(outer) = peer.get("cidr").as_str() else { return };
    for (index, inner) in peer.get("except").as_items().unwrap_or_default().iter().enumerate() {
        if let Some(inner) = inner.as_str().filter(|inner| is_within(inner, outer) == Some(false)) {
            error(
                path.attribute("except").index(index),
                format!("{inner} is not a part of {outer}. Leave out parts of cidr only."),
            );
        }
    }
}

/// Whether a network is a part of another; none when one of them can't be read, which is told elsewhere.
fn is_within(inner: &str, outer: &str) -> Option<bool> {
    let ((inner, inner_length), (outer, outer_length)) = (network(inner)?, network(outer)?);
    let (inner, outer, width) = match (inner, outer) {
        (IpAddr::V4(inner), IpAddr::V4(outer)) => {
            (u128::from(inner.to_bits()), u128::from(outer.to_bits()), 32)
        }
        (IpAddr::V6(inner), IpAddr::V6(outer)) => (inner.to_bits(), outer.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return Some(false),
    };
    let differing = (inner ^ outer).checked_shr(width - outer_length).unwrap_or(0);
    Some(inner_length > outer_length && differing == 0)
}

fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, length) = text.split_once('/')?;
    let (address, length): (IpAddr, u32) = (address.parse().ok()?, length.parse().ok()?);
    (length <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_networks_are_told_from_others() {
        for (inner, outer, wanted) in [
            ("10.1.0.0/16", "10.0.0.0/8", Some(true)),
            ("10.0.0.0/8", "10.0.0.0/8", Some(false)),
            ("11.0.0.0/16", "10.0.0.0/8", Some(false)),
            ("192.0.2.1/32", "0.0.0.0/0", Some(true)),
            ("2001:db8:1::/48", "2001:db8::/32", Some(true)),
            ("2001:db9::/48", "2001:db8::/32", Some(false)),
            ("::1/128", "::/0", Some(true)),
            ("10.0.0.0/8", "::/0", Some(false)),
            ("10.0.0.0", "10.0.0.0/8", None),
        ] {
            assert_eq!(is_within(inner, outer), wanted, "{inner} in {outer}");
        }
    }
}
