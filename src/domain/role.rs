//! What a connection may do.

/// A connection's role, each allowed what the one before it is.
///
/// ```
/// use signalbox::domain::Role;
///
/// assert!(Role::Moderator > Role::Publisher);
/// assert!(!Role::Subscriber.may_signal());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Joins and receives.
    Subscriber,
    /// Also signals.
    Publisher,
    /// Also disconnects others.
    Moderator,
}

impl Role {
    /// Whether it may send signals.
    #[must_use]
    pub fn may_signal(self) -> bool {
        self >= Self::Publisher
    }

    /// Whether it may disconnect others.
    #[must_use]
    pub fn may_disconnect(self) -> bool {
        self >= Self::Moderator
    }

    /// The name, for messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Subscriber => "subscriber",
            Self::Publisher => "publisher",
            Self::Moderator => "moderator",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Role;

    #[test]
    fn the_table_of_the_contract() {
        let table = [(Role::Subscriber, false, false), (Role::Publisher, true, false), (Role::Moderator, true, true)];
        for (role, signals, disconnects) in table {
            assert_eq!((role.may_signal(), role.may_disconnect()), (signals, disconnects), "{role:?}");
        }
    }
}
