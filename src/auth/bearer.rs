//! Who may do what: the contract's table, in the one place that asks it.

use crate::domain::{Reason, Refusal, Role};

/// What a token makes of its bearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bearer {
    /// A member of one session.
    Member(Role),
    /// A backend: calls what is for backends, and is no member.
    Server,
    /// There are no tokens: everyone may do everything.
    Anyone,
}

/// What may be allowed or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Join a session and receive.
    Join,
    /// Send signals, as a member.
    Signal,
    /// Disconnect others, as a member.
    Disconnect,
    /// Call `SendFromServer` and `SessionService`.
    Serve,
}

impl Bearer {
    /// Every role that a token can name.
    pub const NAMED: &[Self] =
        &[Self::Member(Role::Subscriber), Self::Member(Role::Publisher), Self::Member(Role::Moderator), Self::Server];

    /// The name, as tokens and messages write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Member(role) => role.name(),
            Self::Server => "server",
            Self::Anyone => "anyone",
        }
    }

    /// Whom a token's `role` names.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMED.iter().copied().find(|bearer| bearer.name() == name)
    }

    /// Whether it may do that. Source: the contract, who may do what.
    #[must_use]
    pub fn may(self, action: Action) -> bool {
        match (self, action) {
            (Self::Anyone, _) | (Self::Member(_), Action::Join) | (Self::Server, Action::Serve) => true,
            (Self::Member(role), Action::Signal) => role.may_signal(),
            (Self::Member(role), Action::Disconnect) => role.may_disconnect(),
            (Self::Member(_), Action::Serve) | (Self::Server, _) => false,
        }
    }

    /// Refuses what it may not do.
    ///
    /// # Errors
    /// `ROLE_FORBIDS`, naming the roles that may.
    pub fn check(self, action: Action) -> Result<(), Refusal> {
        if self.may(action) {
            return Ok(());
        }
        let allowed: Vec<_> = Self::NAMED.iter().filter(|other| other.may(action)).map(|other| other.name()).collect();
        let what = match action {
            Action::Join => "join a session",
            Action::Signal => "send signals",
            Action::Disconnect => "disconnect others",
            Action::Serve => "call what is for backends",
        };
        let message = format!("a {} may not {what}; the role needed is {}", self.name(), allowed.join(" or "));
        Err(Refusal::new(Reason::RoleForbids, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTIONS: [Action; 4] = [Action::Join, Action::Signal, Action::Disconnect, Action::Serve];

    #[test]
    fn the_whole_table_of_the_contract() {
        let table = [
            ("subscriber", [true, false, false, false]),
            ("publisher", [true, true, false, false]),
            ("moderator", [true, true, true, false]),
            ("server", [false, false, false, true]),
        ];
        assert_eq!(table.len(), Bearer::NAMED.len());
        for (name, allowed) in table {
            let bearer = Bearer::named(name).unwrap();
            for (action, is_allowed) in ACTIONS.into_iter().zip(allowed) {
                assert_eq!(bearer.may(action), is_allowed, "{name} {action:?}");
                assert_eq!(bearer.check(action).is_ok(), is_allowed, "{name} {action:?}");
                assert!(Bearer::Anyone.may(action), "{action:?}");
            }
        }
    }

    #[test]
    fn a_refusal_names_the_roles_that_may() {
        let refusal = Bearer::named("subscriber").unwrap().check(Action::Signal).unwrap_err();
        assert_eq!(refusal.reason, Reason::RoleForbids);
        assert_eq!(refusal.message, "a subscriber may not send signals; the role needed is publisher or moderator");
    }

    #[test]
    fn only_the_names_of_the_contract_are_roles() {
        for name in ["Moderator", "admin", "anyone", "", "server "] {
            assert_eq!(Bearer::named(name), None, "{name}");
        }
    }
}
