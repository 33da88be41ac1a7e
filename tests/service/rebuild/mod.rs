//! Read models are rebuilt and compared with the log by the program itself, while others read and write.

mod comparing;
mod fixture;
mod interrupting;
mod quarantining;
mod replacing;
mod retaining;
mod traffic;
