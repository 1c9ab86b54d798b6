//! Lapses of a provider with inputs, to show that a law would notice each.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, bail};
use pgha_acceptance_tests::host::Rule;
use pgha_acceptance_tests::proto_client::pb::tfplugin6 as pb;
use pgha_acceptance_tests::proto_client::values::{UNKNOWN, argument, dynamic};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rmpv::Value as Pack;

use super::ask::{Ask, Function, Kind, Looked, Surface};
use super::random::is_known;
use super::{Inputs, with_a_cluster};
use crate::laws::Law;
use crate::mutation::values::error;
use crate::properties::number;

macro_rules! lapses {
    ($($(#[$doc:meta])* $name:ident => $($law:pat_param)|+),* $(,)?) => {
        /// A lapse.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum Lapse {
            $($(#[$doc])* $name),*
        }

        impl Lapse {
            const ALL: &[Self] = &[$(Self::$name),*];

            /// Whether this is a law that it has to break.
            fn is_noticed_as(self, law: Law) -> bool {
                match self {
                    $(Self::$name => matches!(law, $($law)|+)),*
                }
            }
        }
    };
}

lapses! {
    /// A call is never answered.
    Dies => Law::Answers,
    /// Whatever is written is valid.
    ValidatesNothing => Law::RefusesBadInput,
    /// What is not known is judged by the word that stands for it; of one that is no text no error can say where it is.
    ValidatesUnknowns => Law::UnknownsPass | Law::NamesThePath,
    /// An error says not where.
    NamesNoPath => Law::NamesThePath,
    /// An answer depends on when it is asked for.
    MovesByItself => Law::Pure,
    /// What the host does not allow is put off.
    DefersUnasked => Law::Deferred,
    /// What can't be known is not put off.
    NeverDefers => Law::Deferred,
    /// What is put off is said to be put off for another reason.
    DefersForAnother => Law::Deferred,
    /// What is put off is told all the same.
    KnowsTooMuch => Law::GivesBack,
    /// What is not known is taken for nothing.
    GuessesUnknowns => Law::NotGuessed | Law::Deferred,
    /// The answer forgets an argument.
    ForgetsAnArgument => Law::GivesBack,
    /// The answer lacks a part of its schema.
    LeavesAPartOut => Law::Host(Rule::Conforms),
    /// The answer is not wholly known.
    TellsUnknown => Law::Host(Rule::WhollyKnown),
    /// A list is longer than was asked for.
    ListsTooMuch => Law::Listed,
    /// A list finds nothing.
    ListsNothing => Law::Listed,
    /// A list does not say which cluster it is.
    ListsNoIdentity => Law::Listed,
    /// An action is put off.
    PutsActionsOff => Law::Deferred,
    /// An action does not say that it has ended.
    NeverEnds => Law::Ends,
    /// An action ends twice.
    EndsTwice => Law::Ends,
    /// An action that came to nothing succeeds.
    ActsWithoutError => Law::RefusesBadInput | Law::NotGuessed,
    /// A function does not say which argument is at fault.
    NamesNoArgument => Law::NamesTheArgument,
    /// A function names another one.
    NamesAnotherArgument => Law::NamesTheArgument,
    /// A function gives a result and an error.
    AnswersTwice => Law::OneAnswer,
    /// A function gives another type than it declares.
    GivesAnotherType => Law::GivesBack,
    /// A function makes something of what is not known.
    ComputesUnknowns => Law::NotGuessed,
    /// A function takes whatever it is given.
    TakesAnything => Law::RefusesBadInput,
}

/// A provider with a lapse.
struct Careless<'a, A> {
    ask: &'a A,
    lapse: Lapse,
    calls: AtomicU64,
}

/// The configuration with something else for what is not known.
fn known(config: &Pack, instead: &Pack) -> Pack {
    match config {
        Pack::Ext(_, _) => instead.clone(),
        Pack::Array(items) => Pack::Array(items.iter().map(|item| known(item, instead)).collect()),
        Pack::Map(entries) => {
            Pack::Map(entries.iter().map(|(key, item)| (key.clone(), known(item, instead))).collect())
        }
        other => other.clone(),
    }
}

/// The answer with another first part, or without its last one.
fn changed(state: &mut Option<pb::DynamicValue>, change: impl FnOnce(&mut Vec<(Pack, Pack)>)) -> Result<()> {
    let Some(value) = state else { return Ok(()) };
    let mut pack = rmpv::decode::read_value(&mut value.msgpack.as_slice())?;
    if let Pack::Map(entries) = &mut pack {
        change(entries);
    }
    *value = dynamic(&pack)?;
    Ok(())
}

fn set(entries: &mut [(Pack, Pack)], name: &str, value: &Pack) {
    entries
        .iter_mut()
        .filter(|(key, _)| key.as_str() == Some(name))
        .for_each(|(_, item)| *item = value.clone());
}

impl<A> Careless<'_, A> {
    fn is(&self, lapse: Lapse) -> bool {
        self.lapse == lapse
    }

    fn believed(&self, config: &Pack, lapse: Lapse, instead: &Pack) -> Pack {
        if self.is(lapse) { known(config, instead) } else { config.clone() }
    }

    fn blurred(&self, looked: &mut Looked) -> Result<()> {
        let unknown = Pack::Ext(0, vec![0]);
        let put_off = looked.deferred.is_some();
        match self.lapse {
            Lapse::DefersUnasked => looked.deferred = Some(pb::Deferred { reason: 1 }),
            Lapse::NeverDefers => looked.deferred = None,
            Lapse::DefersForAnother if put_off => looked.deferred = Some(pb::Deferred { reason: 3 }),
            Lapse::KnowsTooMuch if put_off => {
                changed(&mut looked.state, |entries| set(entries, "port", &Pack::from(5432)))?;
            }
            Lapse::ForgetsAnArgument => {
                changed(&mut looked.state, |entries| set(entries, "name", &Pack::Nil))?;
            }
            Lapse::LeavesAPartOut => changed(&mut looked.state, |entries| drop(entries.pop()))?,
            Lapse::TellsUnknown if !put_off => {
                changed(&mut looked.state, |entries| set(entries, "port", &unknown))?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl<A: Ask> Ask for Careless<'_, A> {
    async fn validate(&self, surface: &Surface, config: &Pack) -> Result<Vec<pb::Diagnostic>> {
        if self.is(Lapse::Dies) {
            bail!("the plugin did not respond");
        }
        let mut found = self
            .ask
            .validate(surface, &self.believed(config, Lapse::ValidatesUnknowns, &UNKNOWN.into()))
            .await?;
        match self.lapse {
            Lapse::ValidatesNothing => found.clear(),
            Lapse::NamesNoPath => found.iter_mut().for_each(|one| one.attribute = None),
            Lapse::MovesByItself => {
                let call = self.calls.fetch_add(1, Ordering::Relaxed);
                found.push(pb::Diagnostic { detail: call.to_string(), ..error("name") });
            }
            _ => {}
        }
        Ok(found)
    }

    async fn look(&self, surface: &Surface, config: &Pack, deferral: bool) -> Result<Looked> {
        let mut looked = self
            .ask
            .look(surface, &self.believed(config, Lapse::GuessesUnknowns, &Pack::Nil), deferral)
            .await?;
        self.blurred(&mut looked)?;
        Ok(looked)
    }

    async fn list(
        &self,
        surface: &Surface,
        config: &Pack,
        whole: bool,
        limit: i64,
    ) -> Result<Vec<pb::list_resource::Event>> {
        let config = self.believed(config, Lapse::GuessesUnknowns, &Pack::Nil);
        let mut events = self.ask.list(surface, &config, whole, limit).await?;
        match self.lapse {
            Lapse::ListsTooMuch => events = [events.clone(), events.clone(), events].concat(),
            Lapse::ListsNothing => events.retain(|event| event.identity.is_none()),
            Lapse::ListsNoIdentity => events.iter_mut().for_each(|event| event.identity = None),
            _ => {}
        }
        Ok(events)
    }

    async fn plan(&self, surface: &Surface, config: &Pack) -> Result<pb::plan_action::Response> {
        let mut plan = self.ask.plan(surface, config).await?;
        if self.is(Lapse::PutsActionsOff) {
            plan.deferred = Some(pb::Deferred { reason: 1 });
        }
        Ok(plan)
    }

    async fn invoke(&self, surface: &Surface, config: &Pack) -> Result<Vec<pb::invoke_action::Event>> {
        use pb::invoke_action::event::{Completed, Type};
        let mut events = self.ask.invoke(surface, config).await?;
        let well = pb::invoke_action::Event { r#type: Some(Type::Completed(Completed::default())) };
        match self.lapse {
            Lapse::NeverEnds => drop(events.pop()),
            Lapse::EndsTwice => events.push(well),
            Lapse::ActsWithoutError => events = vec![well],
            _ => {}
        }
        Ok(events)
    }

    async fn call(&self, function: &Function, arguments: &[Pack]) -> Result<pb::call_function::Response> {
        let mut answer = self.ask.call(function, arguments).await?;
        let text = argument(&"a text".into())?;
        match (self.lapse, &mut answer.error) {
            (Lapse::NamesNoArgument, Some(error)) => error.function_argument = None,
            (Lapse::NamesAnotherArgument, Some(error)) => {
                error.function_argument = error.function_argument.map(|at| at + 1);
            }
            (Lapse::AnswersTwice, Some(_)) => answer.result = Some(text),
            (Lapse::GivesAnotherType, None) if arguments.iter().all(is_known) => {
                answer.result = Some(argument(&true.into())?);
            }
            (Lapse::ComputesUnknowns, None) if !arguments.iter().all(is_known) => answer.result = Some(text),
            (Lapse::TakesAnything, Some(_)) if arguments.iter().any(Pack::is_nil) => {
                answer = pb::call_function::Response { result: Some(text), error: None };
            }
            _ => {}
        }
        Ok(answer)
    }
}

/// Cases that may go by before a lapse shows.
const PATIENCE: usize = 1_500;

#[test]
fn every_lapse_with_inputs_is_noticed() {
    let live = with_a_cluster().expect("a provider with a cluster");
    let plain = Inputs::new(&live.provider, true).expect("what it serves");
    assert!(plain.surfaces.iter().any(|surface| surface.kind == Kind::Ephemeral), "all kinds are served");
    let mut unnoticed = Vec::new();
    for lapse in Lapse::ALL {
        let inputs = plain.with(|ask| Careless { ask, lapse: *lapse, calls: AtomicU64::new(0) });
        let mut rng = StdRng::seed_from_u64(number("PGHA_SEED").unwrap_or(1));
        let broken = (1..=PATIENCE).find_map(|round| {
            let case = inputs.case(&mut rng);
            live.provider.runtime.block_on(inputs.run(&case)).err().map(|broken| (round, broken))
        });
        if let Some((round, broken)) = &broken {
            println!("{lapse:?}: {:?} in round {round}", broken.law);
        }
        if !broken.as_ref().is_some_and(|(_, broken)| lapse.is_noticed_as(broken.law)) {
            unnoticed.push((*lapse, broken));
        }
    }
    live.provider.ends_well().expect("a provider that lives");
    assert!(unnoticed.is_empty(), "{unnoticed:#?}");
}
