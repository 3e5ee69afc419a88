//! The MCP server proper: five tools over the book.

use std::sync::Arc;

use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{Implementation, ServerCapabilities, ServerConfig};
use rmcp::{ErrorData, Json, ServerHandler, schemars, tool, tool_handler, tool_router};
use serde::{Deserialize, Serialize};

use super::book::{Account, Book};

/// See the module.
#[derive(Clone, Debug)]
pub struct LedgerTools {
    book: Arc<Book>,
}

/// What `listAccounts` answers.
#[derive(Debug, Serialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub struct Accounts {
    /// Every account.
    accounts: Vec<Account>,
}

/// What `getAccount` is asked.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub struct AccountQuery {
    /// Account id.
    account: String,
}

/// What `transfer` is asked.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub struct TransferOrder {
    /// The account to debit.
    from: String,
    /// The account to credit.
    to: String,
    /// Whole units of the currency.
    amount: i64,
    /// ISO 4217 code.
    currency: String,
}

/// What `transfer` and `reconcile` answer.
#[derive(Debug, Serialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub struct Receipt {
    /// What was done.
    text: String,
}

/// What `exportAuditReport` answers.
#[derive(Debug, Serialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub struct AuditReport {
    /// Comma-separated values, one account a line.
    csv: String,
}

#[tool_router]
impl LedgerTools {
    /// Tools over this book.
    pub fn new(book: Arc<Book>) -> Self {
        Self { book }
    }

    #[tool(
        name = "listAccounts",
        description = "Lists every account with its balance",
        annotations(read_only_hint = true)
    )]
    async fn list_accounts(&self) -> Json<Accounts> {
        Json(Accounts {
            accounts: self.book.accounts(),
        })
    }

    #[tool(
        name = "getAccount",
        description = "Shows one account",
        annotations(read_only_hint = true)
    )]
    async fn get_account(
        &self,
        Parameters(query): Parameters<AccountQuery>,
    ) -> Result<Json<Account>, ErrorData> {
        self.book.account(&query.account).map(Json).ok_or_else(|| {
            ErrorData::invalid_params(format!("there is no account {}", query.account), None)
        })
    }

    #[tool(
        name = "transfer",
        description = "Moves money from one account to another",
        annotations(destructive_hint = true, idempotent_hint = false)
    )]
    async fn transfer(
        &self,
        Parameters(order): Parameters<TransferOrder>,
    ) -> Result<Json<Receipt>, String> {
        let TransferOrder {
            from,
            to,
            amount,
            currency,
        } = order;
        self.book
            .transfer(&from, &to, amount, &currency)
            .map_err(|error| format!("nothing was transferred: {error}"))?;
        Ok(Json(Receipt {
            text: format!("transferred {amount} {currency} from {from} to {to}"),
        }))
    }

    #[tool(
        name = "reconcile",
        description = "Checks the books against the bank's statement"
    )]
    async fn reconcile(&self) -> Json<Receipt> {
        let accounts = self.book.accounts();
        let total: i64 = accounts.iter().map(|account| account.balance).sum();
        Json(Receipt {
            text: format!("{} accounts reconciled, {total} EUR in all", accounts.len()),
        })
    }

    #[tool(
        name = "exportAuditReport",
        description = "Exports all accounts for the auditors",
        annotations(read_only_hint = true)
    )]
    async fn export_audit_report(&self) -> Json<AuditReport> {
        let csv = self
            .book
            .accounts()
            .iter()
            .map(|account| format!("{},{},{}\n", account.id, account.currency, account.balance))
            .collect();
        Json(AuditReport { csv })
    }
}

#[tool_handler]
impl ServerHandler for LedgerTools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build()).with_server_info(
            Implementation::new("enterprise-ledger", env!("CARGO_PKG_VERSION")),
        )
    }
}
