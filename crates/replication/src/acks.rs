//! Who has confirmed this leader, and when what was confirmed had been sent.
//!
//! A follower that accepts a message will not vote for anybody else for the length of a lease, and
//! has not done so before. So a quorum of answers to messages sent after a moment proves that nobody
//! else had committed anything by then (Raft dissertation 6.4).
//!
//! Each answer belongs to one message here: streams are answered in order. openraft's own account
//! (`last_quorum_acked`, `ReadPolicy`) takes an answer for every message that ends at the same
//! entry, so that a leader that stood still between two such messages, and was replaced meanwhile,
//! took the answer to the first for one to the second, and answered reads. Simulation, seed 30.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use openraft::ServerState;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use crate::plan::majority;
use crate::types::{LeaderId, Metrics, ReplicaId};

/// The latest confirmation of each follower.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    last: Mutex<BTreeMap<ReplicaId, Message>>,
    changed: Notify,
}

/// Messages of one stream without an answer, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Unanswered(VecDeque<Message>);

/// An append: who led when it was sent, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message {
    leader: LeaderId,
    sent_at: Instant,
}

impl Unanswered {
    /// A message is about to be sent.
    pub(crate) fn push(&mut self, leader: LeaderId) {
        self.0.push_back(Message { leader, sent_at: Instant::now() });
    }

    /// The one that has been answered.
    pub(crate) fn pop(&mut self) -> Option<Message> {
        self.0.pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Acks {
    /// `follower` has accepted `message`.
    pub(crate) fn confirm(&self, follower: ReplicaId, message: Message) {
        let mut last = self.last.lock();
        last.retain(|_, known| message.leader <= known.leader);
        let known = last.entry(follower).or_insert(message);
        if (known.leader, known.sent_at) < (message.leader, message.sent_at) {
            *known = message;
        }
        drop(last);
        self.changed.notify_waiters();
    }

    /// Resolves at the next confirmation.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// When what a quorum has confirmed had been sent, at least; `None` if this node does not lead,
    /// or has not applied an entry of its own term.
    pub(crate) fn quorum(&self, metrics: &Metrics, now: Instant) -> Option<Instant> {
        let leads = metrics.state == ServerState::Leader && metrics.vote.committed;
        let leader = metrics.vote.leader_id;
        if !leads || metrics.last_applied.is_none_or(|last| last.leader_id != leader) {
            return None;
        }
        let last = self.last.lock();
        let sent_at = |id: &ReplicaId| match last.get(id) {
            _ if *id == metrics.id => Some(now),
            Some(message) if message.leader == leader => Some(message.sent_at),
            Some(_) | None => None,
        };
        let configs = metrics.membership_config.membership().get_joint_config();
        // In a change of the voters both sets must agree; `None` is less than any time.
        configs.iter().map(|voters| latest_of_majority(voters, sent_at)).min().flatten()
    }
}

/// The time that a majority has reached.
fn latest_of_majority(
    voters: &BTreeSet<ReplicaId>,
    reached: impl Fn(&ReplicaId) -> Option<Instant>,
) -> Option<Instant> {
    let mut times: Vec<_> = voters.iter().filter_map(reached).collect();
    times.sort_unstable_by(|one, other| other.cmp(one));
    times.get(majority(voters.len()).checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn message(term: u64, sent_at: Instant) -> Message {
        Message { leader: LeaderId { term, node_id: 1 }, sent_at }
    }

    #[test]
    fn a_majority_has_reached_the_time_of_its_slowest() {
        let begin = Instant::now();
        let after = |secs| begin + Duration::from_secs(secs);
        let voters = BTreeSet::from([1, 2, 3, 4, 5]);
        let times = BTreeMap::from([(1, after(9)), (3, after(5)), (4, after(7))]);
        assert_eq!(latest_of_majority(&voters, |id| times.get(id).copied()), Some(after(5)));
        let times = BTreeMap::from([(1, after(9)), (4, after(7))]);
        assert_eq!(latest_of_majority(&voters, |id| times.get(id).copied()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn each_answer_belongs_to_one_message() {
        let begin = Instant::now();
        let mut unanswered = Unanswered::default();
        unanswered.push(message(2, begin).leader);
        tokio::time::advance(Duration::from_secs(1)).await;
        unanswered.push(message(2, begin).leader);
        let acks = Acks::default();
        acks.confirm(7, unanswered.pop().unwrap());
        assert_eq!(acks.last.lock()[&7].sent_at, begin, "the second has no answer yet");
        assert!(!unanswered.is_empty());
    }

    #[test]
    fn what_another_leader_sent_confirms_nobody() {
        let begin = Instant::now();
        let acks = Acks::default();
        acks.confirm(7, message(2, begin));
        acks.confirm(8, message(3, begin));
        assert_eq!(acks.last.lock().keys().copied().collect::<Vec<_>>(), [8]);
        acks.confirm(8, message(2, begin + Duration::from_secs(1)));
        assert_eq!(acks.last.lock()[&8].leader.term, 3);
    }
}
