//! The scopes that are about the user and belong to no server (OpenID Connect Core section 5.4).

/// What may be asked about a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityScope {
    /// Who they are: an ID token, and leave to ask the userinfo endpoint.
    OpenId,
    /// Their name.
    Profile,
    /// Their e-mail address.
    Email,
    /// Their groups and roles.
    Groups,
    /// To act for them while they are away (section 11).
    OfflineAccess,
}

impl IdentityScope {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::OpenId,
        Self::Profile,
        Self::Email,
        Self::Groups,
        Self::OfflineAccess,
    ];

    /// The word in a scope.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::OpenId => "openid",
            Self::Profile => "profile",
            Self::Email => "email",
            Self::Groups => "groups",
            Self::OfflineAccess => "offline_access",
        }
    }

    /// The scope of this word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.word() == word)
    }

    /// What it means, for the user who is asked.
    #[must_use]
    pub fn explained(self) -> &'static str {
        match self {
            Self::OpenId => "know that it is you, each time you come back",
            Self::Profile => "see your name",
            Self::Email => "see your e-mail address",
            Self::Groups => "see the groups you are in",
            Self::OfflineAccess => "go on while you are away",
        }
    }
}
