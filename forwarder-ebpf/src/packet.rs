//! Bounds-checked access to a packet: the one primitive everything else is built on.

/// A header that may lie anywhere in a packet.
///
/// # Safety
/// Implementors are `repr(C, packed)` structs (or arrays) of integers: any bytes are a valid value
/// and the alignment is 1.
pub unsafe trait Header: Copy {}

/// A packet that can be read, written, and grown or shrunk at either end.
///
/// Growing and shrinking take `&mut self`, so every header view ends before the packet moves: what
/// the kernel's verifier demands, the borrow checker enforces.
pub trait Packet {
    /// The header at `offset`, if it lies wholly within the linear part of the packet.
    fn at<H: Header>(&self, offset: usize) -> Option<&H>;

    /// As [`Packet::at`], for writing.
    fn at_mut<H: Header>(&mut self, offset: usize) -> Option<&mut H>;

    /// Bytes in the whole frame, fragments of a multi-buffer packet included.
    fn length(&self) -> u32;

    /// Moves the start of the packet: a negative `delta` grows it. `None`: no room.
    fn adjust_head(&mut self, delta: i32) -> Option<()>;

    /// Moves the end of the packet: a negative `delta` shrinks it. `None`: no room.
    fn adjust_tail(&mut self, delta: i32) -> Option<()>;
}
