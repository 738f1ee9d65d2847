//! Which binding decides about a container.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, btree_map::Entry},
};

use spo_model::image::{BoundImage, Pattern, Reference, Repository};

use crate::webhook::{
    index::{Binding, Index, Slot},
    warnings::Warnings,
};

/// The bindings that are about one pod, by what they say about images. Only patterns are looked at one by one, and only
/// where nothing more specific is found.
#[derive(Debug, Default)]
pub(in crate::webhook) struct Bindings<'a> {
    exact: BTreeMap<(Slot, &'a str), &'a Binding>,
    meaning: BTreeMap<(Slot, &'a Repository), Vec<(&'a Reference, &'a Binding)>>,
    repositories: BTreeMap<(Slot, &'a Repository), &'a Binding>,
    /// The most specific first.
    patterns: BTreeMap<Slot, Vec<(&'a Pattern, &'a Binding)>>,
    any: BTreeMap<Slot, &'a Binding>,
    /// What was found for an image, for containers often share theirs.
    found: BTreeMap<&'a str, [Option<Found<'a>>; Slot::ALL.len()]>,
    /// What to tell about bindings that another one leaves nothing to.
    pub(super) unused: Warnings,
}

/// A binding that decides about a container.
#[derive(Clone, Copy, Debug)]
pub(in crate::webhook) struct Found<'a> {
    pub(in crate::webhook) binding: &'a Binding,
    pub(super) by_wildcard: bool,
}

impl<'a> Bindings<'a> {
    /// The bindings of a namespace that select a pod with these labels.
    pub(in crate::webhook) fn of(
        index: &'a Index,
        namespace: &str,
        labels: &'a BTreeMap<String, String>,
    ) -> Self {
        let mut found = Self::default();
        let mut patterns: BTreeMap<(Slot, &Pattern), &Binding> = BTreeMap::new();
        for binding in index.bindings(namespace, labels) {
            let slot = binding.slot;
            let first = match &binding.image {
                BoundImage::Any => *found.any.entry(slot).or_insert(binding),
                BoundImage::Exact(text, reference) => {
                    if let Some(reference) = reference {
                        let same_place = found.meaning.entry((slot, reference.repository()));
                        same_place.or_default().push((reference, binding));
                    }
                    *found.exact.entry((slot, text)).or_insert(binding)
                }
                BoundImage::Repository(place) => *found.repositories.entry((slot, place)).or_insert(binding),
                BoundImage::Glob(pattern) => match patterns.entry((slot, pattern)) {
                    Entry::Occupied(first) => *first.get(),
                    Entry::Vacant(new) => {
                        found.patterns.entry(slot).or_default().push((pattern, binding));
                        *new.insert(binding)
                    }
                },
            };
            if first.name != binding.name && (first.kind, &first.profile) != (binding.kind, &binding.profile)
            {
                found.unused.push(format_args!(
                    "ProfileBinding {namespace}/{} is not used: {} sets the {} of the same image",
                    binding.name,
                    first.name,
                    slot.name()
                ));
            }
        }
        // They came by name, and stay so where they are as specific.
        for patterns in found.patterns.values_mut() {
            patterns.sort_by_cached_key(|(pattern, _)| Reverse(pattern.literals()));
        }
        found
    }

    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty()
            && self.repositories.is_empty()
            && self.patterns.is_empty()
            && self.any.is_empty()
    }

    pub(super) fn any(&self, slot: Slot) -> Option<&'a Binding> {
        self.any.get(&slot).copied()
    }

    /// The binding that decides about a container with an image.
    pub(in crate::webhook) fn find(&mut self, slot: Slot, image: &'a str) -> Option<Found<'a>> {
        let found = match self.found.get(image) {
            Some(found) => *found,
            None => {
                let found = self.find_all(image);
                self.found.insert(image, found);
                found
            }
        };
        Slot::ALL.into_iter().zip(found).find_map(|(of, found)| found.filter(|_| of == slot))
    }

    /// The same of every field, so that the image is read once.
    fn find_all(&self, image: &str) -> [Option<Found<'a>>; Slot::ALL.len()] {
        let reference = Reference::parse(image);
        Slot::ALL.map(|slot| {
            let exact = self.exact.get(&(slot, image)).copied();
            match exact.or_else(|| self.find_meant(slot, reference.as_ref()?)) {
                Some(binding) => Some(Found { binding, by_wildcard: false }),
                None => self.any(slot).map(|binding| Found { binding, by_wildcard: true }),
            }
        })
    }

    fn find_meant(&self, slot: Slot, image: &Reference) -> Option<&'a Binding> {
        let place = (slot, image.repository());
        let same = self.meaning.get(&place).into_iter().flatten().find(|(own, _)| own.covers(image));
        let pattern = || {
            let mut all = self.patterns.get(&slot).into_iter().flatten();
            all.find(|(pattern, _)| pattern.matches(image))
        };
        same.map(|(_, binding)| *binding)
            .or_else(|| self.repositories.get(&place).copied())
            .or_else(|| pattern().map(|(_, binding)| *binding))
    }
}
