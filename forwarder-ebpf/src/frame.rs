//! The packet behind an XDP context.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{
    bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len,
};
use forwarder_ebpf::packet::{Header, Packet};

/// A frame in the driver's buffer; `FRAGS`: it may go on in further buffers.
pub struct Frame<const FRAGS: bool> {
    context: *mut xdp_md,
}

impl<const FRAGS: bool> Frame<FRAGS> {
    /// The frame of a program's context.
    #[inline(always)]
    pub const fn new(context: *mut xdp_md) -> Self {
        Self { context }
    }

    #[inline(always)]
    fn data(&self) -> usize {
        // SAFETY: the kernel hands every XDP program a valid context.
        unsafe { (*self.context).data as usize }
    }

    #[inline(always)]
    fn data_end(&self) -> usize {
        // SAFETY: as above.
        unsafe { (*self.context).data_end as usize }
    }

    /// Where `H` at `offset` begins, if it ends within the buffer.
    #[inline(always)]
    fn place<H>(&self, offset: usize) -> Option<usize> {
        let start = self.data() + offset;
        (start + size_of::<H>() <= self.data_end()).then_some(start)
    }
}

impl<const FRAGS: bool> Packet for Frame<FRAGS> {
    #[inline(always)]
    fn at<H: Header>(&self, offset: usize) -> Option<&H> {
        // SAFETY: within the buffer, and a `Header` is valid wherever it lies.
        self.place::<H>(offset)
            .map(|start| unsafe { &*(start as *const H) })
    }

    #[inline(always)]
    fn at_mut<H: Header>(&mut self, offset: usize) -> Option<&mut H> {
        // SAFETY: as above; `&mut self` makes it the only view.
        self.place::<H>(offset)
            .map(|start| unsafe { &mut *(start as *mut H) })
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        if FRAGS {
            // SAFETY: a valid context.
            unsafe { bpf_xdp_get_buff_len(self.context) as u32 }
        } else {
            (self.data_end() - self.data()) as u32
        }
    }

    #[inline(always)]
    fn adjust_head(&mut self, delta: i32) -> Option<()> {
        // SAFETY: a valid context; no view is alive (`&mut self`).
        (unsafe { bpf_xdp_adjust_head(self.context, delta) } == 0).then_some(())
    }

    #[inline(always)]
    fn adjust_tail(&mut self, delta: i32) -> Option<()> {
        // SAFETY: as above.
        (unsafe { bpf_xdp_adjust_tail(self.context, delta) } == 0).then_some(())
    }
}
