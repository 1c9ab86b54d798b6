//! Everything that takes a configuration and is no managed resource, and the functions: data source, ephemeral resource, list
//! resource, actions. Random configurations and arguments go over the real wire, and laws must hold of every answer.
//!
//! One cluster is there, `shop/orders`; its API server holds objects and has agents that acknowledge.

mod ask;
mod judge;
mod lapses;
mod random;

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Result, ensure};
use pgha_acceptance_tests::host::schema::Attribute;
use pgha_acceptance_tests::host::{Ignored, Stored, has_errors};
use pgha_acceptance_tests::proto_client::pb::tfplugin6 as pb;
use pgha_acceptance_tests::proto_client::pb::tfplugin6::provider_client::ProviderClient;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rmpv::Value as Pack;
use tonic::transport::Channel;

use self::ask::{Ask, Function, Surface};
use self::random::Taste;
use crate::laws::Kept;
use crate::learn::minimal;
use crate::properties::{LiveProvider, SEED, number};
use crate::provider::Provider;

/// Cases of a normal run, on each of two providers.
const CASES: u64 = 1_000;

/// A provider, and what it serves beside its resource.
pub struct Inputs<A> {
    ask: A,
    surfaces: Vec<Surface>,
    functions: Vec<Function>,
    resource: Vec<Attribute>,
    identity: Vec<Attribute>,
    /// It knows its own configuration.
    configured: bool,
}

/// A case.
#[derive(Debug, Clone)]
pub enum Case {
    /// A configuration for one of the surfaces.
    Config(ConfigCase),
    /// Arguments for one of the functions, and the same less known.
    Call(Function, Vec<Pack>, Vec<Pack>),
}

/// See [`Case::Config`].
#[derive(Debug, Clone)]
pub struct ConfigCase {
    surface: Surface,
    config: Pack,
    /// The same with something not known yet; none where nothing is set.
    open: Option<Pack>,
    deferral: bool,
    whole: bool,
    limit: i64,
}

/// What a case came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Came {
    /// Refused as it has to be.
    Refused,
    /// Put off.
    Deferred,
    /// Answered with a value.
    Answered,
    /// Planned, invoked in vain or listed.
    Done,
}

impl Inputs<ProviderClient<Channel>> {
    /// Of a running provider.
    pub fn new(provider: &Provider, configured: bool) -> Result<Self> {
        let mut rpc = provider.core.calls.clone();
        let asked = rpc.get_provider_schema(pb::get_provider_schema::Request {});
        let schemas = provider.runtime.block_on(asked)?.into_inner();
        Ok(Self {
            ask: provider.core.calls.clone(),
            surfaces: ask::surfaces(&schemas)?,
            functions: ask::functions(&schemas)?,
            resource: provider.core.attributes.clone(),
            identity: provider.core.identity.clone(),
            configured,
        })
    }
}

impl<A> Inputs<A> {
    /// The same with somebody between.
    fn with<'a, B>(&'a self, wrap: impl FnOnce(&'a A) -> B) -> Inputs<B> {
        Inputs {
            ask: wrap(&self.ask),
            surfaces: self.surfaces.clone(),
            functions: self.functions.clone(),
            resource: self.resource.clone(),
            identity: self.identity.clone(),
            configured: self.configured,
        }
    }

    fn case(&self, rng: &mut StdRng) -> Case {
        let taste = Taste::any(rng);
        if rng.random_bool(0.4) {
            let function = self.functions.choose(rng).expect("a function").clone();
            let mut arguments = Vec::new();
            for (name, ty) in &function.parameters {
                let null = rng.random_bool(taste.odd / 8.0);
                arguments.push(if null { Pack::Nil } else { random::value(rng, name, ty, taste) });
            }
            if let Some(ty) = &function.variadic {
                let more = rng.random_range(0..if taste.odd > 0.3 { 3 } else { 2 });
                arguments.extend((0..more).map(|_| random::value(rng, "options", ty, taste)));
            }
            if rng.random_bool(taste.wrong / 2.0) {
                arguments.pop();
            }
            let mut open = arguments.clone();
            if !open.is_empty() {
                let at = rng.random_range(0..open.len());
                open[at] = random::sprinkled(rng, &open[at]).unwrap_or_else(|| random::unknown(rng));
            }
            return Case::Call(function, arguments, open);
        }
        let surface = self.surfaces.choose(rng).expect("a surface").clone();
        let config = random::config(rng, &surface.attributes, taste);
        let open = random::sprinkled(rng, &config);
        let limit = *[0, 0, 1, 2, -1, i64::MAX].choose(rng).unwrap_or(&0);
        let (deferral, whole) = (rng.random_bool(0.5), rng.random_bool(0.5));
        Case::Config(ConfigCase { surface, config, open, deferral, whole, limit })
    }
}

impl<A: Ask> Inputs<A> {
    async fn run(&self, case: &Case) -> Kept<Came> {
        match case {
            Case::Call(function, arguments, open) => {
                let came = self.called(function, arguments).await?;
                self.called(function, open).await?;
                Ok(came)
            }
            Case::Config(case) => self.configured(case).await,
        }
    }
}

/// A provider with a cluster in front of it.
pub fn with_a_cluster() -> Result<LiveProvider> {
    let live = LiveProvider::start()?;
    live.begin();
    let provider = &live.provider;
    provider.runtime.block_on(async {
        let plan = provider.core.plan(&Stored::nothing(), &minimal(), &Ignored::Nothing).await?;
        let applied = provider.core.apply(&plan, &minimal()).await?;
        ensure!(!has_errors(&applied.diagnostics), "{:?}", applied.diagnostics);
        Ok(())
    })?;
    Ok(live)
}

fn all_of<A: Ask>(inputs: &Inputs<A>, provider: &Provider, seed: u64, cases: u64) -> BTreeMap<Came, u32> {
    let (mut came, mut broken) = (BTreeMap::<Came, u32>::new(), Vec::new());
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..cases {
        let case = inputs.case(&mut rng);
        match provider.runtime.block_on(inputs.run(&case)) {
            Ok(end) => *came.entry(end).or_default() += 1,
            Err(law) => broken.push(shortened(format!("{law}\nof {case:?}"))),
        }
    }
    assert!(broken.is_empty(), "PGHA_SEED={seed}: {}", broken.join("\n\n"));
    came
}

/// Without most of the very long texts.
fn shortened(mut text: String) -> String {
    if let Some((at, _)) = text.char_indices().nth(3_000) {
        text.truncate(at);
    }
    text
}

#[test]
fn no_input_breaks_a_law() {
    let (seed, began) = (number("PGHA_SEED").unwrap_or(SEED), Instant::now());
    let cases = number("PGHA_CASES").unwrap_or(CASES);
    let live = with_a_cluster().expect("a provider with a cluster");
    let before = live.objects();
    let inputs = Inputs::new(&live.provider, true).expect("what it serves");
    let came = all_of(&inputs, &live.provider, seed, cases);
    println!("{cases} inputs in {:.1} s: {came:?}", began.elapsed().as_secs_f64());
    let told = |end: Came| came.get(&end).copied().unwrap_or(0) * 20 >= cases as u32;
    assert!(cases < 500 || (told(Came::Refused) && told(Came::Answered) && told(Came::Done)), "{came:?}");
    assert_eq!(live.objects(), before, "reading and refused work change nothing");
    live.provider.ends_well().expect("a provider that lives");

    let began = Instant::now();
    let provider = Provider::start().expect("a provider");
    let inputs = Inputs::new(&provider, false).expect("what it serves");
    let came = all_of(&inputs, &provider, seed, cases);
    println!("{cases} inputs, unconfigured, in {:.1} s: {came:?}", began.elapsed().as_secs_f64());
    provider.ends_well().expect("a provider that lives");
}
