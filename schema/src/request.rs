//! What people ask of a cluster, and what they are answered (A31).

use serde::{Deserialize, Serialize};

/// A request. It is carried out once, however often it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by who asks: names this request for ever.
    pub id: String,
    /// What is asked for.
    #[serde(flatten)]
    pub asked: Asked,
}

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub enum Asked {
    /// Another instance is to lead.
    Switchover {
        /// Its pod; `None`: the best standby.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
    },
    /// One postgres is to be restarted in place.
    Restart {
        /// Its pod.
        pod: String,
    },
    /// A standby's data is to be cloned anew from the primary.
    Reinit {
        /// Its pod.
        pod: String,
    },
    /// Nothing is to be restarted, rewound, cloned or handed over, and nobody takes over.
    Pause,
    /// The end of a pause.
    Resume,
}

impl Asked {
    /// Its name, as in `pgha-agent NAME` and in the path of its REST call.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Switchover { .. } => "switchover",
            Self::Restart { .. } => "restart",
            Self::Reinit { .. } => "reinit",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is done.
    Done,
    /// It was not begun.
    Refused,
    /// It was begun, and everything is as before.
    Reverted,
    /// It was begun, and came out otherwise.
    Failed,
}

/// The answer to a request, kept in the record until newer ones push it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The request's id.
    pub id: String,
    /// The request's name, [`Asked::name`].
    pub asked: String,
    /// What came of it.
    pub outcome: Outcome,
    /// The same in plain words, and why.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_flat_text_and_an_unknown_one_is_refused() {
        let request = Request { id: "a".into(), asked: Asked::Switchover { to: Some("db-1".into()) } };
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(text, r#"{"id":"a","action":"switchover","to":"db-1"}"#);
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
        let pause: Request = serde_json::from_str(r#"{"id":"b","action":"pause"}"#).unwrap();
        assert_eq!(pause.asked, Asked::Pause);
        assert!(serde_json::from_str::<Request>(r#"{"id":"c","action":"drop"}"#).is_err());
        assert!(serde_json::from_str::<Request>(r#"{"id":"d","action":"restart"}"#).is_err());
    }
}
