//! Members come and go under load, and what is unsafe is refused.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cluster_tests::{
    Fleet, Journal, Liveness, PacedWriter, TextClient, Violations, alone, http, wait_for,
};

/// Runs `story` while a writer is at each of `ports`; then everything that was acknowledged is
/// read at each of `readers`, and no client may have seen an error.
fn under_load(
    fleet: &Fleet,
    writers: &[usize],
    readers: &[usize],
    story: impl FnOnce(&Journal) -> Result<()>,
) -> Result<()> {
    let (journal, violations) = (Journal::default(), Violations::default());
    let liveness = Liveness::new(8);
    let stop = AtomicBool::new(false);
    let told = thread::scope(|scope| {
        for node in writers {
            let writer = PacedWriter {
                prefix: "w",
                node: *node,
                port: fleet.client_port(*node),
                period: Duration::from_millis(5),
                journal: &journal,
                liveness: &liveness,
                violations: &violations,
            };
            let stop = &stop;
            scope.spawn(move || writer.run(stop));
        }
        let told = story(&journal);
        stop.store(true, Ordering::SeqCst);
        told
    });
    told?;
    violations.check()?;
    println!("acknowledged: {}, longest {:?}", journal.acknowledged(), journal.take_longest());
    for reader in readers {
        let mut client = TextClient::connect(fleet.client_port(*reader))?;
        journal.verify(&mut client).with_context(|| format!("at n{}", reader + 1))?;
    }
    Ok(())
}

fn wait_more(journal: &Journal) -> Result<()> {
    let wanted = journal.acknowledged() + 50;
    wait_for("acknowledged writes", Duration::from_secs(10), || {
        ensure!(wanted <= journal.acknowledged(), "{} of {wanted}", journal.acknowledged());
        Ok(())
    })
}

/// Method: one node under open-loop load; two join by themselves, two are added by the operator, a
/// dry run before each changes nothing. No write is lost and no client sees an error.
#[test]
fn a_cluster_grows_from_one_to_five_under_load() -> Result<()> {
    let _alone = alone();
    let fleet = Fleet::new(5)?;
    fleet.start(0, "")?;
    fleet.wait_members(&[0], SOON)?;
    under_load(&fleet, &[0], &[0, 1, 2, 3, 4], |journal| {
        wait_more(journal)?;
        fleet.start(1, &fleet.join(1))?;
        fleet.start(2, &fleet.join(1))?;
        fleet.wait_members(&[0, 1, 2], SOON)?;
        for (node, name, voters) in [(3, "n4", 4), (4, "n5", 5)] {
            fleet.start(node, "--bootstrap-expect 0")?;
            let words = format!("add {name} --peer {}", fleet.peer(node));
            wait_for("the node that waits", SOON, || {
                let dry = fleet.member(1, &format!("{words} --dry-run"))?;
                dry.check(0, "nothing was changed")?;
                dry.check(0, &format!("{voters} voters"))
            })?;
            let before = fleet.status(0)?.nodes.len();
            ensure!(before == voters - 1, "a dry run changed something: {before} members");
            fleet.member(1, &words)?.check(0, &format!("OK: {voters} voters"))?;
        }
        fleet.wait_members(&[0, 1, 2, 3, 4], SOON)?;
        wait_more(journal)
    })?;
    fleet.member(2, "list")?.check(0, "OK: 5 voters, any 2 may be lost")?;
    fleet.finish()
}

/// Method: the leader of three is removed under load through a follower, and ends; then a node that
/// waits takes the vote of the new leader.
#[test]
fn the_leader_is_removed_and_the_next_one_replaced() -> Result<()> {
    let _alone = alone();
    let fleet = Fleet::new(4)?;
    (0..3).try_for_each(|node| fleet.start(node, &fleet.join(3)))?;
    fleet.wait_members(&[0, 1, 2], SOON)?;
    let first = fleet.leader(0)?;
    let left: Vec<_> = (0..3).filter(|node| *node != first).collect();
    let via = *left.first().context("two are left")?;
    under_load(&fleet, &left, &left, |journal| {
        wait_more(journal)?;
        let removed = fleet.member(via, &format!("remove n{}", first + 1))?;
        removed.check(0, "leads: another voter takes over")?;
        removed.check(0, "2 voters, need 2, alive 2: none may be lost")?;
        let ended = fleet.wait_exit(first, SOON)?;
        ensure!(ended.code() == Some(0), "{ended}");
        ensure!(fleet.log(first).contains("was removed from its cluster"), "it did not say so");
        fleet.wait_members(&left, SOON)?;
        wait_more(journal)
    })?;

    let old = fleet.leader(via)?;
    let stays = *left.iter().find(|node| **node != old).context("one stays")?;
    fleet.start(3, "--bootstrap-expect 0")?;
    under_load(&fleet, &[stays], &[stays, 3], |journal| {
        wait_more(journal)?;
        let words = format!("replace n{} n4 --peer {}", old + 1, fleet.peer(3));
        wait_for("the node that waits", SOON, || {
            fleet.member(stays, &format!("{words} --dry-run"))?.check(0, "in one change")
        })?;
        // The node that is asked leaves meanwhile.
        fleet.member(old, &words)?.check(0, "OK: 2 voters")?;
        ensure!(fleet.wait_exit(old, SOON)?.code() == Some(0), "the old one failed");
        fleet.wait_members(&[stays, 3], SOON)?;
        wait_more(journal)
    })?;
    fleet.finish()
}

/// Method: tables of requests that must be refused with the reason, by the tool and by HTTP; the
/// members are the same afterwards.
#[test]
fn what_is_unsafe_or_wrong_is_refused() -> Result<()> {
    let _alone = alone();
    let fleet = Fleet::new(5)?;
    (0..3).try_for_each(|node| fleet.start(node, &fleet.join(3)))?;
    fleet.wait_members(&[0, 1, 2], SOON)?;
    // A cluster of its own, and a node that waits under another name than it is called by.
    fleet.start(3, "")?;
    fleet.wait_members(&[3], SOON)?;
    fleet.start(4, "--bootstrap-expect 0")?;
    wait_for("the node that waits", SOON, || {
        let live = http::get(fleet.admin_port(4), "/livez")?;
        ensure!(live.code == 200, "{}", live.code);
        Ok(())
    })?;
    let client = format!("127.0.0.1:{}", fleet.client_port(1));
    let (n2, n4, n5) = (fleet.peer(1), fleet.peer(3), fleet.peer(4));
    let cases = [
        ("remove n7".to_owned(), 4, "there is no voter called n7; the members are n1, n2, n3"),
        (format!("add n2 --peer {n5}"), 4, "the name n2 is in use"),
        (format!("add n6 --peer {client}"), 4, "no raftcached node answers"),
        (format!("add n6 --peer {n2}"), 4, "is the peer address of n2"),
        (format!("add n4 --peer {n4}"), 4, "has a cluster of its own"),
        (format!("add n6 --peer {n5}"), 4, "is called n5, not n6"),
        (format!("replace n7 n5 --peer {n5}"), 4, "there is no voter called n7"),
        (format!("replace n1 n1 --peer {n5}"), 4, "by itself"),
        ("add n!6 --peer 127.0.0.1:1".to_owned(), 2, "a name is"),
        ("add n6 --peer nowhere".to_owned(), 2, "--peer"),
        ("recover --from n1 --yes-some-writes-may-be-lost".to_owned(), 4, "nothing is lost"),
        ("recover --from n9 --yes-some-writes-may-be-lost".to_owned(), 1, "n9 does not answer"),
        ("remove n2 --dry-run".to_owned(), 0, "n2 is removed: 2 voters, need 2, alive 2"),
    ];
    for (words, code, part) in &cases {
        fleet.member(0, words)?.check(*code, part).with_context(|| words.clone())?;
    }
    fleet.member(3, "remove n4")?.check(4, "n4 is the last voter: refused")?;
    refused_by_http(&fleet)?;
    fleet.wait_members(&[0, 1, 2], SOON)?;

    fleet.kill(2)?;
    wait_for("n3 to be missed", SOON, || {
        fleet
            .member(0, "remove n1 --dry-run")?
            .check(4, "3 voters, 2 alive; after removing n1: 2 voters, need 2, alive 1: refused")
    })?;
    fleet.member(0, "remove n3")?.check(0, "2 voters, need 2, alive 2: none may be lost")?;
    fleet.wait_members(&[0, 1], SOON)?;
    fleet.finish()
}

fn refused_by_http(fleet: &Fleet) -> Result<()> {
    let port = fleet.admin_port(0);
    let deep = format!("{{\"name\":{}", "[".repeat(100_000));
    let long = format!("{{\"name\":\"{}\"}}", "n".repeat(20_000));
    let cases = [
        ("/v1/members/remove", "", 400),
        ("/v1/members/remove", "{", 400),
        ("/v1/members/remove", "{\"name\":NaN}", 400),
        ("/v1/members/remove", "{\"name\":-1}", 400),
        ("/v1/members/remove", "{\"name\":\"n1\",\"name\":\"n2\"}", 400),
        ("/v1/members/remove", "{\"name\":\"n1\",\"force\":true}", 400),
        ("/v1/members/remove", "{\"name\":\"n1\\n\"}", 400),
        ("/v1/members/remove", "{\"name\":\"n7\"}", 404),
        ("/v1/members/add", "{\"name\":\"n6\",\"peer\":\"127.0.0.1:0\"}", 400),
        ("/v1/members/add", "{\"name\":\"n6\",\"peer\":\"127.0.0.1\"}", 400),
        ("/v1/members/recover", "{\"from\":\"n2\"}", 421),
        ("/v1/members/elsewhere", "{}", 404),
        ("/v1/members/remove", &long, 413),
        ("/v1/members/remove", &deep, 413),
    ];
    for (path, body, code) in cases {
        let reply = http::post_json(port, path, body)?;
        let shown = &body[..body.len().min(60)];
        ensure!(reply.code == code, "{path} {shown}: {} {}", reply.code, reply.body);
        ensure!(reply.body.contains("\"error\""), "{path} {shown}: {}", reply.body);
    }
    ensure!(http::get(port, "/v1/members/remove")?.code == 405, "a GET changes nothing");
    Ok(())
}

/// Method: of three nodes without disks two are killed together and started again empty. They must
/// not form a second cluster; the operator is told what to type, and what he types brings back
/// everything that the survivor held, with CAS uniques that go on growing.
#[test]
fn a_survivor_begins_again() -> Result<()> {
    let _alone = alone();
    let fleet = Fleet::new(3)?;
    (0..3).try_for_each(|node| fleet.start(node, &fleet.join(3)))?;
    fleet.wait_members(&[0, 1, 2], SOON)?;
    let mut client = TextClient::connect(fleet.client_port(0))?;
    for key in 0..KEYS {
        client.set(&format!("k{key}"), 7, 0, format!("value{key}").as_bytes())?;
    }
    let before = client.gets("k0")?.context("k0 is there")?;
    kill_and_restart_empty(&fleet)?;

    let verdict = |via: usize| -> Result<String> { Ok(fleet.status(via)?.verdict) };
    let command = format!("member recover --from n1 --cluster 127.0.0.1:{}", fleet.admin_port(0));
    for via in 0..3 {
        wait_for("the way out in the verdict", SOON, || {
            let verdict = verdict(via)?;
            ensure!(verdict.starts_with("NO QUORUM") && verdict.contains(&command), "{verdict}");
            ensure!(via != 0 || verdict.contains("came back with empty memory"), "{verdict}");
            Ok(())
        })?;
    }
    wait_for("the survivor's log to say it", SOON, || {
        ensure!(fleet.log(0).contains(&command), "it does not");
        Ok(())
    })?;
    fleet.member(0, "recover --from n1")?.check(4, "not confirmed")?;
    fleet.member(0, "recover --from n1 --dry-run")?.check(0, "IS LOST")?;
    let words = "recover --from n1 --yes-some-writes-may-be-lost";
    fleet.member(0, words)?.check(0, &format!("holds {KEYS} items"))?;
    fleet.wait_members(&[0, 1, 2], SOON)?;

    for node in 0..3 {
        let mut client = TextClient::connect(fleet.client_port(node))?;
        for key in 0..KEYS {
            let item = client.gets(&format!("k{key}"))?.context("an item is lost")?;
            ensure!(item.value == format!("value{key}").as_bytes() && item.flags == 7, "k{key}");
        }
        ensure!(
            client.gets("k0")?.context("k0")?.cas_unique == before.cas_unique,
            "the CAS unique changed"
        );
    }
    let mut client = TextClient::connect(fleet.client_port(2))?;
    client.set("k0", 0, 0, b"new")?;
    let after = client.gets("k0")?.context("k0")?;
    ensure!(
        before.cas_unique < after.cas_unique,
        "{:?}, then {:?}",
        before.cas_unique,
        after.cas_unique
    );
    fleet.finish()
}

fn kill_and_restart_empty(fleet: &Fleet) -> Result<()> {
    fleet.kill(1)?;
    fleet.kill(2)?;
    fleet.start(1, &fleet.join(3))?;
    fleet.start(2, &fleet.join(3))
}

/// Nobody is left to remember: an empty cluster forms by itself.
#[test]
fn three_killed_together_form_a_new_cluster() -> Result<()> {
    let _alone = alone();
    let fleet = Fleet::new(3)?;
    (0..3).try_for_each(|node| fleet.start(node, &fleet.join(3)))?;
    fleet.wait_members(&[0, 1, 2], SOON)?;
    TextClient::connect(fleet.client_port(0))?.set("k", 0, 0, b"forgotten")?;
    (0..3).try_for_each(|node| fleet.kill(node))?;
    (0..3).try_for_each(|node| fleet.start(node, &fleet.join(3)))?;
    fleet.wait_members(&[0, 1, 2], SOON)?;
    let item = TextClient::connect(fleet.client_port(1))?.gets("k")?;
    ensure!(item.is_none(), "{item:?}");
    fleet.finish()
}

const KEYS: u64 = 200;
const SOON: Duration = Duration::from_secs(30);
