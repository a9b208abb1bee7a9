//! A login on a stack of as many KiB as the argument says: it either fits, or the process dies.

mod login;

use std::convert::Infallible;

use ibkr_oauth::rand_core::{TryCryptoRng, TryRng};

struct Rng(u64);

impl TryRng for Rng {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.try_next_u64()? >> 32) as u32)
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Ok(self.0)
    }
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        out.fill_with(|| {
            (self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1), (self.0 >> 56) as u8).1
        });
        Ok(())
    }
}

impl TryCryptoRng for Rng {}

const FILES: [&str; 3] = [
    include_str!("../../../tests/keys/private_signature.pem"),
    include_str!("../../../tests/keys/private_encryption.pem"),
    include_str!("../../../tests/keys/dhparam.pem"),
];

fn main() {
    let kibibytes: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).expect("KiB of stack");
    // 256 bytes in base64: what it decrypts to does not matter here.
    let secret = "AQEB".repeat(85) + "AQ==";
    let answer = format!(
        r#"{{"diffie_hellman_response":"{}","live_session_token_signature":"{}"}}"#,
        "12".repeat(250),
        "00".repeat(20)
    );
    let mut session = login::session(FILES, &secret).expect("the keys are read");
    let login = move || login::log_in(&mut session, answer.as_bytes(), &mut Rng(1));
    let length = std::thread::Builder::new().stack_size(kibibytes * 1024).spawn(login).unwrap().join().unwrap();
    assert!(length > 0, "the login went its way");
}
