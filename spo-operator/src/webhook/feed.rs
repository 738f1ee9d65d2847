//! Keeps the index fresh: what the watches of the API server say becomes the next index.
//!
//! ```text
//! watches ──event──► Cache::apply ──index──► Shared::swap
//! ```

use std::{pin::pin, time::Duration};

use futures::{Stream, StreamExt as _};
use kube::{Client, runtime::watcher};
use serde_json::Value;
use spo_model::{kind::Kind, names::NamespaceName, object::AnyObject};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::index::{Index, Settings, Shared, Unreadable};
use crate::{
    cluster::{
        news::Seen,
        resource::Resource,
        watch::{Cache, Entry, Told, Watch, follow_all},
    },
    process::{Beat, Error, INTERVAL},
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
///
/// # Errors
/// The watches end, or an index cannot be built; requests must not be answered from an old one for ever.
pub async fn run(
    client: Client,
    settings: Settings,
    namespaces: Option<Vec<NamespaceName>>,
    shared: Shared,
    beat: Beat,
    stop: CancellationToken,
) -> Result<(), Error> {
    let watches = watches(&settings, namespaces.as_deref());
    let cache = Cache::new(watches.clone());
    let events = follow_all(&client, settings.scope, &watcher::Config::default(), watches);
    let swap = |index| shared.swap(index);
    stop.run_until_cancelled(feed(events, cache, settings, swap, beat)).await.unwrap_or(Ok(()))
}

async fn feed(
    events: impl Stream<Item = Told>,
    mut cache: Cache,
    settings: Settings,
    swap: impl Fn(Index),
    beat: Beat,
) -> Result<(), Error> {
    let mut events = pin!(events);
    let mut seen =
        Seen::and(|_, document| STATUS.map(|field| document.pointer(field).map(Value::to_string)).into());
    let mut due: Option<Due> = None;
    loop {
        let wake = due.as_ref().map_or_else(|| Instant::now() + INTERVAL, Due::at);
        tokio::select! {
            // First: a stream that always has an event must not keep the index from being replaced.
            biased;
            () = sleep_until(wake) => {
                if due.take().is_some() {
                    let settings = settings.clone();
                    let built = spawn_blocking(move || {
                        let index = index(&settings, &cache);
                        (cache, index)
                    });
                    let (back, index) = built.await?;
                    cache = back;
                    index.into_iter().for_each(&swap);
                }
            }
            told = events.next() => {
                let (watch, event) = told.ok_or("the watches have ended")?;
                if seen.is_news(&watch, &event) {
                    cache.apply((watch, event));
                    due = Some(Due::after(due, Instant::now()));
                }
            }
        }
        beat.beat();
    }
}

/// What of a status requests are answered from.
const STATUS: [&str; 2] = ["/status/status", "/status/usage"];

/// When the index is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Due {
    first: Instant,
    last: Instant,
}

impl Due {
    /// After one more change. A list comes as many events; there is one index for all that come in one breath.
    fn after(before: Option<Self>, now: Instant) -> Self {
        Self { first: before.map_or(now, |due| due.first), last: now }
    }

    fn at(&self) -> Instant {
        (self.last + BREATH).min(self.first + LONGEST)
    }
}

/// How long a change waits for others that come with it.
const BREATH: Duration = Duration::from_millis(20);

/// How long it waits at most, however many come: somebody who changes his own objects all the time delays nobody.
const LONGEST: Duration = Duration::from_millis(200);

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
    let index = Index::new(settings.clone(), objects.collect::<Vec<&AnyObject>>(), unreadable);
    Some(index.seeing(cache.namespaces_of(Resource::Of(Kind::SeccompProfile))))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use futures::stream;
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;
    use crate::webhook::{
        configuration::Configuration,
        fixture::{document, settings},
    };

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

    /// A tenant who changes his own objects without a pause does not keep the index from being replaced.
    #[tokio::test]
    async fn changes_without_a_pause_delay_the_index_for_a_moment_only() {
        let shared = Shared::default();
        let lists = watches(&settings(), None);
        let lists =
            lists.into_iter().flat_map(|watch| [(watch.clone(), Event::Init), (watch, Event::InitDone)]);
        let stream = stream::iter(lists).chain(stream::unfold(0_u64, async |number| {
            let mut changed = profile("busy");
            changed["metadata"]["generation"] = json!(number);
            tokio::time::sleep(Duration::from_millis(1)).await;
            Some(((watch(SECCOMP), Event::Apply(changed)), number + 1))
        }));
        let cache = Cache::new(watches(&settings(), None));
        let (swapped, swaps) = (shared.clone(), std::sync::atomic::AtomicUsize::new(0));
        let swap = |index: Index| {
            swaps.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            swapped.swap(index);
        };
        let feed = feed(stream, cache, settings(), swap, crate::process::Pulse::default().of("test"));
        assert!(tokio::time::timeout(Duration::from_secs(3), feed).await.is_err(), "the changes go on");
        let knows = |index: &Index| index.profile("production", Kind::SeccompProfile, "busy").is_some();
        assert!(shared.get().is_some_and(|index| knows(&index)));
        // Not once for each of the changes either.
        assert!(swaps.load(std::sync::atomic::Ordering::Relaxed) < 20);
    }

    #[test]
    fn the_index_is_due_a_breath_after_the_last_change_and_not_much_after_the_first() {
        let start = Instant::now();
        let mut due = Due::after(None, start);
        assert_eq!(due.at(), start + BREATH);
        for milliseconds in (10..1000).step_by(10) {
            due = Due::after(Some(due), start + Duration::from_millis(milliseconds));
            assert!(due.at() <= start + LONGEST);
        }
    }

    #[tokio::test]
    async fn watches_that_end_are_an_error() {
        let cache = Cache::new(watches(&settings(), None));
        let beat = crate::process::Pulse::default().of("test");
        assert!(feed(stream::empty(), cache, settings(), drop, beat).await.is_err());
    }

    #[test]
    fn settings_that_cannot_be_read_are_not_taken_for_none() {
        let mut cache = full([]);
        let mut bad = document("SecurityProfilesOperatorDaemon", "spod", &json!({"verbosity": "loud"}));
        bad["metadata"]["namespace"] = json!(settings().operator_namespace);
        let spod = Resource::Of(Kind::SecurityProfilesOperatorDaemon);
        tell(&mut cache, spod, [Event::Apply(bad)]);
        let index = complete(&cache);
        assert!(matches!(index.configuration(), Configuration::Unreadable(why) if why.contains("verbosity")));
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
