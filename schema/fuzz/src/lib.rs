//! Mutilated documents for the tests of readers: a folder of true ones, and what is done to them. Only tests use it.
//!
//! ```text
//!   corpus ──> every document as it is, then cut, flipped, repeated ──> a reader ──> how many were read all the same
//! ```
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Mutilated documents for each reader, the same ones in every run. More and other ones: `PGHA_FUZZ_CASES=1000000`.
pub const CASES: u32 = 2_000;
/// Bytes that mean something: lengths and types of msgpack, brackets, quotes, a line's end.
const TELLING: &[u8] =
    b"\x00\x7f\x80\x8f\x90\x91\x9f\xa0\xbf\xc0\xc1\xc7\xd4\xd8\xdc\xdd\xde\xdf\xff{}[]\":,-\n&*";
/// Numbers at which something overflows, or is divided by, in place of those of a document.
const NUMBERS: [&str; 10] = [
    "0",
    "1",
    "-1",
    "255",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "1e400",
];

/// One thing that is done to a document.
#[derive(Clone, Debug)]
enum Cut {
    Flip(usize, u8),
    Put(usize, u8),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Repeat(usize, usize, usize),
    Number(usize, &'static str),
}

impl Cut {
    fn apply(&self, document: &mut Vec<u8>) {
        let place = |at: usize| if document.is_empty() { 0 } else { at % document.len() };
        match *self {
            Self::Flip(at, mask) => {
                let at = place(at);
                if let Some(byte) = document.get_mut(at) {
                    *byte ^= mask;
                }
            }
            Self::Put(at, byte) => {
                let at = place(at);
                document.insert(at, byte);
            }
            Self::Insert(at, ref bytes) => {
                let at = place(at);
                document.splice(at..at, bytes.iter().copied());
            }
            Self::Remove(at, length) => {
                let (from, length) = (place(at), length % 64);
                document.drain(from..(from + length).min(document.len()));
            }
            Self::Repeat(at, length, times) => {
                let (from, length) = (place(at), length % 16);
                let piece = document[from..(from + length).min(document.len())].repeat(times % 300);
                document.splice(from..from, piece);
            }
            Self::Number(at, number) => {
                let numbers = numbers(document);
                if let Some(&(from, to)) = (!numbers.is_empty()).then(|| &numbers[at % numbers.len()]) {
                    document.splice(from..to, number.bytes());
                }
            }
        }
    }
}

/// Where the numbers of a document stand.
fn numbers(document: &[u8]) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for (at, _) in document.iter().enumerate().filter(|(_, byte)| byte.is_ascii_digit()) {
        match found.last_mut() {
            Some((_, end)) if *end == at => *end = at + 1,
            _ => found.push((at, at + 1)),
        }
    }
    found
}

fn cut() -> impl Strategy<Value = Cut> {
    let at = any::<usize>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, mask)| Cut::Flip(at, mask)),
        (at(), prop::sample::select(TELLING)).prop_map(|(at, byte)| Cut::Put(at, byte)),
        (at(), prop::collection::vec(any::<u8>(), 1..8)).prop_map(|(at, bytes)| Cut::Insert(at, bytes)),
        (at(), at()).prop_map(|(at, length)| Cut::Remove(at, length)),
        (at(), at(), at()).prop_map(|(at, length, times)| Cut::Repeat(at, length, times)),
        (at(), prop::sample::select(&NUMBERS[..])).prop_map(|(at, number)| Cut::Number(at, number)),
    ]
}

/// Every file of a folder, in the order of their names.
///
/// # Panics
/// When there is none: a corpus tests nothing then.
pub fn read_all(folder: &Path) -> Vec<Vec<u8>> {
    let files = std::fs::read_dir(folder).expect("a folder of documents").flatten();
    let mut paths: Vec<PathBuf> = files.map(|file| file.path()).collect();
    paths.sort();
    let documents: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).expect("a document")).collect();
    assert!(!documents.is_empty(), "no document in {}", folder.display());
    documents
}

/// Hands every document to `read`, then mutilated ones; gives how many were read all the same.
pub fn fuzz(documents: Vec<Vec<u8>>, cases: u32, read: impl Fn(&[u8]) -> bool) -> usize {
    let readable = Cell::new(0);
    let one = |bytes: &[u8]| readable.set(readable.get() + usize::from(read(bytes)));
    for document in &documents {
        one(document);
    }
    let inputs = (prop::sample::select(documents), prop::collection::vec(cut(), 1..6));
    let asked = std::env::var("PGHA_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok());
    let config = Config { cases: asked.unwrap_or(cases), failure_persistence: None, ..Config::default() };
    let mut runner = match asked {
        Some(_) => TestRunner::new(config),
        None => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    };
    let outcome = runner.run(&inputs, |(mut document, cuts)| {
        for cut in &cuts {
            cut.apply(&mut document);
        }
        one(&document);
        Ok(())
    });
    assert!(outcome.is_ok(), "{outcome:?}");
    readable.get()
}

/// Read, and the same after being written and read again.
pub fn comes_back<T>(bytes: &[u8]) -> bool
where
    T: DeserializeOwned + Serialize + PartialEq + Debug,
{
    serde_json::from_slice::<T>(bytes).is_ok_and(|document| {
        is_written_as_read(&document);
        true
    })
}

/// It is the same after being written and read again.
pub fn is_written_as_read<T>(document: &T)
where
    T: DeserializeOwned + Serialize + PartialEq + Debug,
{
    let text = serde_json::to_string(document).expect("it can be written");
    assert_eq!(&serde_json::from_str::<T>(&text).expect("and read again"), document);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_takes_the_place_of_a_whole_one() {
        let mut document = b"{\"a\": 12, \"b\": 345}".to_vec();
        Cut::Number(1, "0").apply(&mut document);
        assert_eq!(document, b"{\"a\": 12, \"b\": 0}");
        let mut without = b"{}".to_vec();
        Cut::Number(7, "0").apply(&mut without);
        assert_eq!(without, b"{}");
    }

    #[test]
    fn what_a_reader_can_not_take_is_told() {
        let overflows = |bytes: &[u8]| {
            let number = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<u64>().ok());
            number.is_some_and(|number| {
                assert!(number.checked_add(1).is_some(), "too large");
                true
            })
        };
        assert!(std::panic::catch_unwind(|| fuzz(vec![b"7".to_vec()], CASES, overflows)).is_err());
        let counted = fuzz(vec![b"7".to_vec()], CASES, |bytes| bytes == b"18446744073709551615");
        assert!(counted > 10, "{counted}");
    }
}
