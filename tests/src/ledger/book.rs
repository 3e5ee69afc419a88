//! The accounts: what the ledger's tools read and change.

use std::collections::BTreeMap;
use std::sync::Mutex;

use rmcp::schemars;
use serde::Serialize;

/// One account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub struct Account {
    /// Account id.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// ISO 4217 code.
    pub currency: String,
    /// Whole units of the currency.
    pub balance: i64,
}

/// Why a transfer was not booked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferError {
    /// No such account.
    UnknownAccount(String),
    /// An account is kept in another currency.
    Currency(String),
    /// Not enough money.
    Funds,
    /// Nothing, a negative sum, or from an account to itself.
    Pointless,
}

impl std::fmt::Display for TransferError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownAccount(id) => write!(f, "there is no account {id}"),
            Self::Currency(id) => write!(f, "account {id} is kept in another currency"),
            Self::Funds => write!(f, "the account does not cover the sum"),
            Self::Pointless => write!(f, "a transfer moves a positive sum between two accounts"),
        }
    }
}

/// All accounts.
#[derive(Debug)]
pub struct Book(Mutex<BTreeMap<String, Account>>);

impl Book {
    /// Three accounts of a small company.
    pub fn with_example_accounts() -> Self {
        let accounts = [
            ("ops", "Operations", 48_200),
            ("payroll", "Payroll", 121_900),
            ("reserve", "Reserve", 650_000),
        ];
        Self(Mutex::new(
            accounts
                .map(|(id, name, balance)| {
                    let account = Account {
                        id: id.to_owned(),
                        name: name.to_owned(),
                        currency: "EUR".to_owned(),
                        balance,
                    };
                    (id.to_owned(), account)
                })
                .into(),
        ))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Account>> {
        // Nothing panics while it holds the lock, and the map is whole between any two statements.
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Every account, by id.
    pub fn accounts(&self) -> Vec<Account> {
        self.lock().values().cloned().collect()
    }

    /// One account.
    pub fn account(&self, id: &str) -> Option<Account> {
        self.lock().get(id).cloned()
    }

    /// Moves money; all of it or nothing.
    pub fn transfer(
        &self,
        from: &str,
        to: &str,
        amount: i64,
        currency: &str,
    ) -> Result<(), TransferError> {
        if amount <= 0 || from == to {
            return Err(TransferError::Pointless);
        }
        let mut accounts = self.lock();
        for id in [from, to] {
            let account = accounts
                .get(id)
                .ok_or_else(|| TransferError::UnknownAccount(id.to_owned()))?;
            if account.currency != currency {
                return Err(TransferError::Currency(id.to_owned()));
            }
        }
        if accounts
            .get(from)
            .is_none_or(|account| account.balance < amount)
        {
            return Err(TransferError::Funds);
        }
        if let Some(account) = accounts.get_mut(from) {
            account.balance -= amount;
        }
        if let Some(account) = accounts.get_mut(to) {
            account.balance += amount;
        }
        Ok(())
    }
}
