//! A login on bare metal: what the linker keeps of it is what it takes of the flash.
#![cfg_attr(feature = "firmware", no_std, no_main)]

#[cfg(feature = "firmware")]
mod login;

#[cfg(not(feature = "firmware"))]
fn main() {}

#[cfg(feature = "firmware")]
mod firmware {
    use core::convert::Infallible;
    use core::hint::black_box;
    use core::panic::PanicInfo;

    use embedded_alloc::LlffHeap as Heap;
    use ibkr_oauth::rand_core::{TryCryptoRng, TryRng};

    #[global_allocator]
    static HEAP: Heap = Heap::empty();

    #[panic_handler]
    fn panic(_: &PanicInfo<'_>) -> ! {
        loop {}
    }

    /// One core, no interrupts: there is nobody to keep out.
    #[unsafe(no_mangle)]
    extern "C" fn _critical_section_1_0_acquire() {}

    #[unsafe(no_mangle)]
    extern "C" fn _critical_section_1_0_release() {}

    struct Rng;

    impl TryRng for Rng {
        type Error = Infallible;
        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            Ok(black_box(1))
        }
        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            Ok(black_box(1))
        }
        fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
            out.fill(black_box(1));
            Ok(())
        }
    }

    impl TryCryptoRng for Rng {}

    #[unsafe(no_mangle)]
    pub extern "C" fn _start() -> ! {
        let files = black_box(["", "", ""]);
        if let Some(mut session) = super::login::session(files, black_box("")) {
            black_box(super::login::log_in(&mut session, black_box(b""), &mut Rng));
        }
        loop {}
    }
}
