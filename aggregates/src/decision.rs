//! The seam between our synchronous decisions and the `cqrs-es` framework.

use cqrs_es::{Aggregate, DomainEvent};

/// An aggregate whose decisions are a plain function of its state and a command.
pub trait Decide: Aggregate<Event: Facts> {
    /// What follows from `command`: facts to append (none when it changes nothing), or the refusal
    /// that says why not. Repeating a command is normal; each command's documentation says whether
    /// the repeat is ignored or refused.
    fn decide(&self, command: Self::Command) -> Result<Vec<Self::Event>, Self::Error>;
}

/// The facts of one aggregate, as they are stored.
pub trait Facts: DomainEvent + 'static {
    /// The names of every fact of this aggregate. They are stored and shown to auditors.
    const NAMES: &'static [&'static str];

    /// The version in which a fact of this name is written; `None`: there is no such fact.
    fn version_of(name: &str) -> Option<u32>;

    /// That version as it is stored beside the fact.
    #[must_use]
    fn stored_version(name: &str) -> String {
        crate::upcasting::written(Self::version_of(name).unwrap_or(1))
    }
}

/// Writes the three-line adapter from [`Decide`] to [`cqrs_es::Aggregate`].
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

/// Names the facts of an aggregate, and the version of their stored form where it is not the first.
macro_rules! stored_facts {
    ($fact:ident { $($name:ident $(: $version:literal)?),+ $(,)? }) => {
        impl cqrs_es::DomainEvent for $fact {
            fn event_type(&self) -> String {
                match self { $(Self::$name { .. } => stringify!($name),)+ }.to_owned()
            }

            fn event_version(&self) -> String {
                $crate::upcasting::written(match self { $(Self::$name { .. } => stored_facts!(@ $($version)?),)+ })
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
