//! Equality by meaning, per whole leaf (P5).

use serde_json::Value;

use crate::duration::Duration;
use crate::quantity::Quantity;
use crate::tf::Semantic;

/// Whether two known leaves mean the same: a text, or a list or map of texts. What can't be read equals only itself.
pub fn equal(semantic: Semantic, a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::String(a), Value::String(b)) => a == b || texts_equal(semantic, a, b),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(semantic, a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(semantic, a, b)))
        }
        _ => a == b,
    }
}

fn texts_equal(semantic: Semantic, a: &str, b: &str) -> bool {
    match semantic {
        Semantic::Quantity => {
            matches!((a.parse::<Quantity>(), b.parse::<Quantity>()), (Ok(a), Ok(b)) if a == b)
        }
        Semantic::Duration => {
            matches!((a.parse::<Duration>(), b.parse::<Duration>()), (Ok(a), Ok(b)) if a == b)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whole_leaves_are_compared_by_meaning() {
        let quantity = |a, b| equal(Semantic::Quantity, &a, &b);
        assert!(quantity(json!("1Gi"), json!("1024Mi")));
        assert!(quantity(
            json!({ "cpu": "1", "memory": "1Gi" }),
            json!({ "cpu": "1000m", "memory": "1024Mi" })
        ));
        assert!(!quantity(json!({ "cpu": "1" }), json!({ "cpu": "1", "memory": "1Gi" })));
        assert!(!quantity(json!({ "cpu": "1" }), json!({ "memory": "1" })));
        assert!(!quantity(json!("1Gi"), json!(null)));
        assert!(quantity(json!("large"), json!("large")));
        assert!(!quantity(json!("large"), json!("larger")));
        assert!(equal(Semantic::Duration, &json!(["60s", "1h"]), &json!(["1m", "60m"])));
        assert!(!equal(Semantic::Duration, &json!(["60s", "1h"]), &json!(["1h", "60s"])));
    }
}
