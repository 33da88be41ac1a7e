//! What surrounds a page: title, navigation, user.

use super::icons::Icon;
use super::lag::Lags;
use crate::assets::{self, Assets};
use crate::session::claims::Role;
use crate::session::viewer::{Identity, PORTAL, Viewer};
use crate::session::{Session, Visitor};

/// Part of the dashboard, in the order of the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Overview,
    Events,
    Destinations,
    Audit,
    Administration,
    System,
    /// Reached through the user's name.
    Account,
}

/// A link of the navigation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NavigationItem {
    section: Section,
    /// Key that opens it after `g`.
    pub(crate) key: char,
    pub(crate) path: &'static str,
    pub(crate) label: &'static str,
    pub(crate) icon: &'static str,
    /// Lowest role that sees it.
    role: Role,
}

/// A new part of the dashboard needs a variant of [`Section`] and a line here.
const NAVIGATION: &[NavigationItem] = &[
    item(Section::Overview, 'o', "/", "Overview", "overview", Role::Viewer),
    item(Section::Events, 'e', "/events", "Events", "events", Role::Viewer),
    item(Section::Destinations, 'd', "/destinations", "Destinations", "destinations", Role::Viewer),
    item(Section::Audit, 'a', "/audit", "Audit", "audit", Role::Admin),
    item(Section::Administration, 'u', "/users", "Administration", "administration", Role::Viewer),
    item(Section::System, 's', "/system", "System", "system", Role::Admin),
];

/// Navigation of the holders of portal links.
const PORTAL_NAVIGATION: &[NavigationItem] =
    &[item(Section::Events, 'e', "/portal/events", "Events", "events", Role::Viewer)];

const fn item(
    section: Section,
    key: char,
    path: &'static str,
    label: &'static str,
    icon: &'static str,
    role: Role,
) -> NavigationItem {
    NavigationItem { section, key, path, label, icon, role }
}

/// What surrounds a page.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) title: String,
    section: Option<Section>,
    pub(crate) email: String,
    role: Option<Role>,
    /// Whether the page is shown to the holder of a portal link.
    pub(crate) is_portal: bool,
    /// Value of the hidden field `form_token` that every form must have.
    pub(crate) form_token: String,
    /// What was done just now, for a message at the top.
    pub(crate) notice: Option<&'static str>,
    /// What is behind, so that the page shows the past.
    pub(crate) lags: Lags,
}

impl Frame {
    /// Returns the frame of a page for a user who is signed in.
    pub(crate) fn of(session: &Session, section: Section, title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            section: Some(section),
            email: session.claims.email.clone(),
            role: Some(session.claims.role),
            is_portal: false,
            form_token: session.form_token.clone(),
            notice: None,
            lags: Lags::clone(&session.lags),
        }
    }

    /// Returns the frame of a page about events for a user or the holder of a portal link.
    pub(crate) fn of_viewer(viewer: &Viewer, title: &str) -> Self {
        let (email, role) = match &viewer.identity {
            Identity::User(claims) => (claims.email.clone(), Some(claims.role)),
            Identity::PortalLink(_) => (String::new(), None),
        };
        Self {
            title: title.to_owned(),
            section: Some(Section::Events),
            email,
            role,
            is_portal: role.is_none(),
            form_token: viewer.form_token.clone(),
            notice: None,
            lags: Lags::clone(&viewer.lags),
        }
    }

    /// Returns the frame of a page for everyone.
    pub(crate) fn of_visitor(visitor: &Visitor, title: &str) -> Self {
        Self { form_token: visitor.form_token.clone(), ..Self::without_user(title) }
    }

    /// Returns the frame of a page without forms.
    pub(crate) fn without_user(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            section: None,
            email: String::new(),
            role: None,
            is_portal: false,
            form_token: String::new(),
            notice: None,
            lags: Lags::default(),
        }
    }

    /// Shows what was done just now.
    pub(crate) fn with_notice(self, notice: Option<&'static str>) -> Self {
        Self { notice, ..self }
    }

    pub(crate) fn navigation(&self) -> impl Iterator<Item = &'static NavigationItem> {
        let items = if self.is_portal { PORTAL_NAVIGATION } else { NAVIGATION };
        items.iter().filter(|item| self.is_portal || self.allows(item.role))
    }

    pub(crate) fn is_current(&self, item: &NavigationItem) -> bool {
        self.section == Some(item.section)
    }

    /// Returns whether the user has this role or a higher one, to offer what the API will allow.
    pub(crate) fn allows(&self, role: Role) -> bool {
        self.role.is_some_and(|own| own >= role)
    }

    /// Returns what precedes `/events` and `/sign-out` in the paths of the pages.
    pub(crate) fn base(&self) -> &'static str {
        if self.is_portal { PORTAL } else { "" }
    }

    pub(crate) fn role(&self) -> &'static str {
        self.role.map_or("", Role::name)
    }

    pub(crate) fn icon(&self, name: &str) -> Icon {
        Icon::named(name)
    }

    pub(crate) fn assets(&self) -> &'static Assets {
        assets::all()
    }
}
