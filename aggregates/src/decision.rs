//! The seam between our synchronous decisions and the `cqrs-es` framework.

use cqrs_es::{Aggregate, DomainEvent};

/// An aggregate whose decisions are a plain function of its state and a command.
pub trait Decide: Aggregate {
    /// What follows from `command`: facts to append (none when it changes nothing), or the refusal
    /// that says why not. Repeating a command is normal; each command's documentation says whether
    /// the repeat is ignored or refused.
    fn decide(&self, command: Self::Command) -> Result<Vec<Self::Event>, Self::Error>;
}

/// The facts of one aggregate, as they are stored.
pub trait Facts: DomainEvent {
    /// The names of every fact of this aggregate. They are stored and shown to auditors.
    const NAMES: &'static [&'static str];
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

/// Names the facts of an aggregate and the version of their stored form.
macro_rules! stored_facts {
    ($fact:ident { $($name:ident),+ $(,)? }) => {
        impl cqrs_es::DomainEvent for $fact {
            fn event_type(&self) -> String {
                match self { $(Self::$name { .. } => stringify!($name),)+ }.to_owned()
            }

            fn event_version(&self) -> String {
                "1.0".to_owned()
            }
        }

        impl $crate::Facts for $fact {
            const NAMES: &'static [&'static str] = &[$(stringify!($name)),+];
        }
    };
}
