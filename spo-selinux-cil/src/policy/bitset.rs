//! Sets of small numbers, for members of attributes and categories of levels.

/// A set of numbers, one bit each. Sets of different lengths compare by their members.
#[derive(Clone, Debug, Default)]
pub struct BitSet(Vec<u64>);

impl BitSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// The numbers below `n`.
    pub fn below(n: usize) -> Self {
        let mut words = vec![u64::MAX; n / 64];
        if !n.is_multiple_of(64) {
            words.push((1 << (n % 64)) - 1);
        }
        Self(words)
    }

    /// Adds a number.
    pub fn insert(&mut self, n: usize) {
        if n / 64 >= self.0.len() {
            self.0.resize(n / 64 + 1, 0);
        }
        self.0[n / 64] |= 1 << (n % 64);
    }

    /// Whether a number is in the set.
    pub fn contains(&self, n: usize) -> bool {
        self.0.get(n / 64).is_some_and(|w| w >> (n % 64) & 1 == 1)
    }

    /// Adds the members of another set.
    pub fn union(&mut self, other: &Self) {
        if other.0.len() > self.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (a, b) in self.0.iter_mut().zip(&other.0) {
            *a |= b;
        }
    }

    /// Keeps what the other set has too.
    pub fn intersect(&mut self, other: &Self) {
        self.0.truncate(other.0.len());
        for (a, b) in self.0.iter_mut().zip(&other.0) {
            *a &= b;
        }
    }

    /// Removes the members of another set.
    pub fn subtract(&mut self, other: &Self) {
        for (a, b) in self.0.iter_mut().zip(&other.0) {
            *a &= !b;
        }
    }

    /// Whether the sets have a member in common.
    pub fn intersects(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }

    /// Whether every member is in the other set.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.iter().enumerate().all(|(i, a)| a & !other.0.get(i).copied().unwrap_or(0) == 0)
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&w| w == 0)
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.0.iter().map(|w| w.count_ones() as usize).sum()
    }

    /// The members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(i, &w)| {
            std::iter::successors((w != 0).then_some(w), |w| {
                let rest = w & (w - 1);
                (rest != 0).then_some(rest)
            })
            .map(move |w| i * 64 + w.trailing_zeros() as usize)
        })
    }
}

impl PartialEq for BitSet {
    fn eq(&self, other: &Self) -> bool {
        self.is_subset(other) && other.is_subset(self)
    }
}

impl Eq for BitSet {}

impl FromIterator<usize> for BitSet {
    fn from_iter<I: IntoIterator<Item = usize>>(numbers: I) -> Self {
        let mut set = Self::new();
        for n in numbers {
            set.insert(n);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn behaves_as_a_set_of_numbers(a: Vec<u8>, b: Vec<u8>) {
            let set = |v: &[u8]| v.iter().map(|&n| usize::from(n)).collect::<BTreeSet<_>>();
            let bits = |v: &[u8]| v.iter().map(|&n| usize::from(n)).collect::<BitSet>();
            let (sa, sb, ba, bb) = (set(&a), set(&b), bits(&a), bits(&b));
            let mut u = ba.clone();
            u.union(&bb);
            prop_assert!(u.iter().eq((&sa | &sb).into_iter()));
            let mut i = ba.clone();
            i.intersect(&bb);
            prop_assert!(i.iter().eq((&sa & &sb).into_iter()));
            let mut d = ba.clone();
            d.subtract(&bb);
            prop_assert!(d.iter().eq((&sa - &sb).into_iter()));
            prop_assert_eq!(ba.intersects(&bb), !sa.is_disjoint(&sb));
            prop_assert_eq!(ba.is_subset(&bb), sa.is_subset(&sb));
            prop_assert_eq!(ba == bb, sa == sb);
            prop_assert_eq!(ba.len(), sa.len());
        }
    }
}
