//! The authenticator app of a user.

use hmac::{Hmac, KeyInit, Mac};
use hooksentry::clock;
use sha1::Sha1;

use super::until;

const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// App with one secret. It shows each code once.
pub(crate) struct Authenticator {
    secret: Vec<u8>,
    last_step: i64,
}

impl Authenticator {
    /// Takes the secret as a person types it.
    pub(crate) fn new(base32: &str) -> Self {
        let (mut secret, mut bits, mut count) = (vec![], 0_u32, 0);
        for character in base32.chars() {
            let value = ALPHABET.find(character).expect("a character of base32");
            bits = (bits << 5) | u32::try_from(value).expect("five bits");
            count += 5;
            if count >= 8 {
                count -= 8;
                secret.push((bits >> count) as u8);
                bits &= (1 << count) - 1;
            }
        }
        Self { secret, last_step: 0 }
    }

    pub(crate) fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// Returns the code of now or, if that was shown, the next one. The service accepts both for half a minute or more.
    /// A third one within a step has to be waited for.
    pub(crate) async fn code(&mut self) -> String {
        let step = (self.last_step + 1).max(current_step());
        until("the service to accept the next code", async || (step <= current_step() + 1).then_some(()))
            .await;
        self.last_step = step;
        self.code_of(step)
    }

    /// Returns the code that was shown last.
    pub(crate) fn last_code(&self) -> String {
        self.code_of(self.last_step)
    }

    /// Returns codes that the service accepts neither now nor in the next minutes.
    pub(crate) fn wrong_codes(&self) -> impl Iterator<Item = String> {
        let now = current_step();
        let right: Vec<String> = (now - 10..now + 10).map(|step| self.code_of(step)).collect();
        (0..1_000_000).map(|number| format!("{number:06}")).filter(move |code| !right.contains(code))
    }

    fn code_of(&self, step: i64) -> String {
        let mut mac = Hmac::<Sha1>::new_from_slice(&self.secret).expect("a key");
        mac.update(&step.to_be_bytes());
        let tag = mac.finalize().into_bytes();
        let offset = usize::from(tag[19] & 0xf);
        let number =
            tag[offset..offset + 4].iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        format!("{:06}", (number & 0x7fff_ffff) % 1_000_000)
    }
}

fn current_step() -> i64 {
    clock::now().timestamp() / 30
}
