//! What can be asked for on the admin socket: the one table that the server, the client, the rights and
//! the OpenAPI document are made from.

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::access::Rights;
use super::api::{
    Change, ConfigRequest, Drops, FlowQuery, Flows, History, OverrideRequest, PairAnswer,
    PairRequest, RunningConfig, Snat, Status, Trace, TraceRequest,
};

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table below says it")]
pub enum Ask {
    Status,
    Flows,
    Snat,
    Drops,
    History,
    Metrics,
    Config,
    OpenApi,
    Trace,
    Plan,
    Reload,
    Override,
    Pair,
}

/// How a question is asked and answered.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Its method.
    pub method: &'static str,
    /// Its path.
    pub path: &'static str,
    /// What it takes to ask it.
    pub rights: Rights,
    /// What it is for.
    pub about: &'static str,
    /// What may stand after the question mark.
    pub query: Option<SchemaOf>,
    /// What it carries, as JSON.
    pub body: Option<SchemaOf>,
    /// What comes back if it goes well.
    pub answer: Answer,
}

/// Gives the schema of a type.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What an answer is.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// JSON of a type.
    Json(SchemaOf),
    /// JSON that says itself what it is.
    Document,
    /// Metrics as Prometheus takes them.
    Metrics,
}

impl Ask {
    /// Every question.
    pub const ALL: [Self; 13] = [
        Self::Status,
        Self::Flows,
        Self::Snat,
        Self::Drops,
        Self::History,
        Self::Metrics,
        Self::Config,
        Self::OpenApi,
        Self::Trace,
        Self::Plan,
        Self::Reload,
        Self::Override,
        Self::Pair,
    ];

    /// How it is asked; no two have the same path.
    pub const fn route(self) -> Route {
        match self {
            Self::Status => look(
                "/v1/status",
                json::<Status>(),
                "What runs, what is wrong, and the counters",
            ),
            Self::Flows => Route {
                query: Some(of::<FlowQuery>),
                ..look(
                    "/v1/flows",
                    json::<Flows>(),
                    "NAT flows, or how many there are",
                )
            },
            Self::Snat => look(
                "/v1/snat",
                json::<Snat>(),
                "SNAT pools, and the ports that flows have",
            ),
            Self::Drops => look(
                "/v1/drops",
                json::<Drops>(),
                "The last packet that was dropped, for each reason",
            ),
            Self::History => look(
                "/v1/history",
                json::<History>(),
                "What happened: the latest events",
            ),
            Self::Metrics => look(
                "/metrics",
                Answer::Metrics,
                "Metrics, as Prometheus takes them",
            ),
            Self::Config => Route {
                rights: Rights::Write,
                ..look(
                    "/v1/config",
                    json::<RunningConfig>(),
                    "The text of the configuration that is at work, with its secrets",
                )
            },
            Self::OpenApi => look("/v1/openapi.json", Answer::Document, "This document"),
            Self::Trace => Route {
                rights: Rights::Read,
                ..change::<TraceRequest>(
                    "/v1/trace",
                    json::<Trace>(),
                    "What would become of a packet; sends and changes nothing",
                )
            },
            Self::Plan => Route {
                rights: Rights::Read,
                ..change::<ConfigRequest>(
                    "/v1/plan",
                    json::<Change>(),
                    "What a configuration would change; changes nothing",
                )
            },
            Self::Reload => change::<ConfigRequest>(
                "/v1/reload",
                json::<Change>(),
                "Puts a configuration to work; a bad one changes nothing",
            ),
            Self::Override => change::<OverrideRequest>(
                "/v1/override",
                json::<Change>(),
                "Changes one backend until the next reload",
            ),
            Self::Pair => change::<PairRequest>(
                "/v1/pair",
                json::<PairAnswer>(),
                "Moves the VIPs to the other node of a pair, or keeps this one from having them",
            ),
        }
    }

    /// What is asked at a path.
    pub fn at(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ask| ask.route().path == path)
    }
}

const fn look(path: &'static str, answer: Answer, about: &'static str) -> Route {
    Route {
        method: "GET",
        path,
        rights: Rights::Read,
        about,
        query: None,
        body: None,
        answer,
    }
}

const fn change<B: JsonSchema>(path: &'static str, answer: Answer, about: &'static str) -> Route {
    Route {
        method: "POST",
        rights: Rights::Write,
        body: Some(of::<B>),
        ..look(path, answer, about)
    }
}

const fn json<T: JsonSchema>() -> Answer {
    Answer::Json(of::<T>)
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}
