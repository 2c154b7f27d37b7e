//! Two nodes, a network between them, and everything that can happen to both.

mod groups;
mod partition;
mod scenarios;
mod schedules;
mod simulation;
mod wire;
