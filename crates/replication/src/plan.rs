//! What an operator's change of the members would do: arithmetic, without a cluster.
//!
//! # Rules
//!
//! 1. *One at a time.* A learner, or voters in two sets, are a change under way: nothing else is
//!    begun. Only giving up a learner is always allowed, for it never voted.
//! 2. *Never below the quorum.* The voters that are left and alive must be a majority of those
//!    that are left.
//! 3. *What is under way is in the membership itself*, so that the next leader ends it: a learner
//!    is to vote, `Member::replaces` says instead of whom, two sets are to become the second.

use std::collections::BTreeSet;

use crate::error::MemberError;
use crate::types::ReplicaId;

/// An operator's change of the members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberChange {
    /// The node called `name` that waits at `peer` gets a vote.
    Add {
        /// Its name.
        name: String,
        /// Its peer address, `host:port`.
        peer: String,
    },
    /// The node called `name`, dead or alive, is no member any more.
    Remove {
        /// Its name.
        name: String,
    },
    /// The node called `new` that waits at `peer` gets the vote of `old`, in one change.
    Replace {
        /// Name of the voter.
        old: String,
        /// Name of the node that waits.
        new: String,
        /// Its peer address, `host:port`.
        peer: String,
    },
}

/// One member, as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) id: ReplicaId,
    pub(crate) name: String,
    pub(crate) peer: String,
    pub(crate) votes: bool,
    pub(crate) alive: bool,
    /// Entries it has yet to get.
    pub(crate) lag: u64,
}

/// The members at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) leader: ReplicaId,
    /// By id.
    pub(crate) seats: Vec<Seat>,
    /// Whether there is one set of voters and it is committed.
    pub(crate) settled: bool,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// For the operator, in order.
    pub(crate) steps: Vec<String>,
    pub(crate) action: Action,
}

/// What the leader has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// A node that waits is to ask to be taken in.
    Invite { name: String, peer: String, replaces: String },
    /// This leader is to be removed: another one must do it.
    MoveLeader,
    /// A learner is given up.
    Forget(ReplicaId),
    /// The voters that stay.
    Keep(BTreeSet<ReplicaId>),
}

/// What `change` would do, or why it may not be.
pub(crate) fn plan(view: &View, change: &MemberChange) -> Result<Plan, MemberError> {
    match change {
        MemberChange::Add { name, peer } => plan_add(view, name, peer),
        MemberChange::Remove { name } => plan_remove(view, name),
        MemberChange::Replace { old, new, peer } => plan_replace(view, old, new, peer),
    }
}

fn plan_add(view: &View, name: &str, peer: &str) -> Result<Plan, MemberError> {
    view.is_free(name, peer)?;
    view.is_idle()?;
    let namesake = view.seats.iter().any(|seat| seat.votes && seat.name == name);
    let voters = view.voters().count() + usize::from(!namesake);
    let alive = view.alive().count() + 1;
    let vote = if namesake { "takes the vote of its dead namesake" } else { "votes" };
    let steps = vec![
        format!("{name} at {peer} is taken in as a learner and gets what the others hold"),
        format!("once it has caught up it {vote}: {}", arithmetic(voters, alive)),
    ];
    let (name, peer) = (name.to_owned(), peer.to_owned());
    Ok(Plan { steps, action: Action::Invite { name, peer, replaces: String::new() } })
}

fn plan_remove(view: &View, name: &str) -> Result<Plan, MemberError> {
    let named =
        |votes| view.seats.iter().find(move |seat| seat.votes == votes && seat.name == name);
    if let Some(learner) = named(false) {
        let steps = vec![format!("{name} is given up: it has not voted yet")];
        return Ok(Plan { steps, action: Action::Forget(learner.id) });
    }
    let seat = named(true).ok_or_else(|| unknown(view, name))?;
    view.is_idle()?;
    let voters = view.voters().count();
    if voters == 1 {
        return Err(MemberError::Refused(format!("{name} is the last voter: refused")));
    }
    let alive = view.alive().count();
    let left = alive - usize::from(seat.alive);
    if left < majority(voters - 1) {
        let (left_voters, need) = (voters - 1, majority(voters - 1));
        return Err(MemberError::Refused(format!(
            "{voters} voters, {alive} alive; after removing {name}: {left_voters} voters, need \
             {need}, alive {left}: refused"
        )));
    }
    let removed = format!("{name} is removed: {}", arithmetic(voters - 1, left));
    if seat.id == view.leader {
        let steps = vec![format!("{name} leads: another voter takes over"), removed];
        return Ok(Plan { steps, action: Action::MoveLeader });
    }
    let keep = view.voters().map(|voter| voter.id).filter(|id| *id != seat.id).collect();
    Ok(Plan { steps: vec![removed], action: Action::Keep(keep) })
}

fn plan_replace(view: &View, old: &str, new: &str, peer: &str) -> Result<Plan, MemberError> {
    let seat = view.voters().find(|seat| seat.name == old).ok_or_else(|| unknown(view, old))?;
    if old == new {
        return Err(MemberError::Refused(format!(
            "{new} is the name of the node to be replaced: start it again, it takes its place by \
             itself"
        )));
    }
    if view.seats.iter().any(|seat| seat.name == new) {
        return Err(MemberError::Refused(format!("the name {new} is in use by a member")));
    }
    view.is_free(new, peer)?;
    view.is_idle()?;
    let alive = view.alive().count() - usize::from(seat.alive) + 1;
    let mut steps =
        vec![format!("{new} at {peer} is taken in as a learner and gets what the others hold")];
    if seat.id == view.leader {
        steps.push(format!("{old} leads: another voter takes over"));
    }
    let change = arithmetic(view.voters().count(), alive);
    steps.push(format!("the vote of {old} goes to {new} in one change: {change}"));
    let (name, peer) = (new.to_owned(), peer.to_owned());
    Ok(Plan { steps, action: Action::Invite { name, peer, replaces: old.to_owned() } })
}

impl View {
    fn voters(&self) -> impl Iterator<Item = &Seat> {
        self.seats.iter().filter(|seat| seat.votes)
    }

    fn alive(&self) -> impl Iterator<Item = &Seat> {
        self.voters().filter(|seat| seat.alive)
    }

    /// Whether a node that waits may have the name and the address.
    fn is_free(&self, name: &str, peer: &str) -> Result<(), MemberError> {
        let taken = self.seats.iter().find(|seat| seat.alive && seat.name == name);
        if let Some(seat) = taken {
            let at = &seat.peer;
            return Err(MemberError::Refused(format!(
                "the name {name} is in use by the node at {at}"
            )));
        }
        match self.seats.iter().find(|seat| seat.name != name && seat.peer == peer) {
            Some(seat) => {
                let other = &seat.name;
                Err(MemberError::Refused(format!("{peer} is the peer address of {other}")))
            }
            None => Ok(()),
        }
    }

    /// Whether no other change is under way.
    fn is_idle(&self) -> Result<(), MemberError> {
        if let Some(learner) = self.seats.iter().find(|seat| !seat.votes) {
            let Seat { name, lag, alive, .. } = learner;
            let how = if *alive {
                format!("{name} is catching up, {lag} entries behind")
            } else {
                format!(
                    "{name} is to join and does not answer (to give it up: member remove {name})"
                )
            };
            return Err(MemberError::Refused(format!("another change is under way: {how}")));
        }
        if self.settled {
            return Ok(());
        }
        Err(MemberError::Refused("another change is under way: the voters are changing".to_owned()))
    }
}

fn unknown(view: &View, name: &str) -> MemberError {
    let names: BTreeSet<_> = view.seats.iter().map(|seat| seat.name.as_str()).collect();
    let names = names.into_iter().collect::<Vec<_>>().join(", ");
    MemberError::Unknown(format!("there is no voter called {name}; the members are {names}"))
}

/// How many of `voters` must agree.
pub(crate) fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

fn arithmetic(voters: usize, alive: usize) -> String {
    let need = majority(voters);
    let plural = if voters == 1 { "" } else { "s" };
    match alive.saturating_sub(need) {
        0 => format!("{voters} voter{plural}, need {need}, alive {alive}: none may be lost"),
        spare => format!("{voters} voters, need {need}, alive {alive}: any {spare} may be lost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Voters `alive` and `dead` in the order of their names, n1 leading.
    fn view(members: &[(&str, bool)]) -> View {
        let seats = members.iter().zip(1..).map(|((name, alive), id)| Seat {
            id,
            name: (*name).to_owned(),
            peer: format!("h{id}:1"),
            votes: true,
            alive: *alive,
            lag: 0,
        });
        View { leader: 1, seats: seats.collect(), settled: true }
    }

    fn learner(alive: bool) -> Seat {
        let (name, peer) = ("n9".to_owned(), "h9:1".to_owned());
        Seat { id: 9, name, peer, votes: false, alive, lag: 12 }
    }

    fn add(name: &str, peer: &str) -> MemberChange {
        MemberChange::Add { name: name.to_owned(), peer: peer.to_owned() }
    }

    fn remove(name: &str) -> MemberChange {
        MemberChange::Remove { name: name.to_owned() }
    }

    fn replace(old: &str, new: &str, peer: &str) -> MemberChange {
        let [old, new, peer] = [old, new, peer].map(str::to_owned);
        MemberChange::Replace { old, new, peer }
    }

    type Members = &'static [(&'static str, bool)];

    const ALL: Members = &[("n1", true), ("n2", true), ("n3", true)];
    const N3_DEAD: Members = &[("n1", true), ("n2", true), ("n3", false)];

    #[test]
    fn arithmetic_of_what_is_done() {
        let cases: &[(Members, MemberChange, &str)] = &[
            (ALL, remove("n2"), "n2 is removed: 2 voters, need 2, alive 2: none may be lost"),
            (N3_DEAD, remove("n3"), "n3 is removed: 2 voters, need 2, alive 2: none may be lost"),
            (&[("n1", true), ("n2", true)], remove("n2"), "1 voter, need 1, alive 1: none"),
            (ALL, add("n4", "h4:1"), "4 voters, need 3, alive 4: any 1 may be lost"),
            (&[("n1", true)], add("n2", "h2:1"), "2 voters, need 2, alive 2: none may be lost"),
            (N3_DEAD, add("n3", "h5:1"), "namesake: 3 voters, need 2, alive 3: any 1 may be lost"),
            (N3_DEAD, replace("n3", "n4", "h4:1"), "3 voters, need 2, alive 3: any 1 may be lost"),
            (ALL, replace("n2", "n4", "h4:1"), "3 voters, need 2, alive 3: any 1 may be lost"),
        ];
        for (members, change, want) in cases {
            let plan = plan(&view(members), change).unwrap();
            let last = plan.steps.last().unwrap();
            assert!(last.contains(want), "case: {change:?}: {last}");
        }
    }

    #[test]
    fn refusals_say_why() {
        let refused = |why: &str| MemberError::Refused(why.to_owned());
        let cases: &[(Members, MemberChange, MemberError)] = &[
            (
                N3_DEAD,
                remove("n1"),
                refused("3 voters, 2 alive; after removing n1: 2 voters, need 2, alive 1: refused"),
            ),
            (&[("n1", true)], remove("n1"), refused("n1 is the last voter: refused")),
            (ALL, add("n2", "h9:1"), refused("the name n2 is in use by the node at h2:1")),
            (ALL, add("n4", "h2:1"), refused("h2:1 is the peer address of n2")),
            (ALL, replace("n1", "n2", "h9:1"), refused("the name n2 is in use by a member")),
            (ALL, replace("n1", "n4", "h2:1"), refused("h2:1 is the peer address of n2")),
        ];
        for (members, change, want) in cases {
            assert_eq!(plan(&view(members), change).as_ref(), Err(want), "case: {change:?}");
        }
        for change in [remove("n7"), replace("n7", "n8", "h8:1")] {
            let have = plan(&view(ALL), &change);
            assert!(matches!(have, Err(MemberError::Unknown(_))), "case: {change:?}: {have:?}");
        }
        let same = plan(&view(ALL), &replace("n1", "n1", "h9:1"));
        assert!(matches!(same, Err(MemberError::Refused(why)) if why.contains("by itself")));
    }

    #[test]
    fn one_change_at_a_time() {
        let mut busy = view(ALL);
        busy.seats.push(learner(true));
        let mut stuck = view(ALL);
        stuck.seats.push(learner(false));
        let joint = View { settled: false, ..view(ALL) };
        for change in [add("n4", "h4:1"), remove("n2"), replace("n2", "n4", "h4:1")] {
            for (view, want) in [
                (&busy, "n9 is catching up, 12 entries"),
                (&stuck, "give it up"),
                (&joint, "voters"),
            ] {
                let have = plan(view, &change).unwrap_err().to_string();
                assert!(have.contains(want), "case: {change:?}: {have}");
            }
        }
        // Whoever has not voted can be given up at any time.
        for view in [busy, stuck] {
            assert_eq!(plan(&view, &remove("n9")).unwrap().action, Action::Forget(9));
        }
    }

    #[test]
    fn a_leader_does_not_remove_itself() {
        assert_eq!(plan(&view(ALL), &remove("n1")).unwrap().action, Action::MoveLeader);
        let keep = BTreeSet::from([1, 3]);
        assert_eq!(plan(&view(ALL), &remove("n2")).unwrap().action, Action::Keep(keep));
    }
}
