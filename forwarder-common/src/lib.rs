//! The map ABI.
#![no_std]
