//! ProfileBindings: which pods run under a bound profile.
//!
//! What counts is what pods run under, not who made it so: a pod that was there before the binding and names the profile
//! itself is one of them, and one that is exempt is none.

use std::{collections::BTreeSet, sync::Arc};

use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use spo_model::{image::BoundImage, kind::Kind};

use super::{facts::Id, mirror::Mirror};
use crate::{
    cluster::{
        resource::Resource,
        watch::{Name, identity},
    },
    workloads::Use,
};

/// The resource of bindings.
pub const RESOURCE: Resource = Resource::Of(Kind::ProfileBinding);

/// The most pods that a status names.
const PODS: usize = 20;

/// What of a pod that uses profiles is of interest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// The profiles.
    pub uses: BTreeSet<Use>,
    /// The images of its containers.
    pub images: BTreeSet<Box<str>>,
}

/// What of a binding is of interest.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    profile: Id,
    /// None if it cannot be read: then the webhook refuses the namespace's pods.
    image: Option<BoundImage>,
    workloads: Value,
}

impl Binding {
    /// Of a document; none if it names no profile.
    pub fn of(document: &Value) -> (Id, Option<Self>) {
        let (namespace, name) = identity(document);
        let (spec, id) = (&document["spec"], Id::new(RESOURCE, &namespace, &name));
        let profile = || {
            let resource = Resource::of_spelling(spec["profileRef"]["kind"].as_str()?)?;
            let profile = Id::new(resource, &namespace, spec["profileRef"]["name"].as_str()?);
            resource.kind().is_profile().then_some(profile)
        };
        let image = || {
            let mode = spec["imageMatch"].as_str().map(str::parse).transpose().ok()?;
            BoundImage::read(spec["image"].as_str()?, mode.unwrap_or_default()).ok()
        };
        let workloads = document["status"]["activeWorkloads"].clone();
        let binding = profile().map(|profile| Self { profile, image: image(), workloads });
        (id, binding)
    }

    /// The names by which pods may know the profile.
    pub fn names(&self) -> Vec<Use> {
        self.profile.names()
    }

    fn is_about(&self, pod: &PodFacts) -> bool {
        match &self.image {
            None => false,
            Some(BoundImage::Any) => true,
            Some(bound) => pod.images.iter().any(|image| bound.covers(image)),
        }
    }
}

/// The bindings that there are.
#[derive(Debug, Default)]
pub struct Bindings(Mirror<Id, Binding>);

impl Bindings {
    /// Takes note of what a watch says. Returns those that changed.
    pub fn take_note(&mut self, watch: usize, event: Event<(Id, Option<Binding>)>) -> Vec<Id> {
        self.0.apply(watch, event).into_iter().map(|(id, _)| id).collect()
    }

    /// A binding.
    pub fn get(&self, id: &Id) -> Option<&Binding> {
        self.0.get(id)
    }

    /// Those of a namespace. This is asked for each pod that comes or goes, so others are not looked at.
    pub fn of(&self, namespace: &str) -> impl Iterator<Item = &Id> {
        let first = Id::new(RESOURCE, namespace, "");
        let namespace = Arc::clone(&first.namespace);
        // They are in the order of their namespaces, for all are of one resource.
        let all: Vec<&Id> =
            self.0.from(&first).map(|(id, _)| id).take_while(|id| id.namespace == namespace).collect();
        all.into_iter()
    }
}

/// The status that a binding should have, if it has another; `users` are the pods that use its profile.
pub fn status<'a>(
    id: &Id,
    binding: &Binding,
    users: impl Iterator<Item = (&'a Name, &'a PodFacts)>,
) -> Option<Value> {
    let mine = users.filter(|(pod, facts)| *pod.0 == *id.namespace && binding.is_about(facts));
    let names: BTreeSet<String> =
        mine.map(|((namespace, name), _)| format!("{namespace}/{name}")).take(PODS).collect();
    let wanted = if names.is_empty() { Value::Null } else { json!(names) };
    (wanted != binding.workloads).then(|| json!({ "activeWorkloads": wanted }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(image: &str) -> (Id, Binding) {
        of_mode(image, &Value::Null)
    }

    fn of_mode(image: &str, mode: &Value) -> (Id, Binding) {
        let (id, binding) = Binding::of(&json!({ "metadata": { "name": "b", "namespace": "shop" }, "spec": {
            "profileRef": { "kind": "SeccompProfile", "name": "web" }, "image": image, "imageMatch": mode,
        } }));
        (id, binding.expect("a binding"))
    }

    fn said(image: &str, pods: &[(&str, &str)]) -> Option<Value> {
        said_of(binding(image), pods)
    }

    fn said_of((id, binding): (Id, Binding), pods: &[(&str, &str)]) -> Option<Value> {
        let pods: Vec<(Name, PodFacts)> = pods
            .iter()
            .map(|(namespace, image)| {
                let images = BTreeSet::from([Box::from(*image)]);
                (((*namespace).to_owned(), "p".to_owned()), PodFacts { images, ..PodFacts::default() })
            })
            .collect();
        status(&id, &binding, pods.iter().map(|(name, facts)| (name, facts)))
    }

    #[test]
    fn pods_of_the_namespace_with_the_image_count() {
        let one = Some(json!({ "activeWorkloads": ["shop/p"] }));
        assert_eq!(said("nginx:1.21", &[("shop", "nginx:1.21")]), one);
        assert_eq!(said("nginx:1.21", &[("shop", "docker.io/library/nginx:1.21")]), one, "the same image");
        assert_eq!(said("*", &[("shop", "whatever"), ("other", "whatever")]), one);
        assert_eq!(said("nginx:1.21", &[("shop", "redis"), ("other", "nginx:1.21")]), None);
    }

    #[test]
    fn pods_count_as_the_mode_of_the_binding_says() {
        let one = Some(json!({ "activeWorkloads": ["shop/p"] }));
        for (image, mode, meant, not_meant) in [
            ("nginx", "Exact", "nginx:latest", "nginx:1.21"),
            ("nginx", "Repository", "docker.io/library/nginx:1.21", "nginx-exporter"),
            ("nginx:1.*", "Glob", "nginx:1.21", "nginx:2"),
            ("shop/**", "Glob", "shop/a/b", "ghcr.io/shop/a"),
        ] {
            let binding = of_mode(image, &json!(mode));
            assert_eq!(said_of(binding.clone(), &[("shop", meant)]), one, "{image} {mode}");
            assert_eq!(said_of(binding, &[("shop", not_meant)]), None, "{image} {mode}");
        }
        // The webhook refuses the pods of such a binding.
        for (image, mode) in [("nginx:1", "Repository"), ("**", "Glob"), ("nginx", "Prefix")] {
            assert_eq!(said_of(of_mode(image, &json!(mode)), &[("shop", image)]), None, "{image} {mode}");
        }
    }

    #[test]
    fn bindings_are_found_by_their_namespace() {
        let mut bindings = Bindings::default();
        let binding = binding("*").1;
        for (namespace, name) in [("a", "z"), ("shop", "one"), ("shop", "two"), ("shop-2", "a"), ("zoo", "a")]
        {
            let id = Id::new(RESOURCE, namespace, name);
            bindings.take_note(0, Event::Apply((id, Some(binding.clone()))));
        }
        let of = |namespace: &str| bindings.of(namespace).map(|id| id.name.to_string()).collect::<Vec<_>>();
        assert_eq!(of("shop"), ["one", "two"]);
        assert_eq!((of("zoo"), of("none"), of("")), (vec!["a".to_owned()], vec![], vec![]));
    }

    #[test]
    fn what_is_said_already_is_not_written_again() {
        let (id, mut binding) = binding("*");
        binding.workloads = json!(["shop/p"]);
        let (name, facts) = (("shop".to_owned(), "p".to_owned()), PodFacts::default());
        assert_eq!(status(&id, &binding, [(&name, &facts)].into_iter()), None);
        assert_eq!(status(&id, &binding, [].into_iter()), Some(json!({ "activeWorkloads": null })));
    }
}
