//! Where a request came from, and which it was, is for Envoy to say, not for its caller.

use writ_tests::traps::table::ON_RECORD;

use super::{BY_WHICH_ID, FROM_WHERE, Site};

#[tokio::test]
async fn a_caller_chooses_neither_its_address_nor_its_request_id() {
    let site = Site::start("traps-record", ON_RECORD.iter().copied()).await;
    // The policy refuses with what it was told as the reason.
    let told = async |tool: &str, trap: Option<&str>| {
        let call = site
            .call(tool)
            .header("x-request-id", "chosen-by-the-caller");
        // Who comes with a forwarded address is internal to nobody.
        let call = match tool {
            FROM_WHERE => call.header("x-forwarded-for", "203.0.113.9"),
            _ => call,
        };
        let to = trap.map_or_else(|| site.shipped(), |trap| site.spoilt(trap));
        let (answer, reached) = site.send(&call, to).await;
        assert_eq!(reached.len(), 0, "{answer}");
        String::from_utf8(answer.body).unwrap()
    };
    let claimed = told(FROM_WHERE, Some("believes-forwarded-for")).await;
    assert!(claimed.contains("203.0.113.9"), "{claimed}");
    let known = told(FROM_WHERE, None).await;
    assert!(known.contains("127.0.0.1"), "{known}");
    assert!(!known.contains("203.0.113.9"), "{known}");

    for trap in ["keeps-request-ids", "private-networks-are-internal"] {
        let chosen = told(BY_WHICH_ID, Some(trap)).await;
        assert!(chosen.contains("chosen-by-the-caller"), "{trap}: {chosen}");
    }
    let given = told(BY_WHICH_ID, None).await;
    assert!(!given.contains("chosen-by-the-caller"), "{given}");

    let records = site.writ.service.audit().unwrap();
    let ids: Vec<_> = records
        .iter()
        .filter(|record| record["kind"] == "denied")
        .map(|record| record["request_id"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(ids.len(), 5, "{records:?}");
    assert!(ids.iter().all(|id| !id.is_empty()), "{ids:?}");
    let chosen = ids.iter().filter(|id| **id == "chosen-by-the-caller");
    assert_eq!(chosen.count(), 3, "{ids:?}");
}
