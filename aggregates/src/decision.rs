//! Adapter between the synchronous decisions of this crate and the `cqrs-es` framework.

use cqrs_es::{Aggregate, DomainEvent};

/// Aggregate whose decisions are a pure function of its state and a command.
pub trait Decide: Aggregate<Event: Facts> {
    /// Returns the facts that follow from `command`, to be appended to the stream; none if it changes nothing.
    /// Commands are repeated in normal operation; the documentation of each says whether a repetition is ignored
    /// or refused.
    ///
    /// # Errors
    ///
    /// The reason why the aggregate refuses the command.
    fn decide(&self, command: Self::Command) -> Result<Vec<Self::Event>, Self::Error>;
}

/// Names and versions under which the facts of one aggregate are stored.
pub trait Facts: DomainEvent + 'static {
    /// Names of all facts of this aggregate. They are stored and shown to auditors.
    const NAMES: &'static [&'static str];

    /// Returns the version of the form in which a fact of this name is written; `None` if no fact has this name.
    fn version_of(name: &str) -> Option<u32>;

    /// Returns that version as it is stored with the fact, such as `1.0`.
    #[must_use]
    fn stored_version(name: &str) -> String {
        crate::upcasting::format_version(Self::version_of(name).unwrap_or(1))
    }
}

/// Implements [`cqrs_es::Aggregate`] by [`Decide`] and the inherent method `fold`.
macro_rules! aggregate {
    ($aggregate:ident, $command:ty, $fact:ty, $refusal:ty) => {
        impl cqrs_es::Aggregate for $aggregate {
            const TYPE: &'static str = stringify!($aggregate);
            type Command = $command;
            type Event = $fact;
            type Error = $refusal;
            type Services = ();

            async fn handle(
                &mut self,
                command: Self::Command,
                _: &(),
                sink: &cqrs_es::event_sink::EventSink<Self>,
            ) -> Result<(), Self::Error> {
                for fact in $crate::Decide::decide(self, command)? {
                    sink.write(fact, self).await;
                }
                Ok(())
            }

            fn apply(&mut self, fact: Self::Event) {
                self.fold(fact);
            }
        }
    };
}

/// Implements [`Facts`] from the names of the facts, each with the version of its stored form unless it is 1.
macro_rules! stored_facts {
    ($fact:ident { $($name:ident $(: $version:literal)?),+ $(,)? }) => {
        impl cqrs_es::DomainEvent for $fact {
            fn event_type(&self) -> String {
                match self { $(Self::$name { .. } => stringify!($name),)+ }.to_owned()
            }

            fn event_version(&self) -> String {
                $crate::upcasting::format_version(match self { $(Self::$name { .. } => stored_facts!(@ $($version)?),)+ })
            }
        }

        impl $crate::Facts for $fact {
            const NAMES: &'static [&'static str] = &[$(stringify!($name)),+];

            fn version_of(name: &str) -> Option<u32> {
                match name {
                    $(stringify!($name) => Some(stored_facts!(@ $($version)?)),)+
                    _ => None,
                }
            }
        }
    };
    (@) => { 1 };
    (@ $version:literal) => { $version };
}
