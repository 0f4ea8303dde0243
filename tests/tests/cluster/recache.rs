//! Recache storms: a thousand clients ask for one stale item through all nodes, and one of them is
//! told to renew it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cluster_tests::{ClientError, Cluster, TextClient, alone, count};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

#[test]
fn one_of_a_thousand_wins() -> Result<()> {
    storms(false)
}

/// Nobody wins twice because the leader died before it could say who has won.
#[test]
fn one_of_a_thousand_wins_while_the_leader_is_killed() -> Result<()> {
    storms(true)
}

/// Method: in each round an item is marked stale; then every client sends an `mg`, and only then are
/// the replies read. In every other round the item is not there, and is to be made (`N`). With
/// `kill`, the leader is killed when half of the clients have asked; whoever loses the connection to
/// it asks no more, and may have been the one.
fn storms(kill: bool) -> Result<()> {
    let _alone = alone();
    // As many clients as there often may be open files.
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(hard.min(2 * CLIENTS as u64)), hard)?;
    let cluster = Cluster::start(3)?;
    let (mut won_by_lost, mut lost_in_all) = (0, 0);
    for round in 0..count("ROUNDS", 10, 2) {
        let (prepared, asked, all_marks) = match round % 2 {
            0 => (format!("ms storm{round} 3\r\nold\r\nmd storm{round} I\r\n"), "", true),
            _ => (String::new(), " N60", false),
        };
        let ask = format!("mg storm{round} s{asked}\r\n");
        let mut clients = connect_all(&cluster)?;
        if !prepared.is_empty() {
            let first = clients.first_mut().context("there are clients")?;
            first.text.send(prepared.as_bytes())?;
            ensure!([first.text.line()?, first.text.line()?] == ["HD", "HD"], "not prepared");
        }
        let leader = cluster.leader()?;
        let (first, second) = clients.split_at_mut(CLIENTS / 2);
        for client in first {
            client.text.send(ask.as_bytes())?;
        }
        if kill {
            cluster.kill(leader)?;
        }
        for client in second {
            // The connection may be gone with the leader.
            let sent = client.text.send(ask.as_bytes());
            sent.or_else(|error| client.excuse(kill, leader, error))?;
        }
        let (mut won, mut lost) = (0, 0);
        for client in &mut clients {
            match client.text.line() {
                Ok(reply) => {
                    let token_sent = reply.split(' ').any(|flag| flag == "Z");
                    let wins = reply.split(' ').any(|flag| flag == "W");
                    let stale = reply.split(' ').any(|flag| flag == "X");
                    ensure!(reply.starts_with("HD s"), "round {round}: {reply}");
                    ensure!(wins != token_sent, "neither won nor taken, round {round}: {reply}");
                    ensure!(stale == all_marks, "round {round}: {reply}");
                    won += u32::from(wins);
                }
                Err(error) => {
                    client.excuse(kill, leader, error)?;
                    lost += 1;
                }
            }
        }
        ensure!(won == 1 || won == 0 && 0 < lost, "round {round}: {won} have won, {lost} lost");
        won_by_lost += 1 - won;
        lost_in_all += lost;
        if kill {
            cluster.restart(leader)?;
            cluster.wait_ready(leader, SOON)?;
            cluster.wait_healthy(SOON)?;
        }
    }
    println!("{CLIENTS} clients: {lost_in_all} lost their node, with {won_by_lost} winners");
    cluster.wait_equal(SOON)?;
    cluster.finish()
}

/// One connection.
struct Client {
    node: usize,
    text: TextClient,
}

/// The same number to each node.
fn connect_all(cluster: &Cluster) -> Result<Vec<Client>> {
    (0..CLIENTS)
        .map(|number| {
            let node = number % cluster.nodes();
            let text = TextClient::connect_within(cluster.client_port(node), SOON)?;
            Ok(Client { node, text })
        })
        .collect()
}

impl Client {
    fn excuse(&self, kill: bool, leader: usize, error: ClientError) -> Result<()> {
        if kill && self.node == leader { Ok(()) } else { Err(error.into()) }
    }
}

const CLIENTS: usize = 1000;
const SOON: Duration = Duration::from_secs(30);
