//! The daemon as a service: under a real systemd, with few rights, with little of everything, with
//! clients that mean no good. Needs root.

mod service {
    mod clients;
    mod machine;
    #[path = "../fuzz/mutate.rs"]
    mod mutate;
    mod pair;
    mod scarce;
    mod unit;
}
