//! Roles and statuses of users.

use crate::stored_enum;

stored_enum! {
    /// What a user may do.
    #[derive(Default)]
    pub enum Role {
        /// Manages destinations, senders and API keys, replays events.
        #[default]
        Developer = 0 => "Developer",
        /// Also manages users, invites, settings and queues.
        Admin = 1 => "Admin",
        /// Also manages admins and owners; a tenant always has an owner.
        Owner = 10 => "Owner",
        /// Reads only.
        Viewer = 20 => "Viewer",
    }
}

stored_enum! {
    /// Whether a user may log in.
    #[derive(Default)]
    pub enum UserStatus {
        #[default]
        Active = 0 => "Active",
        Inactive = 1 => "Inactive",
    }
}
