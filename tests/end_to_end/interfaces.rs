//! Which interface, which port: two interfaces in one subnet, every port of a VIP.
