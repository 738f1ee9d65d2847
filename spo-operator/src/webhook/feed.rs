//! Keeps the index fresh: what the watches of the API server say becomes the next index.
//!
//! ```text
//! watches ──event──► Cache::apply ──index──► Shared::swap
//! ```

use std::time::Duration;

use futures::StreamExt as _;
use kube::{Client, runtime::watcher};
use spo_model::{kind::Kind, names::NamespaceName, object::AnyObject};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::index::{Index, Settings, Shared, Unreadable};
use crate::cluster::{
    resource::Resource,
    watch::{Cache, Entry, Watch, follow_all},
};

/// The watches that requests are answered from.
fn watches(settings: &Settings, namespaces: Option<&[NamespaceName]>) -> Vec<Watch> {
    let others = [Resource::Of(Kind::ProfileRecording), Resource::Of(Kind::ProfileBinding)];
    let many = Resource::PROFILES.into_iter().chain(others);
    let mut watches: Vec<Watch> =
        many.flat_map(|resource| Watch::all(resource, settings.scope, namespaces)).collect();
    watches.push(Watch {
        resource: Resource::Of(Kind::SecurityProfilesOperatorDaemon),
        namespace: Some(settings.operator_namespace.clone()),
    });
    watches
}

/// Watches every kind and replaces the index after each change, until it is told to stop. The first index appears
/// once every kind has been listed.
pub async fn run(
    client: Client,
    settings: Settings,
    namespaces: Option<Vec<NamespaceName>>,
    shared: Shared,
    stop: CancellationToken,
) {
    let watches = watches(&settings, namespaces.as_deref());
    let mut cache = Cache::new(watches.clone());
    let mut events = follow_all(&client, settings.scope, &watcher::Config::default(), watches);
    while let Some(Some(told)) = stop.run_until_cancelled(events.next()).await {
        cache.apply(told);
        // A list comes as many events; one index for all that come in one breath.
        while let Ok(Some(told)) = timeout(BREATH, events.next()).await {
            cache.apply(told);
        }
        if let Some(index) = index(&settings, &cache) {
            shared.swap(index);
        }
    }
}

/// How long a change waits for others that come with it.
const BREATH: Duration = Duration::from_millis(20);

/// The index of what is known; `None` until every kind has been listed.
fn index(settings: &Settings, cache: &Cache) -> Option<Index> {
    if !cache.is_complete() {
        return None;
    }
    let objects = cache.entries().filter_map(|(_, _, entry)| entry.object());
    let unreadable = cache.entries().filter_map(|(resource, (namespace, name), entry)| match entry {
        Entry::Unreadable(reason, _) => Some(Unreadable {
            kind: resource.kind(),
            namespace: namespace.clone(),
            name: name.clone(),
            reason: reason.clone(),
        }),
        Entry::Object(_) => None,
    });
    Some(Index::new(settings.clone(), objects.collect::<Vec<&AnyObject>>(), unreadable))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kube::runtime::watcher::Event;
    use serde_json::{Value, json};

    use super::*;
    use crate::webhook::fixture::{document, settings};

    fn profile(name: &str) -> Value {
        document("SeccompProfile", name, &json!({"defaultAction": "SCMP_ACT_ERRNO"}))
    }

    fn watch(resource: Resource) -> Watch {
        watches(&settings(), None).into_iter().find(|watch| watch.resource == resource).expect("is watched")
    }

    fn tell(cache: &mut Cache, resource: Resource, events: impl IntoIterator<Item = Event<Value>>) {
        for event in events {
            cache.apply((watch(resource), event));
        }
    }

    const SECCOMP: Resource = Resource::Of(Kind::SeccompProfile);
    const BINDING: Resource = Resource::Of(Kind::ProfileBinding);

    fn full(profiles: impl IntoIterator<Item = Value>) -> Cache {
        let mut cache = Cache::new(watches(&settings(), None));
        for watch in watches(&settings(), None) {
            tell(&mut cache, watch.resource, [Event::Init, Event::InitDone]);
        }
        tell(&mut cache, SECCOMP, [Event::Init]);
        tell(&mut cache, SECCOMP, profiles.into_iter().map(Event::InitApply));
        tell(&mut cache, SECCOMP, [Event::InitDone]);
        cache
    }

    fn complete(cache: &Cache) -> Index {
        index(&settings(), cache).expect("complete")
    }

    fn knows(cache: &Cache, name: &str) -> bool {
        complete(cache).profile("production", Kind::SeccompProfile, name).is_some()
    }

    #[test]
    fn there_is_no_index_before_every_kind_is_listed() {
        let all = watches(&settings(), None);
        let mut cache = Cache::new(all.clone());
        for Watch { resource, .. } in all {
            assert!(index(&settings(), &cache).is_none(), "{resource} is missing");
            tell(&mut cache, resource, [Event::Init]);
            assert!(index(&settings(), &cache).is_none(), "{resource} is not complete");
            tell(&mut cache, resource, [Event::InitDone]);
        }
        assert!(index(&settings(), &cache).is_some());
    }

    #[test]
    fn changes_and_deletions_are_followed() {
        let mut cache = full([profile("a")]);
        tell(&mut cache, SECCOMP, [Event::Apply(profile("b"))]);
        assert!(knows(&cache, "a") && knows(&cache, "b"));
        tell(&mut cache, SECCOMP, [Event::Delete(profile("a"))]);
        assert!(!knows(&cache, "a") && knows(&cache, "b"));
    }

    #[test]
    fn a_watch_that_starts_again_loses_nothing_and_drops_what_is_gone() {
        let mut cache = full([profile("a"), profile("b")]);
        tell(&mut cache, SECCOMP, [Event::Init, Event::InitApply(profile("b"))]);
        assert!(knows(&cache, "a") && knows(&cache, "b"), "half a list replaces nothing");
        tell(&mut cache, SECCOMP, [Event::InitDone]);
        assert!(!knows(&cache, "a") && knows(&cache, "b"));
    }

    #[test]
    fn profiles_under_the_other_spelling_of_their_kind_are_known() {
        let mut cache = full([]);
        let text = json!({"policy": "profile web { }"});
        let alias = document("ApparmorProfile", "web", &text);
        tell(&mut cache, Resource::ApparmorAlias, [Event::Apply(alias)]);
        assert!(complete(&cache).profile("production", Kind::AppArmorProfile, "web").is_some());
    }

    #[test]
    fn a_binding_that_cannot_be_read_is_remembered_and_can_be_corrected() {
        let mut cache = full([profile("web")]);
        let reference = json!({"kind": "SeccompProfile", "name": "web"});
        let bad = document("ProfileBinding", "b", &json!({"profileRef": reference}));
        tell(&mut cache, BINDING, [Event::Apply(bad)]);
        assert_eq!(complete(&cache).unreadable_bindings("production").len(), 1);
        let good = document("ProfileBinding", "b", &json!({"profileRef": reference, "image": "*"}));
        tell(&mut cache, BINDING, [Event::Apply(good)]);
        assert_eq!(complete(&cache).unreadable_bindings("production").len(), 0);
        assert_eq!(complete(&cache).bindings("production", &BTreeMap::new()).count(), 1);
    }

    #[test]
    fn settings_are_those_of_the_operators_own_namespace() {
        let settings = settings();
        let few = ["a".parse().expect("a name")];
        for namespaces in [None, Some(&few[..])] {
            let watches = watches(&settings, namespaces);
            let of = |kind| watches.iter().filter(move |watch| watch.resource == Resource::Of(kind));
            let daemons: Vec<_> =
                of(Kind::SecurityProfilesOperatorDaemon).map(|w| w.namespace.clone()).collect();
            assert_eq!(daemons, [Some(settings.operator_namespace.clone())]);
            let all = of(Kind::SeccompProfile).all(|watch| watch.namespace.is_none());
            assert_eq!(all, namespaces.is_none());
        }
    }
}
