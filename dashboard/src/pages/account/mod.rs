//! `/account`: what a user manages for himself: sessions, password, second factor.

mod one;
pub(crate) mod password;
pub(crate) mod second_factor;
pub(crate) mod sessions;

pub(crate) use one::page;

/// Labels of the forms' fields.
const LABELS: [(&str, &str); 5] = [
    ("password", "New password"),
    ("currentPassword", "Current password"),
    ("totpCode", "Code"),
    ("recoveryCode", "Code"),
    ("code", "Code"),
];
