//! Changing a running forwarder: what changes changes, everything else goes on as if nothing had
//! happened.

mod change {
    mod api;
    mod day;
    mod exposition;
    mod interfaces;
    mod many;
    mod metrics;
    mod plans;
    mod refusals;
    mod roles;
    mod rounds;
    mod traffic;
    mod views;
    mod world;
}
