//! What watches say, reduced to what is of interest before it is kept.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use kube::runtime::watcher::Event;

/// Values by key, from several watches that each have a part of the keys. A watch that starts again replaces its own
/// part once its list is complete.
#[derive(Debug)]
pub struct Mirror<K, V> {
    values: BTreeMap<K, (usize, V)>,
    /// The keys that a list in progress has named so far, by watch.
    lists: BTreeMap<usize, BTreeSet<K>>,
    complete: BTreeSet<usize>,
}

impl<K, V> Default for Mirror<K, V> {
    fn default() -> Self {
        Self { values: BTreeMap::new(), lists: BTreeMap::new(), complete: BTreeSet::new() }
    }
}

/// A key whose value changed, and what it was.
pub type Change<K, V> = (K, Option<V>);

impl<K: Ord + Clone, V: PartialEq> Mirror<K, V> {
    /// Takes note of what a watch says; a key without value is one that is of no interest. Returns what changed.
    pub fn apply(&mut self, watch: usize, event: Event<(K, Option<V>)>) -> Vec<Change<K, V>> {
        match event {
            Event::Init => {
                self.lists.insert(watch, BTreeSet::new());
                Vec::new()
            }
            Event::InitApply((key, value)) => {
                if value.is_some() {
                    self.lists.entry(watch).or_default().insert(key.clone());
                }
                self.set(watch, key, value)
            }
            Event::InitDone => {
                let listed = self.lists.remove(&watch).unwrap_or_default();
                self.complete.insert(watch);
                let gone = self.values.iter().filter(|(key, (of, _))| *of == watch && !listed.contains(key));
                let gone: Vec<K> = gone.map(|(key, _)| key.clone()).collect();
                gone.into_iter()
                    .filter_map(|key| {
                        let (_, before) = self.values.remove(&key)?;
                        Some((key, Some(before)))
                    })
                    .collect()
            }
            Event::Apply((key, value)) => self.set(watch, key, value),
            Event::Delete((key, _)) => self.set(watch, key, None),
        }
    }

    fn set(&mut self, watch: usize, key: K, value: Option<V>) -> Vec<Change<K, V>> {
        let before = match value {
            Some(value) => {
                if self.values.get(&key).is_some_and(|(_, before)| *before == value) {
                    return Vec::new();
                }
                self.values.insert(key.clone(), (watch, value))
            }
            None => match self.values.remove(&key) {
                None => return Vec::new(),
                before => before,
            },
        };
        vec![(key, before.map(|(_, before)| before))]
    }

    /// Whether so many watches have listed what there is.
    pub fn is_complete(&self, watches: usize) -> bool {
        self.complete.len() >= watches
    }

    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.values.get(key).map(|(_, value)| value)
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.values.get_mut(key).map(|(_, value)| value)
    }

    /// Everything, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.values.iter().map(|(key, (_, value))| (key, value))
    }
}

impl<K: Ord, V> Mirror<K, V> {
    /// Everything from a key on, by key.
    pub fn from(&self, key: &K) -> impl Iterator<Item = (&K, &V)> {
        self.values.range((Bound::Included(key), Bound::Unbounded)).map(|(key, (_, value))| (key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_once() {
        let mut mirror = Mirror::default();
        assert_eq!(mirror.apply(0, Event::Apply(("a", Some(1)))), [("a", None)]);
        assert_eq!(mirror.apply(0, Event::Apply(("a", Some(1)))), []);
        assert_eq!(mirror.apply(0, Event::Apply(("a", Some(2)))), [("a", Some(1))]);
        assert_eq!(mirror.apply(0, Event::Delete(("a", Some(2)))), [("a", Some(2))]);
        assert_eq!(mirror.apply(0, Event::Delete(("a", None))), []);
        assert_eq!(mirror.apply(0, Event::Apply(("b", None))), [], "of no interest");
    }

    #[test]
    fn a_list_replaces_the_part_of_its_own_watch() {
        let mut mirror = Mirror::default();
        for (watch, key) in [(0, "a"), (0, "b"), (1, "c")] {
            mirror.apply(watch, Event::Apply((key, Some(1))));
        }
        assert!(!mirror.is_complete(1));
        mirror.apply(0, Event::Init);
        assert_eq!(mirror.apply(0, Event::InitApply(("b", Some(1)))), []);
        assert_eq!(mirror.get(&"a"), Some(&1), "half a list replaces nothing");
        assert_eq!(mirror.apply(0, Event::InitDone), [("a", Some(1))]);
        assert_eq!(mirror.iter().map(|(key, _)| *key).collect::<Vec<_>>(), ["b", "c"]);
        assert!(mirror.is_complete(1) && !mirror.is_complete(2));
    }

    #[test]
    fn what_lost_its_interest_in_a_list_is_gone() {
        let mut mirror = Mirror::default();
        mirror.apply(0, Event::Apply(("a", Some(1))));
        mirror.apply(0, Event::Init);
        assert_eq!(mirror.apply(0, Event::InitApply(("a", None))), [("a", Some(1))]);
        assert_eq!(mirror.apply(0, Event::InitDone), []);
    }
}
