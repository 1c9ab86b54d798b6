//! Cases that hosts really send, and the codec's two laws: what was written is read back, and no bytes make it panic.

use super::*;
use proptest::prelude::*;

fn object(attrs: &[(&str, Type)]) -> Type {
    let attrs = attrs.iter().map(|(name, ty)| ((*name).to_owned(), ty.clone())).collect();
    Type::Object { attrs, optional: std::collections::BTreeSet::new() }
}

#[test]
fn plain_and_refined_unknowns_are_the_same_to_us() {
    for bytes in [&[0xd4, 0x00, 0x00][..], &[0xc7, 0x03, 0x0c, 0x81, 0x01, 0xc2][..]] {
        assert_eq!(decode(bytes, &Type::String), Ok(Value::Unknown), "{bytes:x?}");
    }
    assert_eq!(encode(&Value::Unknown, &Type::Number), Ok(vec![0xd4, 0x00, 0x00]));
}

#[test]
fn numbers_come_in_three_forms() {
    let packed = |pack: Pack| {
        let mut bytes = vec![];
        rmpv::encode::write_value(&mut bytes, &pack).unwrap();
        decode(&bytes, &Type::Number)
    };
    assert_eq!(packed(Pack::from(3)), Ok(Value::int(3)));
    assert_eq!(packed(Pack::from(3.0)), Ok(Value::int(3)));
    assert_eq!(packed(Pack::from("3")), Ok(Value::int(3)));
    assert_eq!(packed(Pack::from(0.5)), Ok(Value::Number(Number::Float(0.5))));
    assert_eq!(packed(Pack::from("0.1")), Ok(Value::Number(Number::Decimal("0.1".to_owned()))));
    assert_eq!(packed(Pack::from(u64::MAX)), Ok(Value::Number(Number::Uint(u64::MAX))));
    assert_eq!(packed(Pack::from("18446744073709551615")), Ok(Value::Number(Number::Uint(u64::MAX))));
    assert!(packed(Pack::from(f64::INFINITY)).is_err());
    assert!(packed(Pack::from("three")).is_err());
}

#[test]
fn objects_have_exactly_their_attributes() {
    let ty = object(&[("a", Type::String), ("b", Type::Bool)]);
    let bytes = |pairs: &[(&str, Pack)]| {
        let entries = pairs.iter().map(|(key, value)| (Pack::from(*key), value.clone())).collect();
        let mut bytes = vec![];
        rmpv::encode::write_value(&mut bytes, &Pack::Map(entries)).unwrap();
        bytes
    };
    let missing = decode(&bytes(&[("a", Pack::Nil)]), &ty).unwrap_err();
    assert_eq!(missing, WireError::MissingAttribute { path: Path::root(), name: "b".to_owned() });
    let extra = decode(&bytes(&[("a", Pack::Nil), ("b", Pack::Nil), ("c", Pack::Nil)]), &ty).unwrap_err();
    assert_eq!(extra, WireError::ExtraAttribute { path: Path::root(), name: "c".to_owned() });
    let wrong = decode(&bytes(&[("a", Pack::from(1)), ("b", Pack::Nil)]), &ty).unwrap_err();
    assert_eq!(wrong.to_string(), "a: expected a string, found a number");
    assert_eq!(
        encode(&Value::object([("a", Value::Null)]), &ty),
        Err(WireError::MissingAttribute { path: Path::root(), name: "b".to_owned() })
    );
}

#[test]
fn a_dynamic_value_brings_its_type() {
    let value = Value::Dynamic {
        type_json: r#"["list","string"]"#.to_owned(),
        value: Box::new(Value::List(vec!["a".into(), Value::Unknown])),
    };
    let bytes = encode(&value, &Type::Dynamic).unwrap();
    assert_eq!(decode(&bytes, &Type::Dynamic), Ok(value));
    assert_eq!(decode(&[0xc0], &Type::Dynamic), Ok(Value::Null));
}

#[test]
fn endless_nesting_ends_in_an_error() {
    let mut bytes = vec![0x91; 100_000];
    bytes.push(0xc0);
    assert!(matches!(decode(&bytes, &Type::list(Type::String)), Err(WireError::Malformed(_))));
}

#[test]
fn bytes_after_the_value_are_an_error() {
    assert!(matches!(decode(&[0xc0, 0xc0], &Type::String), Err(WireError::Malformed(_))));
}

fn types() -> impl Strategy<Value = Type> {
    let leaf = prop_oneof![Just(Type::String), Just(Type::Number), Just(Type::Bool), Just(Type::Dynamic)];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(Type::list),
            inner.clone().prop_map(Type::set),
            inner.clone().prop_map(Type::map),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Type::Tuple),
            prop::collection::btree_map("[a-z]{1,4}", inner, 0..4)
                .prop_map(|attrs| Type::Object { attrs, optional: std::collections::BTreeSet::new() }),
        ]
    })
}

fn numbers() -> impl Strategy<Value = Number> {
    prop_oneof![
        any::<i64>().prop_map(Number::Int),
        any::<u64>().prop_map(Number::from_u64),
        any::<f64>().prop_filter_map("finite", Number::from_f64),
        (any::<i32>(), 1..9u8)
            .prop_filter_map("decimal", |(whole, tenth)| number::from_text(&format!("{whole}.{tenth}"))),
    ]
}

/// Values of a type, with nulls and unknowns all over.
fn values(ty: &Type) -> BoxedStrategy<Value> {
    let known: BoxedStrategy<Value> = match ty {
        Type::String => any::<String>().prop_map(Value::String).boxed(),
        Type::Number => numbers().prop_map(Value::Number).boxed(),
        Type::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Type::Dynamic => any::<String>()
            .prop_map(|text| Value::Dynamic {
                type_json: "\"string\"".to_owned(),
                value: Box::new(Value::String(text)),
            })
            .boxed(),
        Type::List(element) => prop::collection::vec(values(element), 0..4).prop_map(Value::List).boxed(),
        Type::Set(element) => prop::collection::vec(values(element), 0..4).prop_map(Value::set).boxed(),
        Type::Map(element) => {
            prop::collection::btree_map(any::<String>(), values(element), 0..4).prop_map(Value::Map).boxed()
        }
        Type::Tuple(elements) => {
            elements.iter().map(values).collect::<Vec<_>>().prop_map(Value::List).boxed()
        }
        Type::Object { attrs, .. } => {
            let names: Vec<_> = attrs.keys().cloned().collect();
            let inner = attrs.values().map(values).collect::<Vec<_>>();
            inner.prop_map(move |items| Value::Object(names.iter().cloned().zip(items).collect())).boxed()
        }
    };
    prop_oneof![8 => known, 1 => Just(Value::Null), 1 => Just(Value::Unknown)].boxed()
}

#[test]
fn a_refresh_answers_with_the_digits_that_the_state_file_has() {
    let ty = object(&[("a", Type::Number), ("b", Type::List(Box::new(Type::Number)))]);
    let state = Value::object([("a", Value::int(2)), ("b", Value::List(vec![Value::int(-7)]))]);
    let bytes = encode(&in_digits(&state), &ty).unwrap();
    let sent = rmpv::decode::read_value(&mut bytes.as_slice()).unwrap();
    assert_eq!(sent["a"], Pack::from("2"));
    assert_eq!(sent["b"][0], Pack::from("-7"));
}

proptest! {
    #[test]
    fn what_was_written_is_read_back((ty, value) in types().prop_flat_map(|ty| (Just(ty.clone()), values(&ty)))) {
        let bytes = encode(&value, &ty).unwrap();
        prop_assert_eq!(decode(&bytes, &ty).unwrap(), value.clone());
        let in_digits = encode(&in_digits(&value), &ty).unwrap();
        prop_assert_eq!(decode(&in_digits, &ty).unwrap(), value);
    }

    #[test]
    fn no_bytes_make_it_panic(ty in types(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes, &ty);
    }

    #[test]
    fn no_damaged_message_makes_it_panic(
        (ty, value) in types().prop_flat_map(|ty| (Just(ty.clone()), values(&ty))),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = encode(&value, &ty).unwrap();
        let index = at.index(bytes.len());
        bytes[index] = byte;
        let _ = decode(&bytes, &ty);
    }
}
