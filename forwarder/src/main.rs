//! The command line.
fn main() {
    println!("{}", env!("FORWARDER_OBJECT"));
}
