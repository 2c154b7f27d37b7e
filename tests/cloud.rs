//! What the product does about the platform that it runs on: backends are set up, hosts are looked over, and other
//! products' declarations are taken over.
//!
//! Tests with hosts need root; without it they fail and say so.

mod cloud {
    mod api;
    mod aws;
    mod azure;
    mod backends;
    mod doctor;
    mod host;
    mod import;
    mod in_a_cloud;
    mod interfaces;
    mod moto;
    mod pages;
    mod server;
    mod stories;
    #[expect(clippy::disallowed_methods, reason = "real time: it measures")]
    mod world;
    #[expect(clippy::disallowed_methods, reason = "real time: it measures")]
    mod zones;
}
