//! Names of read models on the command line.

use std::io::{self, Write};

use anyhow::bail;
use projections::Projection;

/// Returns the projections of these names, each once. `unfinished` are the names of unfinished rebuilds.
///
/// # Errors
/// A name is unknown. The error lists the known ones.
pub(in crate::commands) fn projections_named(
    names: &[String],
    unfinished: &[String],
) -> anyhow::Result<Vec<Projection>> {
    let mut projections = Vec::with_capacity(names.len());
    for name in names {
        let Some(projection) = Projection::from_name(name) else {
            let also = match unfinished.contains(name) {
                true => format!(
                    "; another version of this program started a rebuild with that name, and `hooksentry rebuild \
                     --drop {name}` discards it"
                ),
                false => String::new(),
            };
            bail!(
                "{name:?} is not a read model; the read models are {}{also}",
                list_of_names(&Projection::ALL)
            );
        };
        if !projections.contains(&projection) {
            projections.push(projection);
        }
    }
    Ok(projections)
}

/// Warns about unfinished rebuilds of read models that this version does not know and so cannot resume.
pub(super) fn warn_of_unknown(unfinished: &[String]) {
    for name in unfinished.iter().filter(|name| Projection::from_name(name).is_none()) {
        // Continue even if standard error is closed.
        let _ = writeln!(
            io::stderr(),
            "there is an unfinished rebuild of {name:?}, which is not a read model of this version: `hooksentry \
             rebuild --drop {name}` discards it"
        );
    }
}

/// Returns the names, separated by commas.
pub(in crate::commands) fn list_of_names(projections: &[Projection]) -> String {
    projections.iter().map(|projection| projection.name()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_counts_once_and_an_unknown_one_is_an_error() {
        let named = |names: &[&str], unfinished: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
            projections_named(&owned(names), &owned(unfinished))
        };
        let found = named(&["users", "tenants", "users"], &[]).unwrap();
        assert_eq!(found, [Projection::Users, Projection::Tenants]);

        let refused = named(&["users", "accounts"], &[]).unwrap_err().to_string();
        assert!(
            refused.starts_with("\"accounts\" is not a read model; the read models are tenants, users,"),
            "{refused}"
        );
        assert!(!refused.contains("--drop"), "{refused}");
        // After an upgrade that renamed the read model.
        let refused = named(&["accounts"], &["accounts"]).unwrap_err().to_string();
        assert!(refused.contains("`hooksentry rebuild --drop accounts` discards it"), "{refused}");
    }
}
