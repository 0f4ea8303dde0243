//! What is asked of an endpoint: the cases of the table.

use serde::Serialize;

/// The two operations that are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Operation {
    /// `get` of one key that exists.
    Get,
    /// `set` of one key, with a reply.
    Set,
}

impl Operation {
    /// The command's name, as in the protocol.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Set => "set",
        }
    }
}

/// One line of the table, before anybody is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Case {
    /// What is asked.
    pub(crate) operation: Operation,
    /// Connections that ask at the same time.
    pub(crate) connection_count: usize,
    /// Requests a connection sends at once; the next ones follow the last reply.
    pub(crate) depth: usize,
}

impl Case {
    /// The case in words.
    pub(crate) fn title(self) -> String {
        let Self { operation, connection_count, depth } = self;
        let operation = operation.name();
        format!("{operation}, {connection_count} connections, {depth} deep")
    }
}

/// Every case, in the order of the table.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for operation in [Operation::Get, Operation::Set] {
        for connection_count in [1, 50] {
            for depth in [1, 16] {
                cases.push(Case { operation, connection_count, depth });
            }
        }
    }
    cases
}

/// Who is asked. The two nodes are told apart because a follower has to forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Target {
    /// Stock memcached, the floor of cost.
    Memcached,
    /// The cluster, through its leader.
    Leader,
    /// The cluster, through one follower.
    Follower,
    /// Three members of etcd, through their leader; part `durable` alone.
    Etcd,
}

impl Target {
    /// Every target of part `cache`, the one that the others are compared with first.
    pub(crate) const ALL: [Self; 3] = [Self::Memcached, Self::Leader, Self::Follower];

    /// The word for it in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memcached => "memcached",
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Etcd => "etcd",
        }
    }
}
