//! The laws of inputs.

use pgha_acceptance_tests::host::has_errors;
use pgha_acceptance_tests::host::rules::conform::{conforms, wholly_known};
use pgha_acceptance_tests::proto_client::pb::tfplugin6 as pb;
use pgha_acceptance_tests::proto_client::values::{UNKNOWN, json, messages, path};
use rmpv::Value as Pack;
use serde_json::{Value as Json, json};

use super::ask::{Ask, Function, Kind, Looked, Surface};
use super::random::{fits, fits_type, is_known, part, read};
use super::{Came, ConfigCase, Inputs};
use crate::laws::{Kept, Law, accepted, answered, ensure, sound};

impl<A: Ask> Inputs<A> {
    pub(super) async fn configured(&self, case: &ConfigCase) -> Kept<Came> {
        let ConfigCase { surface, config, open, .. } = case;
        let valid = self.validated(surface, config).await?;
        let Some(open) = open else { return self.used(case, config, valid).await };
        if fits(&surface.attributes, config) && fits(&surface.attributes, open) {
            let still = self.validated(surface, open).await?;
            ensure(still || !valid, Law::UnknownsPass, || format!("{open} is invalid, and {config} is not"))?;
            self.used(case, open, still).await?;
        }
        self.used(case, config, valid).await
    }

    /// Whether it is valid; what does not fit the schema is not, and every error says where.
    async fn validated(&self, surface: &Surface, config: &Pack) -> Kept<bool> {
        let found = answered(self.ask.validate(surface, config)).await?;
        let again = answered(self.ask.validate(surface, config)).await?;
        ensure(found == again, Law::Pure, || format!("{found:?}\nand then\n{again:?}"))?;
        if !fits(&surface.attributes, config) {
            ensure(has_errors(&found), Law::RefusesBadInput, || format!("{config} is valid"))?;
            return Ok(false);
        }
        sound(&found)?;
        for one in found.iter().filter(|one| has_errors(std::slice::from_ref(*one))) {
            let at = one.attribute.as_ref().map(path).unwrap_or_default();
            let first = at.split(['.', '[']).next().unwrap_or_default();
            let known = surface.attributes.iter().any(|attribute| attribute.name == first);
            ensure(known, Law::NamesThePath, || format!("{at:?}: {:?}", messages(&found)))?;
        }
        Ok(!has_errors(&found))
    }

    /// What a host does with a configuration; one that is invalid it does not use, but the provider has to live.
    async fn used(&self, case: &ConfigCase, config: &Pack, valid: bool) -> Kept<Came> {
        let surface = &case.surface;
        match surface.kind {
            Kind::Data | Kind::Ephemeral => {
                let looked = answered(self.ask.look(surface, config, case.deferral)).await?;
                let again = answered(self.ask.look(surface, config, case.deferral)).await?;
                ensure(looked == again, Law::Pure, || format!("{looked:?}\nand then\n{again:?}"))?;
                self.looked(case, config, &looked)
            }
            Kind::List => {
                let events = answered(self.ask.list(surface, config, case.whole, case.limit)).await?;
                self.listed(case, config, valid, &events)
            }
            Kind::Action => self.acted(surface, config, valid).await,
        }
    }

    fn looked(&self, case: &ConfigCase, config: &Pack, looked: &Looked) -> Kept<Came> {
        let attributes = &case.surface.attributes;
        let refused = has_errors(&looked.diagnostics);
        if !fits(attributes, config) {
            return ensure(refused, Law::RefusesBadInput, || format!("{config} gives {looked:?}"))
                .map(|()| Came::Refused);
        }
        sound(&looked.diagnostics)?;
        let (known, say) =
            (is_known(config), || format!("of {config}, deferral {}: {looked:?}", case.deferral));
        let waits = !known || !self.configured;
        ensure(looked.deferred.is_some() == (waits && case.deferral), Law::Deferred, say)?;
        if waits && !case.deferral {
            ensure(refused, Law::NotGuessed, say)?;
        }
        if refused {
            return Ok(Came::Refused);
        }
        let state: Json = match json(looked.state.as_ref()) {
            Ok(state) => state,
            Err(error) => {
                return ensure(false, Law::Answers, || format!("{error:#}")).map(|()| Came::Refused);
            }
        };
        accepted(&conforms(attributes, &state))?;
        ensure(state.is_object(), Law::GivesBack, say)?;
        for one in attributes {
            let (is, given) = (&state[&one.name], read(part(config, &one.name)));
            let right =
                if one.is_output() { looked.deferred.is_none() || *is == UNKNOWN } else { *is == given };
            ensure(right, Law::GivesBack, || format!("{} is {is}; {}", one.name, say()))?;
        }
        if let Some(deferred) = &looked.deferred {
            use pb::deferred::Reason;
            let why =
                if self.configured { Reason::ResourceConfigUnknown } else { Reason::ProviderConfigUnknown };
            ensure(deferred.reason() == why, Law::Deferred, say)?;
            return Ok(Came::Deferred);
        }
        accepted(&wholly_known(&state))?;
        Ok(Came::Answered)
    }

    fn listed(
        &self,
        case: &ConfigCase,
        config: &Pack,
        valid: bool,
        events: &[pb::list_resource::Event],
    ) -> Kept<Came> {
        let refused = events.iter().any(|event| has_errors(&event.diagnostic));
        let say = || format!("of {config}, whole {}, limit {}: {events:?}", case.whole, case.limit);
        if !fits(&case.surface.attributes, config) {
            return ensure(refused, Law::RefusesBadInput, say).map(|()| Came::Refused);
        }
        ensure(refused || (is_known(config) && self.configured), Law::NotGuessed, say)?;
        let most = usize::try_from(case.limit).ok().filter(|limit| *limit > 0);
        ensure(most.is_none_or(|most| events.len() <= most.max(1)), Law::Listed, say)?;
        for event in events {
            sound(&event.diagnostic)?;
            if has_errors(&event.diagnostic) {
                continue;
            }
            let identity = event.identity.as_ref().and_then(|one| one.identity_data.as_ref());
            let identity = json(identity).unwrap_or_default();
            ensure(identity.is_object() && !event.display_name.is_empty(), Law::Listed, say)?;
            accepted(&conforms(&self.identity, &identity))?;
            accepted(&wholly_known(&identity))?;
            let object = json(event.resource_object.as_ref()).unwrap_or_default();
            ensure(case.whole == object.is_object(), Law::Listed, say)?;
            accepted(&conforms(&self.resource, &object))?;
        }
        if refused {
            return Ok(Came::Refused);
        }
        // With one that is invalid no host asks.
        let here = read(part(config, "namespace"));
        let expected = usize::from(here.is_null() || here == "shop");
        ensure(!valid || events.len() == expected, Law::Listed, say)?;
        Ok(Came::Done)
    }

    /// An action is planned whatever is known, and invoked only here where it can't come to anything.
    async fn acted(&self, surface: &Surface, config: &Pack, valid: bool) -> Kept<Came> {
        let fits = fits(&surface.attributes, config);
        let plan = answered(self.ask.plan(surface, config)).await?;
        let say = || format!("of {config}: {plan:?}");
        ensure(plan.deferred.is_none() || !self.configured, Law::Deferred, say)?;
        if fits {
            sound(&plan.diagnostics)?;
            ensure(!valid || !has_errors(&plan.diagnostics), Law::Plans, say)?;
        } else {
            ensure(has_errors(&plan.diagnostics), Law::RefusesBadInput, say)?;
        }
        let here = ["name", "namespace"].map(|name| read(part(config, name)));
        if self.configured && is_known(config) && fits && here == [json!("orders"), json!("shop")] {
            return Ok(Came::Done);
        }
        let events = answered(self.ask.invoke(surface, config)).await?;
        let ended = |event: &pb::invoke_action::Event| match &event.r#type {
            Some(pb::invoke_action::event::Type::Completed(last)) => Some(last.diagnostics.clone()),
            Some(pb::invoke_action::event::Type::Progress(_)) | None => None,
        };
        let ends: Vec<_> = events.iter().map(ended).collect();
        let well =
            ends.iter().filter(|end| end.is_some()).count() == 1 && ends.last().is_some_and(Option::is_some);
        ensure(well, Law::Ends, || format!("of {config}: {events:?}"))?;
        let last = ends.into_iter().flatten().next().unwrap_or_default();
        if fits {
            sound(&last)?;
        }
        let law = if is_known(config) { Law::RefusesBadInput } else { Law::NotGuessed };
        ensure(has_errors(&last), law, || format!("{config} was carried out: {events:?}"))?;
        Ok(Came::Refused)
    }

    /// A function: a result or an error, and an error names the argument at fault.
    pub(super) async fn called(&self, function: &Function, arguments: &[Pack]) -> Kept<Came> {
        let answer = answered(self.ask.call(function, arguments)).await?;
        let again = answered(self.ask.call(function, arguments)).await?;
        let say = || {
            let given: Vec<_> = arguments.iter().map(ToString::to_string).collect();
            format!("{}({}) gives {answer:?}", function.name, given.join(", "))
        };
        ensure(answer == again, Law::Pure, || format!("{}\nand then\n{again:?}", say()))?;
        ensure(answer.result.is_some() != answer.error.is_some(), Law::OneAnswer, say)?;
        let least = function.parameters.len();
        let counted = arguments.len() == least || (arguments.len() > least && function.variadic.is_some());
        let ty = |at: usize| function.parameters.get(at).map(|(_, ty)| ty).or(function.variadic.as_ref());
        let is_bad = |at: usize| {
            let null = at < least && arguments[at].is_nil();
            null || ty(at).is_some_and(|ty| !fits_type(ty, &arguments[at]))
        };
        let bad: Vec<usize> = (0..arguments.len()).filter(|at| is_bad(*at)).collect();
        if let Some(error) = &answer.error {
            let at = error.function_argument.and_then(|at| usize::try_from(at).ok());
            ensure(
                !error.text.is_empty() && at.is_none_or(|at| at < arguments.len()),
                Law::NamesTheArgument,
                say,
            )?;
            let right = if bad.is_empty() { at.is_some() } else { at.is_some_and(|at| bad.contains(&at)) };
            ensure(!counted || right, Law::NamesTheArgument, say)?;
            return Ok(Came::Refused);
        }
        ensure(counted && bad.is_empty(), Law::RefusesBadInput, say)?;
        let result = json(answer.result.as_ref()).map_err(|error| crate::laws::Broken {
            law: Law::Answers,
            what: format!("{error:#}: {}", say()),
        })?;
        if !arguments.iter().all(is_known) {
            ensure(result == UNKNOWN, Law::NotGuessed, say)?;
            return Ok(Came::Deferred);
        }
        let pack = answer
            .result
            .as_ref()
            .and_then(|value| rmpv::decode::read_value(&mut value.msgpack.as_slice()).ok());
        let whole =
            pack.is_some_and(|pack| !pack.is_nil() && is_known(&pack) && fits_type(&function.returns, &pack));
        ensure(whole, Law::GivesBack, say)?;
        Ok(Came::Answered)
    }
}
