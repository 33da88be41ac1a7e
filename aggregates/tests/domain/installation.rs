//! Restores of the log.

use aggregates::installation::{Installation, InstallationCommand, InstallationFact, LastFact};
use chrono::DateTime;

use crate::given::{given, moment};

const LAST: LastFact = LastFact { transaction_id: 700, position: 12, recorded_at: DateTime::UNIX_EPOCH };

fn restore(era: u16) -> InstallationCommand {
    InstallationCommand::RecordRestore { era, last: Some(LAST), at: moment(0) }
}

fn restored(era: u16) -> InstallationFact {
    InstallationFact::LogRestored { era, last: Some(LAST), at: moment(0) }
}

#[test]
fn each_restore_begins_a_later_era() {
    given::<Installation>([]).when(restore(1)).then([restored(1)]);
    given::<Installation>([restored(1)]).when(restore(2)).then([restored(2)]);
}

#[test]
fn a_restore_that_was_recorded_is_ignored() {
    given::<Installation>([restored(2)]).when(restore(2)).then_nothing();
    given::<Installation>([restored(2)]).when(restore(1)).then_nothing();
}
