//! trace
use super::Node;
use crate::admin::api::{Trace, TraceRequest};
pub fn trace(_node: &mut Node, _packet: &TraceRequest) -> Result<Trace, String> {
    Err("not yet".into())
}
