//! `POST /v1/members/...`: an operator's changes of the members, as JSON.
//!
//! ```text
//! add      {"name", "peer"}          200 {"steps": [...]}   begun, or with dry_run possible
//! remove   {"name"}                  400 {"error"}          not such a request
//! replace  {"old", "new", "peer"}    404, 409 {"error"}     nothing was done
//!          each with "dry_run"       503, 504 {"error"}     no leader; perhaps done
//! recover  {"from", "lose_writes"}   200 {"survivor", "begun"}
//! ```

#[cfg(fuzzing)]
pub mod fuzzing;

use std::path::PathBuf;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use replication::{MemberChange, MemberError};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{Admin, failed};
use crate::config::is_node_name;
use crate::ending::Request;
use crate::values::HostPort;

/// The routes of this module.
pub(super) fn routes() -> Router<Admin> {
    use axum::routing::post;
    Router::new()
        .route("/v1/members/add", post(add))
        .route("/v1/members/remove", post(remove))
        .route("/v1/members/replace", post(replace))
        .route("/v1/members/recover", post(recover))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Add {
    name: String,
    peer: HostPort,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remove {
    name: String,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Replace {
    old: String,
    new: String,
    peer: HostPort,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recover {
    /// The node that is asked; another one says that it is not meant.
    from: String,
    /// The operator's word that writes may be lost; without it, only says what is there.
    #[serde(default)]
    lose_writes: bool,
}

/// Why a request is not granted.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        failed(self.0, &self.1)
    }
}

type Body = Result<Bytes, BytesRejection>;

async fn add(State(admin): State<Admin>, body: Body) -> Result<Response, Refusal> {
    let Add { name, peer, dry_run } = parse(body)?;
    let change = MemberChange::Add { name: checked(name)?, peer: reachable(&peer)? };
    Ok(change_members(&admin, change, dry_run).await)
}

async fn remove(State(admin): State<Admin>, body: Body) -> Result<Response, Refusal> {
    let Remove { name, dry_run } = parse(body)?;
    let change = MemberChange::Remove { name: checked(name)? };
    Ok(change_members(&admin, change, dry_run).await)
}

async fn replace(State(admin): State<Admin>, body: Body) -> Result<Response, Refusal> {
    let Replace { old, new, peer, dry_run } = parse(body)?;
    let (old, new) = (checked(old)?, checked(new)?);
    let change = MemberChange::Replace { old, new, peer: reachable(&peer)? };
    Ok(change_members(&admin, change, dry_run).await)
}

async fn change_members(admin: &Admin, change: MemberChange, dry_run: bool) -> Response {
    match admin.node.change_members(change, dry_run).await {
        Ok(steps) => Json(json!({ "steps": steps })).into_response(),
        Err(error) => refusal(&error).into_response(),
    }
}

async fn recover(State(admin): State<Admin>, body: Body) -> Result<Response, Refusal> {
    let Recover { from, lose_writes } = parse(body)?;
    if from != admin.name {
        let why = format!("this node is called {}, not {from}", admin.name);
        return Err(Refusal(StatusCode::MISDIRECTED_REQUEST, why));
    }
    let survivor = admin.node.survivor().await.map_err(|error| refusal(&error))?;
    if lose_writes {
        let path = save(&admin).await?;
        admin.requests.make(Request::BeginFrom(path));
    }
    let shown = json!({
        "name": survivor.name,
        "last_index": survivor.last_index,
        "last_term": survivor.last_term,
        "applied": survivor.applied,
        "items": survivor.items,
        "others": survivor.others,
    });
    Ok(Json(json!({ "survivor": shown, "begun": lose_writes })).into_response())
}

/// Saves the state to a file that only this user can read; it is removed once it is in use again.
async fn save(admin: &Admin) -> Result<PathBuf, Refusal> {
    let unsaved = |error: &dyn std::fmt::Display| {
        let why = format!("cannot save the state in {}: {error}", admin.scratch.display());
        Refusal(StatusCode::CONFLICT, why)
    };
    let prefix = format!("raftcached-{}-", admin.name);
    let file = tempfile::Builder::new().prefix(&prefix).tempfile_in(&admin.scratch);
    let file = file.map_err(|error| unsaved(&error))?;
    let handle = file.reopen().map_err(|error| unsaved(&error))?;
    admin.node.save_survivor(handle).await.map_err(|error| refusal(&error))?;
    let (_, path) = file.keep().map_err(|error| unsaved(&error))?;
    Ok(path)
}

fn refusal(error: &MemberError) -> Refusal {
    let status = match error {
        MemberError::Unknown(_) => StatusCode::NOT_FOUND,
        MemberError::Refused(_) => StatusCode::CONFLICT,
        MemberError::NoLeader => StatusCode::SERVICE_UNAVAILABLE,
        MemberError::Undecided(_) | _ => StatusCode::GATEWAY_TIMEOUT,
    };
    Refusal(status, error.to_string())
}

fn parse<T: DeserializeOwned>(body: Body) -> Result<T, Refusal> {
    let body = body.map_err(|error| Refusal(error.status(), error.body_text()))?;
    serde_json::from_slice(&body).map_err(|error| {
        Refusal(StatusCode::BAD_REQUEST, format!("the body is not this request: {error}"))
    })
}

fn checked(name: String) -> Result<String, Refusal> {
    if is_node_name(&name) {
        return Ok(name);
    }
    Err(Refusal(StatusCode::BAD_REQUEST, "a name is 1 to 64 letters, digits or .-_".to_owned()))
}

fn reachable(peer: &HostPort) -> Result<String, Refusal> {
    if peer.port == 0 {
        return Err(Refusal(StatusCode::BAD_REQUEST, "peer: port 0 reaches nobody".to_owned()));
    }
    Ok(peer.to_string())
}
