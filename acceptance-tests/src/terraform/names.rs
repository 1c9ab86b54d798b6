//! The names of attributes that a configuration gives to clusters, held against the schema: the CLI says nothing about a strange
//! name inside a nested object, and leaves it out.

use std::iter::Peekable;
use std::str::Chars;

use pgha_schema::resource::schema;
use pgha_schema::tf::{Attribute, Nesting, Shape};

/// What any resource may have.
const META: [&str; 4] = ["count", "depends_on", "for_each", "provider"];

/// Attributes of clusters in this text, as dotted paths, that the schema does not know.
pub fn strange(text: &str) -> Vec<String> {
    let bodies = text.split("resource \"postgres_ha_cluster\"").skip(1);
    let all = bodies.filter_map(|body| body.split_once('{')).flat_map(|(_, body)| paths(body));
    all.filter(|path| !is_known(&schema().attributes, path)).map(|path| path.join(".")).collect()
}

fn is_known(attributes: &[Attribute], path: &[String]) -> bool {
    let Some((first, rest)) = path.split_first() else { return true };
    if META.contains(&first.as_str()) {
        return true;
    }
    let Some(attribute) = attributes.iter().find(|attribute| attribute.name == *first) else { return false };
    match &attribute.shape {
        Shape::Leaf(_) => true,
        Shape::Nested { nesting: Nesting::Map, attributes } => {
            is_known(attributes, rest.get(1..).unwrap_or(&[]))
        }
        Shape::Nested { attributes, .. } => is_known(attributes, rest),
    }
}

/// An open bracket: the attribute whose value it belongs to; none for a block.
struct Open {
    name: Option<String>,
    is_object: bool,
}

/// Everything that is assigned in the body of a block, up to the bracket that ends it.
fn paths(body: &str) -> Vec<Vec<String>> {
    let mut chars = body.chars().peekable();
    let (mut word, mut assigned) = (String::new(), None);
    let mut open: Vec<Open> = Vec::new();
    let mut found = Vec::new();
    while let Some(c) = chars.next() {
        match c {
            '#' => while chars.next_if(|c| *c != '\n').is_some() {},
            '\n' => assigned = None,
            '"' => word = string(&mut chars),
            '=' if chars.next_if(|next| "=>".contains(*next)).is_some() => {}
            '!' | '<' | '>' if chars.next_if_eq(&'=').is_some() => {}
            '=' => {
                let objects = open.iter().filter(|one| one.is_object);
                let path: Option<Vec<String>> = objects.map(|one| one.name.clone()).collect();
                found.extend(path.map(|path| [path, vec![word.clone()]].concat()));
                assigned = Some(std::mem::take(&mut word));
            }
            '{' | '[' | '(' => {
                let around = open.last().filter(|one| !one.is_object).and_then(|one| one.name.clone());
                open.push(Open { name: assigned.take().or(around), is_object: c == '{' });
            }
            '}' | ']' | ')' => match open.pop() {
                Some(_) => assigned = None,
                None => break,
            },
            c if is_word(c) => {
                word = c.to_string();
                while let Some(next) = chars.next_if(|c| is_word(*c)) {
                    word.push(next);
                }
            }
            _ => {}
        }
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}

/// The rest of a string, with what is interpolated left out.
fn string(chars: &mut Peekable<Chars<'_>>) -> String {
    let mut text = String::new();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => text.extend(chars.next()),
            '$' if chars.next_if_eq(&'{').is_some() => interpolated(chars),
            c => text.push(c),
        }
    }
    text
}

fn interpolated(chars: &mut Peekable<Chars<'_>>) {
    let mut depth = 1;
    while let Some(c) = chars.next() {
        match c {
            '"' => drop(string(chars)),
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(body: &str) -> String {
        format!(
            "resource \"postgres_ha_cluster\" \"this\" {{\n{body}\n}}\noutput \"x\" {{\n  valeu = 1\n}}\n"
        )
    }

    #[test]
    fn what_the_schema_knows_is_not_strange() {
        let body = "name = \"${join(\"{\", [\"}\"])}\" # nmae = 1\nstorage = { size = \"1Gi\", class = var.a == null ? null : \"b\" }\n\
                    labels = { anything = \"x\" }\nparameters = {\n  work_mem = \"8MB\"\n}\nfor_each = { a = 1 }\n\
                    services = var.on ? { rw = { annotations = { for k, v in var.all : k => v } } } : null\n\
                    lifecycle {\n  ignore_changes = [replicas]\n}";
        assert_eq!(strange(&cluster(body)), Vec::<String>::new());
    }

    #[test]
    fn what_the_schema_does_not_know_is_told_by_its_path() {
        let body = "nmae = \"a\"\npod = {\n  security = {}\n  security_context = { run_as = 1 }\n}\n\
                    storage = merge({ sise = \"1Gi\" })";
        assert_eq!(
            strange(&cluster(body)),
            ["nmae", "pod.security", "pod.security_context.run_as", "storage.sise"]
        );
    }
}
