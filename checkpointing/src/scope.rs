//! Which slots of a state a segment sees.

use std::collections::BTreeMap;

use crate::Slot;

/// A part of a model, whose segments see the slots of that part alone, and what they borrow from others by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    name: &'static str,
    borrowed: Vec<(&'static str, Slot)>,
}

impl Scope {
    /// The part of this name; empty for a chain of one part.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            borrowed: Vec::new(),
        }
    }

    /// Its segments also read the slot of another part, under `name`. They cannot write it.
    pub fn borrowing(mut self, name: &'static str, slot: Slot) -> Self {
        self.borrowed.push((name, slot));
        self
    }

    /// The part's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Takes out of `all` what its segments see, under their own names. What is borrowed stays there, too.
    pub(crate) fn enter<T: Clone>(&self, all: &mut BTreeMap<Slot, T>) -> BTreeMap<Slot, T> {
        let own = all.extract_if(.., |slot, _| slot.scope == self.name);
        let mut local: BTreeMap<Slot, T> = own.map(|(slot, x)| (slot.name.into(), x)).collect();
        for (name, slot) in self.borrowed() {
            local.extend(all.get(&slot).map(|x| (name.into(), x.clone())));
        }
        local
    }

    /// Puts back what its segments give; what is borrowed is not theirs to write.
    pub(crate) fn leave<T>(&self, all: &mut BTreeMap<Slot, T>, local: BTreeMap<Slot, T>) {
        let is_borrowed = |slot: &Slot| self.borrowed().any(|(name, _)| name == slot.name);
        let local = local.into_iter().filter(|(slot, _)| !is_borrowed(slot));
        all.extend(local.map(|(slot, x)| (self.resolve(slot.name), x)));
    }

    pub(crate) fn borrowed(&self) -> impl Iterator<Item = (&'static str, Slot)> {
        self.borrowed.iter().copied()
    }

    /// The slot that a segment of this part knows by `name`.
    pub(crate) fn resolve(&self, name: &'static str) -> Slot {
        let borrowed = self.borrowed().find(|(local, _)| *local == name);
        borrowed.map_or(
            Slot {
                scope: self.name,
                name,
            },
            |(_, slot)| slot,
        )
    }
}
