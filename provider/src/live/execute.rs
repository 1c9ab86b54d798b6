//! Carries out the core's steps, one after the other. Each may be cut off and repeated; each write carries what it expects.

use std::collections::BTreeMap;
use std::time::Duration;

use pgha_provider_core::anchor::Anchor;
use pgha_provider_core::conflict;
use pgha_provider_core::connection::percent_encoded;
use pgha_provider_core::diagnostic::Diagnostic;
use pgha_provider_core::live::LiveCluster;
use pgha_provider_core::object::{self, Kind, ObjectKey};
use pgha_provider_core::render;
use pgha_provider_core::step::{Forced, Random, Secret, Step, Taken, Wait};
use pgha_provider_core::steps::chunks::{self, GivenUp};
use pgha_schema::names::Names;
use rand::Rng as _;
use rand::distr::Alphanumeric;
use serde_json::{Value as Json, json};

use super::api::{Api, Mode};
use super::collect::recent_chunks;
use super::errors::LiveError;
use super::wait::{self, Ended, Frame};

/// How long a step under way may go on after a stop.
const GRACE: Duration = Duration::from_millis(700);
/// Length of a password, in letters and digits: 190 bits.
const PASSWORD_LENGTH: usize = 32;
/// Another cluster's destroy can take a shared object away between two requests.
const SHARE_ATTEMPTS: u32 = 3;
/// Bytes of the agents' key, written in hexadecimal.
const KEY_BYTES: usize = 32;

/// Why the steps did not all happen.
#[derive(Debug)]
pub enum Failure {
    /// A write was refused, or something stood against it.
    Refused(Diagnostic),
    /// A wait ended without its wish.
    Wait {
        /// Which.
        wait: Wait,
        /// Why.
        ended: Ended,
    },
    /// The user asked to stop, before this step or in it.
    Stopped {
        /// What came next.
        next: String,
    },
}

/// What the steps work with, and what they remember.
pub struct Runner<'a> {
    /// The namespace.
    pub api: &'a Api,
    /// The names of the cluster's objects.
    pub names: &'a Names,
    /// When to be done, and who may end it.
    pub frame: &'a Frame,
    /// A snapshot from before the first write.
    pub start: &'a LiveCluster,
    /// The anchor, with everything that was remembered so far.
    pub anchor: &'a mut Anchor,
    /// Labels and annotations of the anchor's ConfigMap.
    pub anchor_metadata: Json,
    /// Uid of the anchor: the precondition of its writes, and known as soon as a step has made it.
    pub anchor_uid: Option<String>,
    /// The anchor's object, when a step has made it.
    pub anchor_made: Option<Json>,
}

impl Runner<'_> {
    /// Runs the steps.
    pub async fn run(&mut self, steps: Vec<Step>) -> Result<(), Failure> {
        for step in steps {
            let name = name_of(&step);
            if self.frame.stop.is_cancelled() {
                return Err(Failure::Stopped { next: name });
            }
            tracing::debug!("step: {name}");
            let stop = self.frame.stop.clone();
            tokio::select! {
                done = self.step(step) => done?,
                // A step may be cut off and repeated, so a request that hangs does not keep the user waiting.
                () = async { stop.cancelled().await; tokio::time::sleep(GRACE).await } => {
                    return Err(Failure::Stopped { next: name });
                }
            }
        }
        Ok(())
    }

    async fn step(&mut self, step: Step) -> Result<(), Failure> {
        match step {
            Step::Create { object, taken } => self.create(&object, taken).await,
            Step::ShareAgent { head, chunks, owner } => self.share_agent(&head, &chunks, &owner).await,
            Step::CreateSecret(secret) => {
                let (key, filled) = (key_of(&secret.object)?, fill(secret));
                match self.api.create(&key, &filled, Mode::Real).await {
                    Err(error) if !error.is_already_exists() => Err(refused(error)),
                    _ => Ok(()),
                }
            }
            Step::WriteSecret(secret) => {
                let (key, filled) = (key_of(&secret.object)?, fill(secret));
                let written = match self.api.create(&key, &filled, Mode::Real).await {
                    Err(error) if error.is_already_exists() => self.api.replace(&key, &filled).await,
                    answer => answer,
                };
                written.map(drop).map_err(refused)
            }
            Step::Apply { object, forced, expect_uid, remember } => {
                let answer = self.apply(object.clone(), &forced, expect_uid).await?;
                if remember {
                    self.anchor.remember(&object, &answer);
                }
                Ok(())
            }
            Step::Patch { key, body, may_be_missing } => {
                match self.api.merge(&key, &body, Mode::Real).await {
                    Err(error) if may_be_missing && error.is_not_found() => Ok(()),
                    answer => answer.map(drop).map_err(refused),
                }
            }
            Step::Delete { key, uid } => {
                self.api.delete(&key, uid.as_deref(), None).await.map_err(|error| match &uid {
                    Some(uid) if error.is_other_uid() => Failure::Refused(other_uid(&key, uid)),
                    _ => refused(error),
                })?;
                self.anchor.forget(&key);
                Ok(())
            }
            Step::Wait(wish) => wait::wait(self.api, self.names, self.frame, self.start, &wish)
                .await
                .map_err(|ended| Failure::Wait { wait: wish, ended }),
            Step::SaveAnchor => self.save_anchor().await.map_err(refused),
            Step::GiveUpChunks { owner_uid, kept } => {
                if let Err(error) = self.give_up_chunks(&owner_uid, kept.as_deref()).await {
                    tracing::info!(%error, "ConfigMaps with older agents stay for now");
                }
                Ok(())
            }
        }
    }

    /// Without their contents, which are megabytes, chunks and pods are listed only if there may be something to give up.
    async fn give_up_chunks(&self, owner_uid: &str, kept: Option<&str>) -> Result<(), LiveError> {
        let chunks = self.api.list_metadata(Kind::ConfigMap, &render::chunk_selector()).await?;
        if chunks::given_up(&chunks, &[], kept, owner_uid).is_empty() {
            return Ok(());
        }
        let pods = self.api.list(Kind::Pod, Some(&LiveCluster::selector(self.names)), None).await?;
        for one in chunks::given_up(&chunks, &pods, kept, owner_uid) {
            match one {
                GivenUp::Reference(key) => {
                    let patch =
                        json!({"metadata": {"ownerReferences": [{"$patch": "delete", "uid": owner_uid}]}});
                    self.api.merge_metadata(&key, &patch).await.map(drop)?;
                }
                GivenUp::Whole { key, uid, resource_version } => {
                    self.api.delete(&key, Some(&uid), Some(&resource_version)).await?;
                }
            }
        }
        Ok(())
    }

    async fn create(&mut self, object: &Json, taken: Taken) -> Result<(), Failure> {
        let key = key_of(object)?;
        match (self.api.create(&key, object, Mode::Real).await, taken) {
            (Ok(made), _) => {
                if key.kind == Kind::ConfigMap && key.name == self.names.anchor() {
                    self.anchor_uid = object::uid(&made).map(str::to_owned);
                    self.anchor_made = Some(made);
                }
                Ok(())
            }
            (Err(error), Taken::Keep) if error.is_already_exists() => Ok(()),
            (Err(error), Taken::Error { summary, detail }) if error.is_already_exists() => {
                Err(Failure::Refused(Diagnostic::error(summary, detail)))
            }
            (Err(error), _) => Err(refused(error)),
        }
    }

    /// The chunks are megabytes large and mostly there. One cluster at a time looks for them, so that those which are made at once do
    /// not all send them.
    async fn share_agent(&self, head: &Json, chunks: &[Json], owner: &Json) -> Result<(), Failure> {
        let turn = self.api.turn(object::name(head));
        let _mine = turn.lock().await;
        let shared = self.share_parts(head, chunks, owner).await;
        self.api.forget_recent();
        shared
    }

    async fn share_parts(&self, head: &Json, chunks: &[Json], owner: &Json) -> Result<(), Failure> {
        let shared = self.own(head, owner).await?;
        let uid = object::uid(&shared).unwrap_or_default();
        // Without the right to list each is asked to take its owner.
        let there = recent_chunks(self.api).await.map_err(refused)?;
        let is_owned = |chunk: &Json| {
            there.iter().any(|one| object::name(one) == object::name(chunk) && object::is_owned_by(one, uid))
        };
        let head = chunks::owner(object::name(head), uid);
        for chunk in chunks.iter().filter(|chunk| !is_owned(chunk)) {
            self.own(chunk, &head).await?;
        }
        Ok(())
    }

    /// Makes the object, or becomes one of the owners of the one that is there, which is tried first.
    async fn own(&self, object: &Json, owner: &Json) -> Result<Json, Failure> {
        let key = key_of(object)?;
        let owned = json!({"metadata": {"ownerReferences": [owner]}});
        for _ in 0..SHARE_ATTEMPTS {
            match self.api.merge_metadata(&key, &owned).await {
                Err(error) if error.is_not_found() => {}
                answer => return answer.map_err(refused),
            }
            let mut new = object.clone();
            new["metadata"]["ownerReferences"] = json!([owner]);
            match self.api.create(&key, &new, Mode::Real).await {
                Err(error) if error.is_already_exists() => {}
                answer => return answer.map_err(refused),
            }
        }
        Err(Failure::Refused(Diagnostic::error(
            format!("{key} comes and goes"),
            "It was deleted and made again by others several times while this apply wanted to share it. Apply again.",
        )))
    }

    /// First without force. If somebody else owns fields, core judges whether the plan showed their difference (P17).
    async fn apply(&self, mut object: Json, forced: &Forced, uid: Option<String>) -> Result<Json, Failure> {
        let key = key_of(&object)?;
        if let Some(uid) = &uid {
            object["metadata"]["uid"] = json!(uid);
        }
        let error = match self.api.apply(&key, &object, false, Mode::Real).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let conflicts = error.conflicts();
        if conflicts.is_empty() {
            return Err(match uid {
                Some(uid) if error.is_other_uid() => Failure::Refused(other_uid(&key, &uid)),
                _ => refused(error),
            });
        }
        conflict::judge(&key, forced, &conflicts).map_err(Failure::Refused)?;
        self.api.apply(&key, &object, true, Mode::Real).await.map_err(refused)
    }

    /// Writes the anchor as it is remembered.
    pub async fn save_anchor(&self) -> Result<(), LiveError> {
        let mut object = self.anchor.object(self.names, self.api.namespace(), &self.anchor_metadata);
        if let Some(uid) = &self.anchor_uid {
            object["metadata"]["uid"] = json!(uid);
        }
        let Some(key) = ObjectKey::of(&object) else { return Ok(()) };
        // Nobody else has any business in it, so a conflict is always ours to win.
        self.api.apply(&key, &object, true, Mode::Real).await.map(drop)
    }
}

/// The object that carries this name has another uid than the one that the plan was made for.
fn other_uid(key: &ObjectKey, uid: &str) -> Diagnostic {
    Diagnostic::error(
        format!("{key} is not the one that was planned for"),
        format!(
            "The plan was made for the {} with uid {uid}, and another object has its name now, or it is gone. Nothing \
             was changed in it. Run plan again.",
            key.kind
        ),
    )
}

fn refused(error: LiveError) -> Failure {
    Failure::Refused(error.diagnostic())
}

fn key_of(object: &Json) -> Result<ObjectKey, Failure> {
    ObjectKey::of(object).ok_or_else(|| {
        Failure::Refused(Diagnostic::error(
            "The provider rendered an object without a kind or a name",
            format!("This is a bug in the provider. The object: {object}"),
        ))
    })
}

fn name_of(step: &Step) -> String {
    let object = |object: &Json| {
        let kind = object["kind"].as_str().unwrap_or_default();
        format!("{kind} {}", object::name(object))
    };
    match step {
        Step::Create { object: it, .. } => format!("create {}", object(it)),
        Step::ShareAgent { head, .. } => format!("share {}", object(head)),
        Step::CreateSecret(secret) => format!("create {}", object(&secret.object)),
        Step::WriteSecret(secret) => format!("write {}", object(&secret.object)),
        Step::Apply { object: it, .. } => format!("apply {}", object(it)),
        Step::Patch { key, .. } => format!("patch {key}"),
        Step::Delete { key, .. } => format!("delete {key}"),
        Step::Wait(wish) => format!("wait until {}", wait::describe(&wish.wish)),
        Step::SaveAnchor => "save the anchor".to_owned(),
        Step::GiveUpChunks { .. } => "give up older agents".to_owned(),
    }
}

/// The Secret with the texts that were given, random ones, and those that are made from others.
fn fill(secret: Secret) -> Json {
    let Secret { mut object, given, random, derived } = secret;
    let mut texts: BTreeMap<String, String> = object["stringData"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect();
    texts.extend(given.into_iter().map(|(key, text)| (key, text.reveal().to_owned())));
    texts.extend(random.into_iter().map(|(key, kind)| (key, random_text(kind))));
    for (key, template) in derived {
        let filled = expand(&template, &texts);
        texts.insert(key, filled);
    }
    object["stringData"] = json!(texts);
    object
}

fn random_text(kind: Random) -> String {
    // The thread's generator is seeded by the system and fit for secrets.
    let mut random = rand::rng();
    match kind {
        Random::Password => (0..PASSWORD_LENGTH).map(|_| char::from(random.sample(Alphanumeric))).collect(),
        Random::Key => hex::encode(random.random::<[u8; KEY_BYTES]>()),
    }
}

/// `{key}` stands for the percent-encoded text of that key.
fn expand(template: &str, texts: &BTreeMap<String, String>) -> String {
    let mut rest = template;
    let mut filled = String::new();
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let Some((key, after)) = after.split_once('}') else {
            filled.push('{');
            rest = after;
            break;
        };
        filled.push_str(&percent_encoded(texts.get(key).map_or("", String::as_str)));
        rest = after;
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use pgha_provider_core::step::Sensitive;

    use super::*;

    #[test]
    fn a_secret_gets_random_texts_and_what_is_made_of_them() {
        let object =
            json!({"kind": "Secret", "metadata": {"name": "x"}, "stringData": {"username": "a b/ö"}});
        let secret = Secret {
            object,
            given: vec![("given".to_owned(), Sensitive::new("hunter2"))],
            random: vec![("password".to_owned(), Random::Password), ("key".to_owned(), Random::Key)],
            derived: vec![("uri".to_owned(), "pg://{username}:{password}@h/{none}?a=b".to_owned())],
        };
        let filled = fill(secret.clone());
        let text = |key: &str| filled["stringData"][key].as_str().unwrap().to_owned();
        assert_eq!(text("password").len(), 32);
        assert!(text("password").bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert!(text("key").len() == 64 && text("key").bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(text("uri"), format!("pg://a%20b%2F%C3%B6:{}@h/?a=b", text("password")));
        assert!(text("given") == "hunter2" && !format!("{secret:?}").contains("hunter2"));
        assert_ne!(fill(secret)["stringData"]["password"], text("password"));
    }
}
