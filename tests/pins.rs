//! What is pinned outlives the daemon: it is stopped, killed, upgraded and refused under load, and
//! everything that can be changed behind its back is. Needs root.

mod pins {
    mod behind_our_back;
    mod cables;
    mod load;
    mod moved;
    mod refusals;
    mod restart;
    mod world;
}
