use tokio::sync::mpsc;

use super::*;

/// A channel, and what reaches its process.
fn channel(used: Use) -> (Arc<Channel>, mpsc::Receiver<Vec<u8>>) {
    let (to_process, lines) = mpsc::channel(16);
    (Arc::new(Channel::new(used, to_process)), lines)
}

async fn ask(channel: &Arc<Channel>, text: &str) -> Result<Reply, ChannelError> {
    let message = wire::read(text.as_bytes()).unwrap();
    let Kind::Request { id, .. } = message.kind.clone() else {
        panic!("{text} is no request")
    };
    channel.request(&message, &id, text.as_bytes()).await
}

fn sent(lines: &mut mpsc::Receiver<Vec<u8>>) -> Value {
    serde_json::from_slice(&lines.try_recv().unwrap()).unwrap()
}

async fn next(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.next().await.unwrap().json).unwrap()
}

const LOG: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"x"}}"#;

#[tokio::test]
async fn the_same_id_of_two_clients_is_two_requests() {
    let (channel, mut lines) = channel(Use::Shared);
    let request = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let first = ask(&channel, request).await.unwrap();
    let second = ask(&channel, request).await.unwrap();
    let (one, two) = (
        sent(&mut lines)["id"].clone(),
        sent(&mut lines)["id"].clone(),
    );
    assert_ne!(one, two);
    channel
        .take(format!(r#"{{"jsonrpc":"2.0","id":{two},"result":{{"is":"second"}}}}"#).as_bytes());
    channel.take(format!(r#"{{"jsonrpc":"2.0","id":{one},"result":{{"is":"first"}}}}"#).as_bytes());
    let (first, second) = (next(&first).await, next(&second).await);
    assert_eq!(
        (&first["id"], &first["result"]["is"]),
        (&1.into(), &"first".into())
    );
    assert_eq!(
        (&second["id"], &second["result"]["is"]),
        (&1.into(), &"second".into())
    );
}

#[tokio::test]
async fn progress_goes_to_its_request_under_its_own_token() {
    let (channel, mut lines) = channel(Use::Shared);
    let request = r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"_meta":{"progressToken":"t"}}}"#;
    let first = ask(&channel, request).await.unwrap();
    let second = ask(&channel, request).await.unwrap();
    sent(&mut lines);
    let token = sent(&mut lines)["params"]["_meta"]["progressToken"].clone();
    let progress = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
    );
    channel.take(progress.as_bytes());
    assert_eq!(next(&second).await["params"]["progressToken"], "t");
    channel.end("over");
    assert_eq!(next(&first).await["error"]["message"], "over");
}

#[tokio::test]
async fn a_subscriptions_events_go_to_it_under_its_own_id() {
    let (channel, mut lines) = channel(Use::Shared);
    let listen = r#"{"jsonrpc":"2.0","id":"sub","method":"subscriptions/listen","params":{}}"#;
    let reply = ask(&channel, listen).await.unwrap();
    let _other = ask(&channel, listen).await.unwrap();
    let number = sent(&mut lines)["id"].clone();
    let key = "io.modelcontextprotocol/subscriptionId";
    channel.take(format!(r#"{{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{{"_meta":{{"{key}":{number}}}}}}}"#).as_bytes());
    channel.take(
        format!(r#"{{"jsonrpc":"2.0","id":{number},"result":{{"_meta":{{"{key}":{number}}}}}}}"#)
            .as_bytes(),
    );
    assert_eq!(next(&reply).await["params"]["_meta"][key], "sub");
    let answer = next(&reply).await;
    assert_eq!(
        (&answer["id"], &answer["result"]["_meta"][key]),
        (&"sub".into(), &"sub".into())
    );
}

#[tokio::test]
async fn what_belongs_to_nobody_is_shown_to_nobody_who_shares_a_process() {
    let (channel, mut lines) = channel(Use::Shared);
    let reply = ask(
        &channel,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
    )
    .await
    .unwrap();
    sent(&mut lines);
    channel.take(LOG);
    channel.take(br#"{"jsonrpc":"2.0","id":9,"method":"sampling/createMessage"}"#);
    let refused = sent(&mut lines);
    assert_eq!(
        (&refused["id"], &refused["error"]["code"]),
        (&9.into(), &METHOD_NOT_FOUND.into())
    );
    channel.take(br#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    assert_eq!(next(&reply).await["result"], serde_json::json!({}));
}

#[tokio::test]
async fn a_cancellation_of_a_client_without_a_session_reaches_no_request_of_others() {
    let (channel, mut lines) = channel(Use::Shared);
    let _reply = ask(
        &channel,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
    )
    .await
    .unwrap();
    sent(&mut lines);
    let cancel =
        br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    channel
        .notify(&wire::read(cancel).unwrap(), cancel)
        .await
        .unwrap();
    assert!(lines.try_recv().is_err());
}

#[tokio::test]
async fn a_sessions_cancellation_names_the_request_by_its_number() {
    let (channel, mut lines) = channel(Use::Session);
    let reply = ask(
        &channel,
        r#"{"jsonrpc":"2.0","id":"x","method":"tools/list"}"#,
    )
    .await
    .unwrap();
    let number = sent(&mut lines)["id"].clone();
    for (named, reaches) in [("\"y\"", false), ("\"x\"", true), ("\"x\"", false)] {
        let cancel = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{named}}}}}"#
        );
        channel
            .notify(&wire::read(cancel.as_bytes()).unwrap(), cancel.as_bytes())
            .await
            .unwrap();
        let line = lines.try_recv().ok();
        assert_eq!(line.is_some(), reaches, "{named}");
        if let Some(line) = line {
            let line: Value = serde_json::from_slice(&line).unwrap();
            assert_eq!(line["params"]["requestId"], number);
        }
    }
    assert_eq!(reply.next().await, None);
    drop(reply);
    assert!(lines.try_recv().is_err(), "it was cancelled already");
}

#[tokio::test]
async fn a_request_that_nobody_waits_for_any_more_is_cancelled() {
    let (channel, mut lines) = channel(Use::Shared);
    let reply = ask(
        &channel,
        r#"{"jsonrpc":"2.0","id":"x","method":"tools/call"}"#,
    )
    .await
    .unwrap();
    let number = sent(&mut lines)["id"].clone();
    drop(reply);
    let cancelled = sent(&mut lines);
    assert_eq!(cancelled["method"], "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], number);
}

#[tokio::test]
async fn in_a_session_ids_tell_requests_in_flight_apart() {
    let (channel, _lines) = channel(Use::Session);
    let request = r#"{"jsonrpc":"2.0","id":"A","method":"ping"}"#;
    let reply = ask(&channel, request).await.unwrap();
    let again = ask(&channel, &request.replace('A', "\\u0041")).await;
    assert!(matches!(again, Err(ChannelError::IdInUse)), "{again:?}");
    drop(reply);
    ask(&channel, request).await.unwrap();
}

#[tokio::test]
async fn a_request_of_the_servers_goes_where_there_is_no_doubt_and_only_its_answer_comes_back() {
    let (channel, mut lines) = channel(Use::Session);
    let asking = br#"{"jsonrpc":"2.0","id":"e\u0031","method":"elicitation/create","params":{}}"#;
    let reply = ask(
        &channel,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#,
    )
    .await
    .unwrap();
    sent(&mut lines);
    channel.take(asking);
    assert_eq!(next(&reply).await["method"], "elicitation/create");
    let answer = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":"{id}","result":{{}}}}"#);
    for (id, waited_for) in [("e2", false), ("e1", true), ("e1", false)] {
        let text = answer(id);
        let Kind::Answer { id, .. } = wire::read(text.as_bytes()).unwrap().kind else {
            panic!()
        };
        let taken = channel.answer(&id, text.as_bytes()).await.unwrap();
        assert_eq!(taken, waited_for, "{text}");
        assert_eq!(lines.try_recv().is_ok(), waited_for, "{text}");
    }
}

#[tokio::test]
async fn with_several_requests_in_flight_what_belongs_to_none_is_for_the_sessions_own_stream() {
    let (channel, _lines) = channel(Use::Session);
    let first = ask(
        &channel,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#,
    )
    .await
    .unwrap();
    let second = ask(
        &channel,
        r#"{"jsonrpc":"2.0","id":2,"method":"tools/call"}"#,
    )
    .await
    .unwrap();
    channel.take(LOG);
    assert_eq!(
        next(&second).await["params"]["data"],
        "x",
        "without a stream, to the latest"
    );
    let stream = channel.open_stream().unwrap();
    assert!(channel.open_stream().is_none(), "there is one of them");
    channel.take(LOG);
    assert!(stream.next().await.is_some());
    drop((first, second, stream));
    channel.take(LOG);
    let again = channel.open_stream().unwrap();
    assert!(again.next().await.is_some(), "it waits for the next stream");
}

#[tokio::test]
async fn a_reader_that_is_too_slow_for_a_request_of_the_servers_is_not_waited_for() {
    let (channel, mut lines) = channel(Use::Session);
    for id in 0..=ASKED {
        channel.take(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"roots/list"}}"#).as_bytes());
    }
    let refused = sent(&mut lines);
    assert_eq!(
        (&refused["id"], &refused["error"]["code"]),
        (&ASKED.into(), &METHOD_NOT_FOUND.into())
    );
}

#[tokio::test]
async fn requests_in_flight_are_bounded() {
    let (to_process, mut lines) = mpsc::channel(REQUESTS);
    let channel = Arc::new(Channel::new(Use::Shared, to_process));
    let mut replies = Vec::new();
    for _ in 0..REQUESTS {
        replies.push(
            ask(&channel, r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#)
                .await
                .unwrap(),
        );
    }
    let more = ask(&channel, r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).await;
    assert!(matches!(more, Err(ChannelError::Busy)), "{more:?}");
    while lines.try_recv().is_ok() {}
    replies.pop();
    ask(&channel, r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#)
        .await
        .unwrap();
}

#[tokio::test]
async fn whoever_waits_for_a_process_that_ends_is_told_so() {
    let (channel, _lines) = channel(Use::Session);
    let reply = ask(
        &channel,
        r#"{"jsonrpc":"2.0","id":"q","method":"tools/call"}"#,
    )
    .await
    .unwrap();
    let stream = channel.open_stream().unwrap();
    channel.end("the MCP server ended (exit status: 1)");
    let told = reply.next().await.unwrap();
    assert_eq!(told.answer, Some(Err(INTERNAL_ERROR)));
    let told: Value = serde_json::from_slice(&told.json).unwrap();
    assert_eq!(
        (&told["id"], &told["error"]["code"]),
        (&"q".into(), &INTERNAL_ERROR.into())
    );
    assert_eq!(reply.next().await, None);
    assert_eq!(stream.next().await, None);
    let after = ask(&channel, r#"{"jsonrpc":"2.0","id":"r","method":"ping"}"#).await;
    assert!(matches!(after, Err(ChannelError::Over(_))), "{after:?}");
}
