//! The daemon as a service: under a real systemd, with few rights, with little of everything. Needs
//! root.

mod service {
    mod machine;
    mod unit;
}
