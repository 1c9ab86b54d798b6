//! Validators as data on an attribute, and the one function that runs them.
//!
//! They see one known value and nothing else; rules between attributes are the provider core's.

mod image;
mod rules;

use std::fmt;

use serde_json::Value;

pub use rules::Rule;
pub(crate) use rules::is_cidr;

/// What a value must fulfil.
#[derive(Clone, Debug, PartialEq)]
pub enum Validator {
    /// A number with bounds, both included (JSON Schema `minimum`, `maximum`).
    Range {
        /// Smallest allowed.
        min: Option<i64>,
        /// Largest allowed.
        max: Option<i64>,
    },
    /// A whole number (JSON Schema `integer`).
    Integer,
    /// One of these texts (JSON Schema `enum`).
    OneOf(Vec<String>),
    /// A text that this regular expression matches somewhere (JSON Schema `pattern`).
    Pattern(String),
    /// A text of so many characters (JSON Schema `minLength`, `maxLength`).
    Length {
        /// Fewest characters.
        min: Option<u64>,
        /// Most characters.
        max: Option<u64>,
    },
    /// A list or set of so many elements (JSON Schema `minItems`, `maxItems`).
    Items {
        /// Fewest elements.
        min: Option<u64>,
        /// Most elements.
        max: Option<u64>,
    },
    /// A named rule.
    Rule(Rule),
}

/// What is wrong with a value, and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, as a sentence.
    pub what: String,
    /// What to do, as a sentence.
    pub remedy: String,
}

impl Problem {
    /// From its two sentences.
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what, self.remedy)
    }
}

/// Runs one validator on one known value. Null always passes: whether it may be null is the schema's affair.
pub fn check(validator: &Validator, value: &Value) -> Result<(), Problem> {
    if value.is_null() {
        return Ok(());
    }
    match validator {
        Validator::Range { min, max } => range(*min, *max, value),
        Validator::Integer => integer(value),
        Validator::OneOf(allowed) => one_of(allowed, value),
        Validator::Pattern(pattern) => matches_pattern(pattern, value),
        Validator::Length { min, max } => {
            let length = value.as_str().map_or(0, |text| text.chars().count() as u64);
            count(*min, *max, length, "character", &shown(value))
        }
        Validator::Items { min, max } => {
            let length = value.as_array().map_or(0, |items| items.len() as u64);
            count(*min, *max, length, "element", "The list")
        }
        Validator::Rule(rule) => match value.as_str() {
            Some(text) => rule.check(text),
            None => Err(Problem::new(format!("{} is not a text.", shown(value)), "Write a string.")),
        },
    }
}

/// A value as it is shown in a message.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

fn range(min: Option<i64>, max: Option<i64>, value: &Value) -> Result<(), Problem> {
    let number = value.as_f64();
    let low = min.is_some_and(|min| number.is_none_or(|number| number < min as f64));
    let high = max.is_some_and(|max| number.is_none_or(|number| number > max as f64));
    if !low && !high {
        return Ok(());
    }
    let wanted = match (min, max) {
        (Some(min), Some(max)) if min == max => format!("Only {min} is accepted."),
        (Some(min), Some(max)) => format!("Choose a number from {min} to {max}."),
        (Some(min), None) => format!("Choose {min} or more."),
        (None, Some(max)) => format!("Choose {max} or less."),
        (None, None) => String::new(),
    };
    Err(Problem::new(format!("{} is out of range.", shown(value)), wanted))
}

fn integer(value: &Value) -> Result<(), Problem> {
    let whole =
        value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0);
    if whole {
        return Ok(());
    }
    Err(Problem::new(format!("{} is not a whole number.", shown(value)), "Write it without a fraction."))
}

fn one_of(allowed: &[String], value: &Value) -> Result<(), Problem> {
    if value.as_str().is_some_and(|text| allowed.iter().any(|one| one == text)) {
        return Ok(());
    }
    let choices: Vec<_> = allowed.iter().map(|one| format!("\"{one}\"")).collect();
    let choices = match choices.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => "nothing".to_owned(),
    };
    Err(Problem::new(format!("{} is not one of the choices.", shown(value)), format!("Choose {choices}.")))
}

fn matches_pattern(pattern: &str, value: &Value) -> Result<(), Problem> {
    let remedy = || format!("It must match `{pattern}`.");
    let Ok(regex) = regex_lite::Regex::new(pattern) else {
        return Err(Problem::new(format!("The pattern `{pattern}` can't be read."), "Report this."));
    };
    if value.as_str().is_some_and(|text| regex.is_match(text)) {
        return Ok(());
    }
    Err(Problem::new(format!("{} has the wrong form.", shown(value)), remedy()))
}

fn count(min: Option<u64>, max: Option<u64>, length: u64, unit: &str, subject: &str) -> Result<(), Problem> {
    let plural = |count: u64| if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") };
    if let Some(min) = min.filter(|min| length < *min) {
        return Err(Problem::new(
            format!("{subject} has {}.", plural(length)),
            format!("Write at least {}.", plural(min)),
        ));
    }
    if let Some(max) = max.filter(|max| length > *max) {
        return Err(Problem::new(
            format!("{subject} has {}.", plural(length)),
            format!("Write at most {}.", plural(max)),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
