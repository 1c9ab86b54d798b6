//! Which values each attribute takes, learned from the provider's own validation: nothing about an attribute is written down
//! here but what every cluster must have.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use pgha_acceptance_tests::host::schema::{Attribute, Nesting, Shape, Type, walk};
use pgha_acceptance_tests::host::{Calls, Core, has_errors};
use proptest::test_runner::TestRng;
use rand::{Rng as _, SeedableRng as _, seq::IndexedRandom as _};
use serde_json::{Map, Value as Json, json};

use crate::generate::amount;
use crate::words;

/// Contexts in which a value is tried that the plain one refuses.
const CONTEXTS: usize = 200;

/// Meaningless texts that each attribute is tried with.
const NONSENSE_EACH: usize = 5;

/// What texts of an attribute mean, so that two spellings may be equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// `1Gi` is `1024Mi`.
    Quantity,
    /// `1m` is `60s`.
    Duration,
}

/// What is known of a leaf.
#[derive(Debug, Clone, Default)]
pub struct Pool {
    /// Values that it takes; of lists and maps those with one element.
    pub good: Vec<Json>,
    /// Values that it refuses in the smallest configuration.
    pub bad: Vec<Json>,
    /// What its texts mean.
    pub meaning: Option<Meaning>,
}

/// What is known of all.
#[derive(Debug, Clone, Default)]
pub struct Learned {
    /// By dotted path.
    pub leaves: BTreeMap<String, Pool>,
}

/// The smallest cluster.
pub fn minimal() -> Json {
    json!({ "name": "orders", "namespace": "shop", "storage": { "size": "10Gi" } })
}

/// The leaves that a user sets, but for write-only values and the number beside each: they come in pairs, which `generate.rs` makes.
pub fn inputs(attributes: &[Attribute]) -> Vec<(String, &Attribute)> {
    let outputs: Vec<_> =
        walk(attributes).into_iter().filter(|(_, one)| one.is_output()).map(|(path, _)| path).collect();
    let inside = |path: &str| outputs.iter().any(|out| path == out || path.starts_with(&format!("{out}.")));
    let secret = |path: &str| {
        let value = path.strip_suffix("_version").unwrap_or(path);
        walk(attributes).iter().any(|(other, one)| one.write_only && other == value)
    };
    let all = walk(attributes).into_iter();
    all.filter(|(path, one)| matches!(one.shape, Shape::Leaf(_)) && !inside(path) && !secret(path)).collect()
}

/// Asks about every leaf.
pub async fn learn<C: Calls>(core: &Core<C>) -> Result<Learned> {
    let mut learned = Learned::default();
    let leaves = inputs(&core.attributes);
    let mut lonely = Vec::new();
    for (path, leaf) in &leaves {
        let (pool, nearest) = alone(core, path, leaf).await?;
        if pool.good.is_empty() {
            lonely.push((path, nearest));
        }
        learned.leaves.insert(path.clone(), pool);
    }
    for (path, nearest) in lonely {
        in_context(core, &mut learned, path, &nearest).await?;
    }
    for pool in learned.leaves.values_mut() {
        pool.meaning = meaning(&pool.good);
    }
    Ok(learned)
}

/// Each value in the smallest configuration; and of those that are refused, the ones of which the least is wrong. Of several
/// spellings the others are tried only where the first one does.
async fn alone<C: Calls>(core: &Core<C>, path: &str, leaf: &Attribute) -> Result<(Pool, Vec<Json>)> {
    let mut pool = Pool::default();
    let mut wrong = Vec::new();
    for spellings in candidates(leaf) {
        for (position, value) in spellings.into_iter().enumerate() {
            let errors = errors(core, &with(&core.attributes, minimal(), path, value.clone())).await?;
            if errors == 0 {
                pool.good.push(value);
                continue;
            }
            wrong.push((errors, value.clone()));
            pool.bad.push(value);
            if position == 0 {
                break;
            }
        }
    }
    let least = wrong.iter().map(|(errors, _)| *errors).min();
    let nearest = wrong.into_iter().filter(|(errors, _)| Some(*errors) == least).map(|(_, value)| value);
    Ok((pool, nearest.collect()))
}

/// How much is wrong with a configuration.
async fn errors<C: Calls>(core: &Core<C>, given: &Json) -> Result<usize> {
    let found = core.validate(given).await?;
    Ok(found.iter().filter(|one| has_errors(std::slice::from_ref(*one))).count())
}

/// A value may need others beside it: a load balancer's networks need a load balancer. What is refused says nothing then.
async fn in_context<C: Calls>(
    core: &Core<C>,
    learned: &mut Learned,
    path: &str,
    nearest: &[Json],
) -> Result<()> {
    let parent = path.rsplit_once('.').map(|(parent, _)| parent).unwrap_or_default();
    let siblings: Vec<String> = learned
        .leaves
        .keys()
        .filter(|other| other.as_str() != path && other.rsplit_once('.').is_some_and(|(p, _)| p == parent))
        .cloned()
        .collect();
    let mut rng = rand::rngs::StdRng::seed_from_u64(1);
    let mut good = Vec::new();
    for _ in 0..CONTEXTS {
        let mut given = minimal();
        for sibling in &siblings {
            // Also what was refused alone may do in company.
            let pool = &learned.leaves[sibling];
            let values = if pool.good.is_empty() { &pool.bad } else { &pool.good };
            if let Some(value) = values.choose(&mut rng).filter(|_| rng.random_bool(0.5)) {
                given = with(&core.attributes, given, sibling, value.clone());
            }
        }
        let value = nearest.choose(&mut rng).cloned().unwrap_or_default();
        let given = with(&core.attributes, given, path, value.clone());
        if !good.contains(&value) && errors(core, &given).await? == 0 {
            good.push(value);
        }
    }
    if good.is_empty() {
        bail!("no value is known that {path} takes: add one to words.rs");
    }
    learned.leaves.insert(path.to_owned(), Pool { good, ..Pool::default() });
    Ok(())
}

/// Values to try, each with other spellings of the same.
fn candidates(leaf: &Attribute) -> Vec<Vec<Json>> {
    let Shape::Leaf(ty) = &leaf.shape else { return Vec::new() };
    match ty {
        Type::Bool => vec![vec![json!(true)], vec![json!(false)]],
        Type::Number => numbers(),
        Type::String | Type::Dynamic => texts(leaf),
        Type::List(inner) | Type::Set(inner) if **inner == Type::Number => in_lists(numbers()),
        Type::List(_) | Type::Set(_) => in_lists(texts(leaf)),
        Type::Map(_) => {
            let pair = |key: &str, text: &&str| json!({ key: text });
            let pairs = words::KEYS.iter().flat_map(|key| {
                let of_key = words::MAP_VALUES.iter();
                of_key.map(move |spellings| spellings.iter().map(|text| pair(key, text)).collect())
            });
            pairs.collect()
        }
        Type::Object(_) => Vec::new(),
    }
}

fn numbers() -> Vec<Vec<Json>> {
    words::NUMBERS.iter().map(|number| vec![json!(number)]).chain([vec![json!(0.5)]]).collect()
}

fn texts(leaf: &Attribute) -> Vec<Vec<Json>> {
    let alone = |text: String| vec![Json::from(text)];
    let spelled = |group: &&[&str]| group.iter().map(|text| json!(text)).collect();
    let mut all: Vec<Vec<Json>> = quoted(&leaf.description).into_iter().map(alone).collect();
    all.extend(words::QUANTITIES.iter().chain(&words::DURATIONS).map(spelled));
    all.extend(words::WORDS.iter().map(|text| vec![json!(text)]));
    // Some for each, and each for some: what is wrong with a text hardly depends on the attribute.
    let turn = leaf.name.len() + leaf.description.len();
    all.extend(
        (0..NONSENSE_EACH).map(|n| vec![json!(words::NONSENSE[(turn + n * 3) % words::NONSENSE.len()])]),
    );
    all
}

fn in_lists(values: Vec<Vec<Json>>) -> Vec<Vec<Json>> {
    values.into_iter().map(|spellings| spellings.into_iter().map(|value| json!([value])).collect()).collect()
}

/// What the documentation of an attribute shows in backticks, a choice of an enumeration say.
fn quoted(description: &str) -> Vec<String> {
    let words = description.split('`').skip(1).step_by(2);
    words.map(|word| word.trim_matches('"').to_owned()).filter(|word| word.len() < 60).collect()
}

/// Texts that are all durations, or all quantities with a unit among them, have a meaning.
fn meaning(good: &[Json]) -> Option<Meaning> {
    let mut texts = Vec::new();
    for value in good {
        collect(value, &mut texts);
    }
    let all = |meaning| !texts.is_empty() && texts.iter().all(|text| amount(meaning, text).is_some());
    if all(Meaning::Duration) {
        return Some(Meaning::Duration);
    }
    let units = texts.iter().any(|text| text.ends_with("Gi"));
    (units && all(Meaning::Quantity)).then_some(Meaning::Quantity)
}

fn collect<'a>(value: &'a Json, texts: &mut Vec<&'a str>) {
    match value {
        Json::String(text) => texts.push(text),
        Json::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Json::Object(entries) => entries.values().for_each(|item| collect(item, texts)),
        _ => {}
    }
}

/// `given` with a value at a dotted path; objects, and lists and maps of objects, on the way are made.
pub fn with(attributes: &[Attribute], mut given: Json, path: &str, value: Json) -> Json {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    if !given.is_object() {
        given = Json::Object(Map::new());
    }
    let Some(attribute) = attributes.iter().find(|one| one.name == name) else { return given };
    let slot = &mut given[name];
    *slot = match (&attribute.shape, rest) {
        (Shape::Nested(nesting, inner), Some(rest)) => match nesting {
            Nesting::Single => with(inner, slot.take(), rest, value),
            Nesting::List | Nesting::Set => {
                json!([with(inner, slot.get_mut(0).map(Json::take).unwrap_or_default(), rest, value)])
            }
            Nesting::Map => {
                json!({ "a": with(inner, slot.get_mut("a").map(Json::take).unwrap_or_default(), rest, value) })
            }
        },
        _ => value,
    };
    given
}

/// A generator of proptest, for what is chosen outside of it.
pub fn rng(seed: u64) -> TestRng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &bytes)
}
