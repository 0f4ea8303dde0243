//! A hash table that a frozen view shares and the writer copies piece by piece.
//!
//! What is written first after a freeze is copied first, with a reference count in every value to
//! raise, each a miss of the processor's cache. In a table of two thousand items that takes as long
//! as a hundred writes, and a batch may meet as many tables as it has commands. So a table is made
//! of parts with some twenty items each, and one write copies one of them.

use std::sync::Arc;

use hashbrown::HashTable;

use crate::shared::{Slot, hash};

/// Items by the hash of their keys. A clone shares the parts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    /// None, or a power of two of them.
    parts: Vec<Arc<Part>>,
    len: usize,
}

type Part = HashTable<Slot>;

impl Table {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.parts.iter().flat_map(|part| part.iter())
    }

    pub(crate) fn find(&self, hash: u64, is_it: impl FnMut(&Slot) -> bool) -> Option<&Slot> {
        self.parts.get(part_of(hash, self.parts.len()))?.find(hash, is_it)
    }

    /// Copies the part that the item is in if a clone shares it.
    pub(crate) fn find_mut(
        &mut self,
        hash: u64,
        is_it: impl FnMut(&Slot) -> bool,
    ) -> Option<&mut Slot> {
        let part = part_of(hash, self.parts.len());
        Arc::make_mut(self.parts.get_mut(part)?).find_mut(hash, is_it)
    }

    /// Adds an item whose key is not there.
    pub(crate) fn insert(&mut self, hash: u64, slot: Slot) {
        if self.parts.len() * PART_LEN <= self.len {
            self.rebuild((2 * self.parts.len()).clamp(1, PARTS_MAX));
        }
        let part = part_of(hash, self.parts.len());
        if let Some(part) = self.parts.get_mut(part) {
            Arc::make_mut(part).insert_unique(hash, slot, rehash);
            self.len += 1;
        }
    }

    pub(crate) fn remove(&mut self, hash: u64, is_it: impl FnMut(&Slot) -> bool) -> Option<Slot> {
        let part = part_of(hash, self.parts.len());
        let entry = Arc::make_mut(self.parts.get_mut(part)?).find_entry(hash, is_it).ok()?;
        let (slot, _) = entry.remove();
        self.len -= 1;
        // Half as many would be a quarter full: the next items do not undo it.
        if 1 < self.parts.len() && self.len * 8 < self.parts.len() * PART_LEN {
            self.rebuild(self.parts.len() / 2);
        }
        Some(slot)
    }

    /// Spreads the items over `count` parts.
    fn rebuild(&mut self, count: usize) {
        if count == self.parts.len() {
            return;
        }
        let mut parts = vec![Part::new(); count];
        for old in std::mem::take(&mut self.parts) {
            for slot in Arc::unwrap_or_clone(old) {
                let hash = rehash(&slot);
                if let Some(part) = parts.get_mut(part_of(hash, count)) {
                    part.insert_unique(hash, slot, rehash);
                }
            }
        }
        self.parts = parts.into_iter().map(Arc::new).collect();
    }
}

/// Which of `count` parts, a power of two of them; any number if there are none.
fn part_of(hash: u64, count: usize) -> usize {
    (hash >> PART_SHIFT) as usize & count.wrapping_sub(1)
}

pub(crate) fn rehash(slot: &Slot) -> u64 {
    hash(slot.data.key())
}

/// So many items a part on average at most: they fill a table of 32 places.
const PART_LEN: usize = 24;
/// As many as there are bits for between those that choose a segment and those that hashbrown uses.
const PARTS_MAX: usize = 1 << 16;
const PART_SHIFT: u32 = 28;

#[cfg(test)]
mod tests {
    use super::*;

    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use crate::access::Access;
    use crate::item::{Data, Deadline, Marks};
    use crate::queue::Queue;
    use crate::{CasUnique, UnixMillis};

    fn slot(key: u16, order: u64) -> Slot {
        let node = Queue::new().push_back(0);
        let data = Data::new(&mut Vec::new(), &key.to_le_bytes(), [&[], &[]]);
        let (deadline, cas) = (Deadline::NEVER, CasUnique(order));
        let (marks, access) = (Marks::NONE, Access::written(UnixMillis(0)));
        Slot { data, deadline, cas, order, content: 0, flags: 0, node, marks, access }
    }

    fn hash_of(key: u16) -> u64 {
        hash(&key.to_le_bytes())
    }

    fn orders(table: &Table) -> BTreeMap<Vec<u8>, u64> {
        table.iter().map(|slot| (slot.data.key().to_vec(), slot.order)).collect()
    }

    proptest! {
        /// Keys come, change and go; every view frozen on the way stays what it was.
        #[test]
        fn it_is_a_map_and_its_clones_do_not_change(
            steps in prop::collection::vec((0..3_u8, 0..2_000_u16), 1..4_000),
        ) {
            let (mut table, mut model) = (Table::default(), BTreeMap::new());
            let mut frozen = Vec::new();
            for (step, (what, key)) in steps.into_iter().enumerate() {
                let (order, bytes) = (step as u64, key.to_le_bytes());
                let is_it = |slot: &Slot| slot.data.key() == bytes;
                match (what, model.contains_key(bytes.as_slice())) {
                    (0 | 1, false) => {
                        table.insert(hash_of(key), slot(key, order));
                        model.insert(bytes.to_vec(), order);
                    }
                    (0 | 1, true) => {
                        let found = table.find_mut(hash_of(key), is_it);
                        found.expect("it is there").order = order;
                        model.insert(bytes.to_vec(), order);
                    }
                    (_, _) => {
                        let removed = table.remove(hash_of(key), is_it);
                        prop_assert_eq!(removed.map(|slot| slot.order), model.remove(bytes.as_slice()));
                    }
                }
                prop_assert_eq!(table.len, model.len());
                let found = table.find(hash_of(key), is_it).map(|slot| slot.order);
                prop_assert_eq!(found, model.get(bytes.as_slice()).copied());
                if step % 1_000 == 500 {
                    frozen.push((table.clone(), model.clone()));
                }
            }
            frozen.push((table, model));
            for (table, model) in &frozen {
                prop_assert_eq!(&orders(table), model);
            }
        }
    }

    #[test]
    fn a_write_beside_a_clone_copies_one_part() {
        let mut table = Table::default();
        (0..2_000).for_each(|key| table.insert(hash_of(key), slot(key, 0)));
        let frozen = table.clone();
        table.find_mut(hash_of(7), |slot| slot.data.key() == 7_u16.to_le_bytes()).unwrap().order =
            1;
        let same = table.parts.iter().zip(&frozen.parts).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert_eq!(same + 1, table.parts.len());
        assert!(table.parts.iter().all(|part| part.len() < 3 * PART_LEN));
    }

    #[test]
    fn parts_go_with_their_items() {
        let mut table = Table::default();
        (0..2_000).for_each(|key| table.insert(hash_of(key), slot(key, 0)));
        assert_eq!(table.parts.len(), 128);
        for key in 0..2_000_u16 {
            table.remove(hash_of(key), |slot| slot.data.key() == key.to_le_bytes()).unwrap();
        }
        assert_eq!(table.parts.len(), 1);
    }
}
