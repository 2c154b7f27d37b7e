//! Declares an ABI type: `repr(C)`, no padding (or it does not compile), readable by user space.

/// Wraps struct definitions that are map keys or values.
macro_rules! abi {
    ($($(#[$meta:meta])* pub struct $name:ident $(<$generic:ident>)? {
        $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)*
    })*) => {$(
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name $(<$generic>)? {
            $($(#[$field_meta])* pub $field: $type,)*
        }
        $crate::abi::abi!(@check $name $(<$generic>)? [$($type),*]);
    )*};
    (@check $name:ident [$($type:ty),*]) => {
        const _: () = assert!(
            size_of::<$name>() == 0 $(+ size_of::<$type>())*,
            concat!(stringify!($name), " has padding"),
        );
        // SAFETY: repr(C), plain integers only, no padding (asserted above).
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $name {}
    };
    (@check $name:ident<$generic:ident> [$($type:ty),*]) => {
        const _: () = {
            const fn check<$generic>() -> usize {
                0 $(+ size_of::<$type>())*
            }
            assert!(size_of::<$name<$crate::V4>>() == check::<$crate::V4>(), "padding");
            assert!(size_of::<$name<$crate::V6>>() == check::<$crate::V6>(), "padding");
        };
        // SAFETY: repr(C), plain integers only, no padding (asserted above).
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $name<$crate::V4> {}
        // SAFETY: as above.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $name<$crate::V6> {}
    };
}
pub(crate) use abi;
