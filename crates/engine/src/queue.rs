//! The eviction order: a doubly linked list in one vector.
//!
//! Every item has exactly one node; a write or a touch moves it to the back. Nothing here is ever
//! stale, so that no operation has to clean up after many others. Which node an item has is this
//! replica's own affair; only the order of the items is replicated.
#![expect(
    clippy::indexing_slicing,
    reason = "a node that does not exist is our bug, and going on would corrupt the order"
)]

/// Items by age, oldest first.
#[derive(Debug)]
pub(crate) struct Queue {
    nodes: Vec<Node>,
    front: NodeIndex,
    back: NodeIndex,
    /// Head of the list of free nodes, linked by `next`.
    free: NodeIndex,
}

/// Place of a node in the vector; stays the same for the life of the item.
pub(crate) type NodeIndex = u32;

#[derive(Debug, Clone, Copy)]
struct Node {
    prev: NodeIndex,
    next: NodeIndex,
    /// Of the item's key: leads to the item's slot.
    hash: u64,
}

impl Queue {
    pub(crate) fn new() -> Self {
        Self { nodes: Vec::new(), front: NONE, back: NONE, free: NONE }
    }

    /// Adds an item as the newest.
    pub(crate) fn push_back(&mut self, hash: u64) -> NodeIndex {
        let index = if self.free == NONE {
            self.nodes.push(Node { prev: NONE, next: NONE, hash });
            let index = NodeIndex::try_from(self.nodes.len() - 1).unwrap_or(NONE);
            assert!(index != NONE, "more items than nodes can be numbered");
            index
        } else {
            let index = self.free;
            self.free = self.nodes[index as usize].next;
            index
        };
        self.nodes[index as usize].hash = hash;
        self.link_back(index);
        index
    }

    /// Makes an item the newest.
    pub(crate) fn move_to_back(&mut self, index: NodeIndex) {
        if index != self.back {
            self.unlink(index);
            self.link_back(index);
        }
    }

    /// Forgets an item.
    pub(crate) fn remove(&mut self, index: NodeIndex) {
        self.unlink(index);
        self.nodes[index as usize].next = self.free;
        self.free = index;
    }

    /// The oldest item: its node and the hash of its key.
    pub(crate) fn front(&self) -> Option<(NodeIndex, u64)> {
        (self.front != NONE).then(|| (self.front, self.hash(self.front)))
    }

    /// The hash of an item's key.
    pub(crate) fn hash(&self, index: NodeIndex) -> u64 {
        self.nodes[index as usize].hash
    }

    fn link_back(&mut self, index: NodeIndex) {
        let node = &mut self.nodes[index as usize];
        node.prev = self.back;
        node.next = NONE;
        match self.back {
            NONE => self.front = index,
            back => self.nodes[back as usize].next = index,
        }
        self.back = index;
    }

    fn unlink(&mut self, index: NodeIndex) {
        let Node { prev, next, .. } = self.nodes[index as usize];
        match prev {
            NONE => self.front = next,
            prev => self.nodes[prev as usize].next = next,
        }
        match next {
            NONE => self.back = prev,
            next => self.nodes[next as usize].prev = prev,
        }
    }
}

const NONE: NodeIndex = NodeIndex::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    /// Method: the same random operations on a plain vector.
    #[test]
    fn behaves_as_a_vector() {
        let mut rng = crate::testing::Rng(1);
        let mut queue = Queue::new();
        let mut plain: Vec<(NodeIndex, u64)> = Vec::new();
        for step in 0..20_000 {
            let at = rng.index(plain.len().max(1));
            match rng.below(3) {
                0 => plain.push((queue.push_back(step), step)),
                1 if !plain.is_empty() => {
                    let moved = plain.remove(at);
                    queue.move_to_back(moved.0);
                    plain.push(moved);
                }
                2 if !plain.is_empty() => queue.remove(plain.remove(at).0),
                _ => {}
            }
            assert_eq!(queue.front(), plain.first().copied(), "step {step}");
        }
        for (node, hash) in plain {
            assert_eq!(queue.front(), Some((node, hash)));
            queue.remove(node);
        }
        assert_eq!(queue.front(), None);
    }
}
