//! The ledger as a plain MCP server, before anything stands in front of it.

use serde_json::json;
use writ_tests::ledger::Ledger;
use writ_tests::mcp::{self, Era};

#[tokio::test]
async fn it_speaks_both_wire_eras() {
    let ledger = Ledger::start_open(Ledger::bind().await.unwrap())
        .await
        .unwrap();
    for era in Era::ALL {
        let client = mcp::connect(&ledger.url(), "unused", era).await.unwrap();
        let tools = client.list_all_tools().await.unwrap();
        let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_ref()).collect();
        assert_eq!(
            names,
            [
                "exportAuditReport",
                "getAccount",
                "listAccounts",
                "reconcile",
                "transfer"
            ],
            "{era:?}"
        );
        let answer = mcp::call(&client, "getAccount", json!({"account": "ops"}))
            .await
            .unwrap();
        assert_eq!(
            answer.structured_content,
            Some(json!({"id": "ops", "name": "Operations", "currency": "EUR", "balance": 48_200})),
            "{era:?}"
        );
    }
}

#[tokio::test]
async fn a_transfer_is_booked_whole_or_not_at_all() {
    let ledger = Ledger::start_open(Ledger::bind().await.unwrap())
        .await
        .unwrap();
    let client = mcp::connect(&ledger.url(), "unused", Era::Stateless)
        .await
        .unwrap();
    let order =
        |amount: i64| json!({"from": "ops", "to": "payroll", "amount": amount, "currency": "EUR"});

    let done = mcp::call(&client, "transfer", order(200)).await.unwrap();
    assert_ne!(done.is_error, Some(true));
    let refused = mcp::call(&client, "transfer", order(1_000_000))
        .await
        .unwrap();
    assert_eq!(refused.is_error, Some(true));

    assert_eq!(ledger.book().account("ops").unwrap().balance, 48_000);
    assert_eq!(ledger.book().account("payroll").unwrap().balance, 122_100);
}
