//! Bundles: facts with everything that proves them, in one file that is verified without this installation.
//!
//! A bundle is a `tar.gz`. Its members, in this order:
//!
//! | Member | What |
//! |---|---|
//! | `README.txt`, `verify.py` | how to verify it without this program, and a script that does |
//! | `policy.txt` | the policy of the installation, if one was given; verifiers use their own |
//! | `log/<id>/checkpoint` | the signed head of a log of the tenant |
//! | `log/<id>/installation.tlog-proof` | proof that the installation's log has that checkpoint |
//! | `timestamps/<id>.checkpoint`, `.tsr` | the checkpoint in that proof and its time stamp, if it has one |
//! | `log/<id>/tile/0/...` | each followed by the payloads of its facts |
//! | `payloads/<event>.delivered`, `.received` | exactly the bytes that the facts commit to |
//! | `log/<id>/tile/1/...` and above | what connects the tiles with the checkpoint |
//! | `proofs/<id>/<index>.tlog-proof` | for the facts of a single event |
//! | `facts.ndjson` | exact texts, salts and indices, in the order of the logs |
//! | `manifest.json` | what the bundle claims to have |
//!
//! Facts, tiles and payloads are in one order, so [`verify`](fn@verify) reads them side by side and keeps none of them:
//! its memory does not grow with the facts, except for the tiles above level 0, which have a hash for 256 of them.

mod archive;
mod export;
mod format;
mod report;
mod verify;

pub(crate) use export::{Source, export};
pub(crate) use format::Selection;
pub(crate) use report::{BadPosition, Checked, LogReport, Report};
pub(crate) use verify::{Trust, verify};
