//! Which read models were meant.

use std::io::{self, Write};

use anyhow::bail;
use projections::Projection;

/// The projections of these names, each once. An unknown name is an error that lists the known ones;
/// `half_built` are those of which a generation is half built.
pub(in crate::commands) fn projections_named(
    names: &[String],
    half_built: &[String],
) -> anyhow::Result<Vec<Projection>> {
    let mut projections = Vec::with_capacity(names.len());
    for name in names {
        let Some(projection) = Projection::from_name(name) else {
            let also = match half_built.contains(name) {
                true => format!(
                    "; something of that name was begun by another program, and `hooksentry rebuild --drop \
                     {name}` drops it"
                ),
                false => String::new(),
            };
            bail!("no read model is called {name:?}, only {}{also}", list_of_names(&Projection::ALL));
        };
        if !projections.contains(&projection) {
            projections.push(projection);
        }
    }
    Ok(projections)
}

/// Says which half-built generations nobody will go on with.
pub(super) fn warn_of_unknown(half_built: &[String]) {
    for name in half_built.iter().filter(|name| Projection::from_name(name).is_none()) {
        // Whoever started this may have stopped reading; the work goes on.
        let _ = writeln!(
            io::stderr(),
            "a rebuild of {name:?}, which this program does not know, was begun and left: `hooksentry rebuild \
             --drop {name}` drops it"
        );
    }
}

/// Names, separated by commas.
pub(in crate::commands) fn list_of_names(projections: &[Projection]) -> String {
    projections.iter().map(|projection| projection.name()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_understood_once_each_and_unknown_ones_are_told() {
        let named = |names: &[&str], half_built: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
            projections_named(&owned(names), &owned(half_built))
        };
        let found = named(&["users", "tenants", "users"], &[]).unwrap();
        assert_eq!(found, [Projection::Users, Projection::Tenants]);

        let refused = named(&["users", "accounts"], &[]).unwrap_err().to_string();
        assert!(
            refused.starts_with("no read model is called \"accounts\", only tenants, users,"),
            "{refused}"
        );
        assert!(!refused.contains("--drop"), "{refused}");
        // As after an upgrade that renamed it.
        let refused = named(&["accounts"], &["accounts"]).unwrap_err().to_string();
        assert!(refused.contains("`hooksentry rebuild --drop accounts` drops it"), "{refused}");
    }
}
