//! What is measured: operations with a secret in them, each with two classes of inputs, and controls that leak.

use std::hint::black_box;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ibkr_oauth::{ConsumerKeys, OAuthSession, Response, Secret, Snapshot};
use num_bigint::BigUint;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use crate::support::pair::Pair;
use crate::support::{NOW, Script, WorkedLogin, hex, keys};

/// One operation, and what its inputs are.
pub struct Subject {
    pub name: &'static str,
    pub classes: [&'static str; 2],
    pub kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Every input takes the same instructions.
    Constant,
    /// The classes hold values of other lengths, and copying them takes a few instructions more or less.
    Lengths,
    /// Leaks on purpose: a run that does not see it can see nothing.
    Control,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Lengths => "lengths",
            Self::Control => "control",
        }
    }
}

/// A way of looking at operations.
pub trait Observer {
    /// `prepare` makes an input of class 0 or 1; only `operation` is looked at.
    fn observe<I, O>(
        &mut self,
        subject: &Subject,
        prepare: impl FnMut(usize, &mut StdRng) -> I,
        operation: impl Fn(&mut I) -> O,
    );
}

/// All of them.
pub fn observe(by: &mut impl Observer) {
    proof(by);
    secret(by);
    challenge(by);
    shared_secret(by);
    rsa(by);
}

const WRONG_BYTE: [&str; 2] = ["first byte wrong", "last byte wrong"];

/// Every byte is written anew, in the same order for both classes: a read waits for what was written just before it.
fn forged(right: &[u8], class: usize) -> Vec<u8> {
    let place = [0, right.len() - 1][class];
    right.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at == place)).collect()
}

/// A snapshot's proof is checked by the function that checks the server's, and without the power before it.
fn proof(by: &mut impl Observer) {
    let login = WorkedLogin::any();
    let right = hex(&login.proof);
    let mut text = serde_json::to_string(login.live_session(NOW).snapshot().expose()).unwrap();
    let check = |snapshot: &Snapshot| OAuthSession::resume(login.consumer.clone(), snapshot, NOW).is_ok();
    assert!(check(&serde_json::from_str(&text).unwrap()), "nothing but the proof will be wrong");
    let place = text.find(&login.proof).unwrap();
    let mut prepare = |class: usize, _: &mut StdRng| {
        let forged = forged(&right, class);
        let digits: String = forged.iter().map(|byte| format!("{byte:02x}")).collect();
        text.replace_range(place..place + digits.len(), &digits);
        (serde_json::from_str::<Snapshot>(&text).unwrap(), forged)
    };

    let subject = Subject { name: "proof of a token", classes: WRONG_BYTE, kind: Kind::Constant };
    by.observe(&subject, &mut prepare, |(snapshot, _)| check(snapshot));

    let subject = Subject { name: "the same, and compared byte by byte", classes: WRONG_BYTE, kind: Kind::Control };
    by.observe(&subject, &mut prepare, |(snapshot, forged)| {
        (check(snapshot), right.iter().zip(forged).all(|(right, forged)| black_box(right) == forged))
    });
}

/// One comparison is too short for a clock.
const COMPARISONS: usize = 10;

fn secret(by: &mut impl Observer) {
    let prepare = |class: usize, rng: &mut StdRng| {
        let mut bytes = vec![0; 256];
        rng.fill_bytes(&mut bytes);
        let wrong = forged(&bytes, class);
        [bytes, wrong].map(Secret::new)
    };

    let subject =
        Subject { name: "`Secret == Secret`, 256 bytes, 10 times", classes: WRONG_BYTE, kind: Kind::Constant };
    by.observe(&subject, prepare, |[right, wrong]| {
        (0..COMPARISONS).filter(|_| black_box(&*right) == black_box(&*wrong)).count()
    });

    let subject = Subject { name: "`[u8] == [u8]`, 256 bytes, 10 times", classes: WRONG_BYTE, kind: Kind::Control };
    by.observe(&subject, prepare, |[right, wrong]| {
        (0..COMPARISONS).filter(|_| black_box(right.expose()) == black_box(wrong.expose())).count()
    });
}

const EXPONENT: [&str; 2] = ["2^128", "random"];

/// A login's first power, with keys that cost nothing.
fn challenge(by: &mut impl Observer) {
    let login = WorkedLogin::any();
    let exponent = |class: usize, rng: &mut StdRng| {
        let (mut sparse, random) = ([0; 32], rng.random::<[u8; 32]>());
        sparse[15] = 1;
        [sparse, random][class]
    };
    let prepare = |class: usize, rng: &mut StdRng| {
        let exponent = exponent(class, rng);
        // The nonce is drawn first.
        (login.session(), Script([&[7; 16], &exponent[..]].concat()), exponent)
    };

    let subject = Subject { name: "challenge, 2048 bits", classes: EXPONENT, kind: Kind::Constant };
    by.observe(&subject, prepare, |(session, script, _)| session.poll_request(script, NOW).unwrap());

    let subject = Subject {
        name: "the same, and one product more for each of the last four bytes that is not zero",
        classes: EXPONENT,
        kind: Kind::Control,
    };
    let factor = BigUint::from_bytes_be(&[0xa5; 256]);
    by.observe(&subject, prepare, |(session, script, exponent)| {
        let not_zero = exponent[28..].iter().filter(|byte| **byte != 0);
        let products: Vec<BigUint> = not_zero.map(|_| black_box(&factor) * &factor).collect();
        (session.poll_request(script, NOW).unwrap(), products)
    });

    let subject = Subject { name: "`num-bigint`'s power, 2048 bits", classes: EXPONENT, kind: Kind::Control };
    let prepare = |class: usize, rng: &mut StdRng| BigUint::from_bytes_be(&exponent(class, rng));
    by.observe(&subject, prepare, |exponent| BigUint::from(2_u8).modpow(exponent, &factor));
}

/// A login's second power, and what is made of it.
fn shared_secret(by: &mut impl Observer) {
    let logins = ["synthetic-k-2047-bits", "short-k-2032-bits"]
        .map(|id| WorkedLogin::all().into_iter().find(|login| login.id == id).unwrap());
    let prepare = |class: usize, _: &mut StdRng| {
        let login = &logins[class];
        let mut session = login.session();
        let exchange = login.poll(&mut session, NOW).map(|outbound| outbound.exchange);
        (session, exchange, login.body(None))
    };

    let classes = ["K of 2047 bits", "of 2032"];
    let subject = Subject { name: "shared secret to live session, 2048 bits", classes, kind: Kind::Lengths };
    by.observe(&subject, prepare, |(session, exchange, body)| {
        session.handle_response(exchange.take().unwrap(), &Response::new(200, body.as_bytes()), NOW).unwrap()
    });
}

/// Private-key operations, blinded with other randomness each time.
fn rsa(by: &mut impl Observer) {
    let keys = keys();
    let mut pair = Pair::new();
    let secrets: Vec<_> = (0..32).map(|_| BASE64_STANDARD.decode(pair.issue().secret_base64).unwrap()).collect();

    let subject =
        Subject { name: "RSA-2048 decryption", classes: ["right padding", "wrong padding"], kind: Kind::Lengths };
    let prepare = |class: usize, rng: &mut StdRng| {
        let blinding = StdRng::from_rng(rng);
        let padded = &secrets[rng.random_range(0..secrets.len())];
        let mut unpadded = vec![0; padded.len()];
        rng.fill_bytes(&mut unpadded);
        // Less than the modulus.
        unpadded[0] &= 0x7f;
        (blinding, if class == 0 { padded.clone() } else { unpadded })
    };
    by.observe(&subject, prepare, |(blinding, ciphertext)| keys.decrypt_pkcs1v15(ciphertext, blinding).unwrap());

    let subject = Subject { name: "RSA-2048 signature", classes: ["one message", "others"], kind: Kind::Constant };
    let prepare = |class: usize, rng: &mut StdRng| {
        let blinding = StdRng::from_rng(rng);
        let mut random = [0; 1400];
        rng.fill_bytes(&mut random);
        (blinding, [[b'a'; 1400], random][class])
    };
    by.observe(&subject, prepare, |(blinding, message)| keys.sign_rsa_sha256(message, blinding).unwrap());
}
