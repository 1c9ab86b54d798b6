use serde_json::json;

use super::*;

fn told(validator: &Validator, value: &Value) -> String {
    match check(validator, value) {
        Ok(()) => "good".to_owned(),
        Err(problem) => problem.to_string(),
    }
}

#[test]
fn generic_validators_say_what_is_wanted() {
    let range = |min, max| Validator::Range { min, max };
    let length = |min, max| Validator::Length { min, max };
    let items = |min, max| Validator::Items { min, max };
    let one_of = Validator::OneOf(vec!["a".into(), "b".into(), "c".into()]);
    for (validator, value, wanted) in [
        (range(Some(0), Some(9)), json!(9), "good"),
        (range(Some(0), Some(9)), json!(10), "`10` is out of range. Choose a number from 0 to 9."),
        (range(Some(1), Some(1)), json!(2), "`2` is out of range. Only 1 is accepted."),
        (range(Some(1), None), json!(0.5), "`0.5` is out of range. Choose 1 or more."),
        (range(None, Some(5)), json!("x"), "`x` is out of range. Choose 5 or less."),
        (Validator::Integer, json!(2.0), "good"),
        (Validator::Integer, json!(2.5), "`2.5` is not a whole number. Write it without a fraction."),
        (one_of.clone(), json!("b"), "good"),
        (one_of, json!("d"), "`d` is not one of the choices. Choose \"a\", \"b\" or \"c\"."),
        (Validator::Pattern("^a+$".into()), json!("aa"), "good"),
        (Validator::Pattern("^a+$".into()), json!("ab"), "`ab` has the wrong form. It must match `^a+$`."),
        (length(Some(2), None), json!("\u{e4}"), "`\u{e4}` has 1 character. Write at least 2 characters."),
        (length(None, Some(1)), json!("\u{e4}"), "good"),
        (items(Some(1), None), json!([]), "The list has 0 elements. Write at least 1 element."),
        (items(None, Some(1)), json!([1, 2]), "The list has 2 elements. Write at most 1 element."),
        (Validator::Rule(Rule::DnsLabel), json!(5), "`5` is not a text. Write a string."),
        (Validator::Integer, json!(null), "good"),
    ] {
        assert_eq!(told(&validator, &value), wanted, "{validator:?}");
    }
}

/// For each rule: what passes, what doesn't, and how the message begins.
#[test]
fn each_rule_tells_good_from_bad() {
    let table: &[(Rule, &[&str], &[&str], &str)] = &[
        (Rule::DnsLabel, &["a", "a-1", "1a"], &["", "-a", "a-", "A", "a.b", "a_b"], "is not a DNS label."),
        (Rule::ClusterName, &["orders", "o-1"], &["1a", "", "Orders", "a-"], "can't name a cluster."),
        (Rule::DnsSubdomain, &["fast", "a.b-c"], &["", "a..b", "A", ".a"], "can't name a Kubernetes object."),
        (
            Rule::MetadataKey,
            &["team", "example.com/Team_1"],
            &["", "a/b/c", "-a", "a/"],
            "is not a valid key.",
        ),
        (
            Rule::MetadataKey,
            &["roles"],
            &["role", "pgha/ro", "app.kubernetes.io/name"],
            "is the cluster's own.",
        ),
        (
            Rule::LookupKey,
            &["kubernetes.io/arch", "cpu", "hugepages-2Mi"],
            &["", "a b"],
            "is not a valid key.",
        ),
        (Rule::LabelValue, &["", "a", "A.b_c-1"], &["-a", "a b", "\u{e4}"], "is not a label value."),
        (Rule::Quantity, &["1Gi", "0.5"], &["1GB", "big"], "is not a Kubernetes quantity."),
        (Rule::Quantity, &["1n"], &["0", "-1Gi"], "is not above zero."),
        (Rule::Duration, &["10s", "1h30m"], &["10", "1d"], "is not a duration."),
        (Rule::Duration, &["1ns"], &["0", "-1s"], "is not above zero."),
        (Rule::ImageReference, &["postgres:18"], &["Postgres", "a b"], "is not an image reference."),
        (Rule::PostgresVersion, &["18", "16.9"], &["latest", "18.x"], "is not a PostgreSQL version."),
        (Rule::PostgresVersion, &["15"], &["14", "19"], "is not supported."),
        (Rule::PostgresVersion, &["17.5"], &["17.4", "15.1"], "can skip synchronous waits while it starts."),
        (Rule::ParameterName, &["work_mem"], &["fsync", "primary_conninfo"], "The cluster sets"),
        (Rule::OneLine, &["a b", ""], &["a\nb", "a\0"], "The text holds a line break"),
        (
            Rule::PgHbaLine,
            &["host all all all trust"],
            &["host all all all none"],
            "is not an authentication method.",
        ),
        (Rule::PgIdentifier, &["app", "My DB"], &["", "a\nb"], "can't name a database."),
        (Rule::PgIdentifier, &["postgres"], &["template0", "template1"], "is PostgreSQL's template."),
        (
            Rule::PgRole,
            &["app"],
            &["postgres", "pg_monitor", "pgha_replication", "public"],
            "the cluster's own.",
        ),
        (
            Rule::Encoding,
            &["UTF8", "latin1", "SQL_ASCII", "WIN1258"],
            &["UTF16", "SJIS", ""],
            "is not an encoding",
        ),
        (Rule::Locale, &["C", "C.UTF-8", "de_DE@euro"], &["", "-C", "a b", "a'b"], "is not a locale's name."),
        (
            Rule::Cidr,
            &["10.0.0.0/8", "::/0"],
            &["10.0.0.0", "10.0.0.0/33", "::/129", "a/8"],
            "is not a network",
        ),
        (
            Rule::ProxyUrl,
            &["http://p:3128", "https://u:p@p", "socks5://p:1080", "socks5://u:p@p"],
            &["ftp://p", "p:3128", "http://"],
            "is not a proxy's URL.",
        ),
        (Rule::Regex, &["^a", "x|y", ""], &["(", "[a", "a{2,1}"], "is not a regular expression"),
        (Rule::Ignored, &["labels.a", "services.rw.annotations.b/*"], &["a", "replicas"], "left to others"),
        (Rule::Password, &["a b\"c'd\\", "hunter2"], &["", "p\u{e4}ss", "two\nlines"], "no password"),
        (Rule::Pem, &["-----BEGIN X-----\nMII=\n-----END X-----"], &["secret", ""], "The text is not PEM."),
    ];
    for (rule, good, bad, message) in table {
        for text in *good {
            assert_eq!(rule.check(text), Ok(()), "{rule:?} {text}");
        }
        for text in *bad {
            let problem = rule.check(text).unwrap_err();
            assert!(problem.what.contains(message), "{rule:?} {text}: {problem}");
            assert!(problem.remedy.ends_with(['.', ')', '?']), "{rule:?} {text}: {problem}");
        }
    }
    assert!(
        Rule::ClusterName.check(&"a".repeat(40)).is_ok() && Rule::ClusterName.check(&"a".repeat(41)).is_err()
    );
    assert!(Rule::DnsLabel.check(&"a".repeat(63)).is_ok() && Rule::DnsLabel.check(&"a".repeat(64)).is_err());
    assert!(Rule::PgRole.check(&"a".repeat(63)).is_ok() && Rule::PgRole.check(&"a".repeat(64)).is_err());
    assert!(
        !Rule::Password.check("hunter2\n").unwrap_err().to_string().contains("hunter2")
            && !Rule::ProxyUrl.check("ftp://me:hunter2@p").unwrap_err().to_string().contains("hunter2")
            && !Rule::Pem.check("hunter2").unwrap_err().to_string().contains("hunter2"),
        "a secret must not be shown"
    );
}
