use serde_json::Value;

use super::*;
use crate::connect::channel::Reply;

/// `sh -c script`, for messages of at most 1000 bytes.
fn recipe(script: &str) -> Arc<Recipe> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let arguments = ["-c".into(), script.into()];
    let environment = vec![("PATH".into(), path), ("NAMED".into(), "here".into())];
    Arc::new(Recipe::new(
        "test",
        OsStr::new("sh"),
        &arguments,
        environment,
        1000,
    ))
}

fn start(script: &str) -> Process {
    recipe(script).start(Use::Session, ()).unwrap()
}

async fn ask(process: &Process) -> Reply {
    let request = br#"{"jsonrpc":"2.0","id":"q","method":"ping"}"#;
    let message = super::super::wire::read(request).unwrap();
    let super::super::wire::Kind::Request { id, .. } = message.kind.clone() else {
        panic!()
    };
    process
        .channel
        .request(&message, &id, request)
        .await
        .unwrap()
}

async fn answer(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.next().await.unwrap().json).unwrap()
}

/// Whether a process of this id runs. One that nobody has waited for yet does not.
fn runs(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z ")
}

const ANSWER: &str = r#"read line; printf '{"jsonrpc":"2.0","id":1,"result":"%s"}\n' "#;

#[tokio::test]
async fn a_process_has_the_environment_that_it_was_given_and_no_other() {
    let process = start(&format!(
        r#"{ANSWER} "$(env | cut -d= -f1 | sort | tr '\n' ' ')"; cat"#
    ));
    let names = answer(&ask(&process).await).await["result"].clone();
    // PWD, SHLVL and _ are the shell's own.
    let names: Vec<&str> = names
        .as_str()
        .unwrap()
        .split(' ')
        .filter(|n| !["", "PWD", "SHLVL", "_", "OLDPWD"].contains(n))
        .collect();
    assert_eq!(names, ["NAMED", "PATH"]);
    process.stop().await;
}

#[tokio::test]
async fn lines_that_are_no_messages_are_dropped() {
    let process = start(&format!(
        "echo starting; echo; echo '[]'; {ANSWER} done; cat"
    ));
    assert_eq!(answer(&ask(&process).await).await["result"], "done");
    process.stop().await;
}

#[tokio::test]
async fn a_process_that_ends_says_how_and_what_it_said_last() {
    let process = start("read line; echo 'no \x1b[31mroom' >&2; exit 3");
    let told = answer(&ask(&process).await).await;
    assert_eq!(
        told["error"]["message"],
        "the MCP server ended (exit status: 3)"
    );
    assert_eq!(
        &*process.ended().await,
        "the MCP server ended (exit status: 3)"
    );
    assert_eq!(process.last_words(), ["no \u{fffd}[31mroom"]);
}

#[tokio::test]
async fn an_answer_is_not_lost_when_its_process_ends_right_after() {
    let process = start(&format!("{ANSWER} last; exit 0"));
    assert_eq!(answer(&ask(&process).await).await["result"], "last");
    process.ended().await;
}

#[tokio::test]
async fn a_message_that_is_too_long_ends_its_process() {
    let process = start("read line; head -c 2000 /dev/zero | tr '\\0' x; cat");
    let told = answer(&ask(&process).await).await;
    assert_eq!(
        told["error"]["message"],
        "the MCP server wrote a message of more than 1000 bytes and was ended"
    );
    process.ended().await;
}

#[tokio::test]
async fn a_process_that_reads_the_end_of_its_input_ends_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ended");
    let process = start(&format!(
        "trap '' TERM; cat > /dev/null; echo bye > {}",
        file.display()
    ));
    process.stop().await;
    assert_eq!(std::fs::read_to_string(file).unwrap(), "bye\n");
}

#[tokio::test]
async fn whatever_it_has_started_ends_with_it() {
    // A launcher that does not pass on what it is told, and a server that does not listen either.
    for script in [
        "sleep 600 & echo $! >&2; wait",
        "trap '' TERM; (trap '' TERM; sleep 600; sleep 600) & echo $! >&2; wait; wait",
        "sleep 600 >/dev/null 2>&1 </dev/null & echo $! >&2; exit 1",
    ] {
        let process = start(script);
        let pid = loop {
            match process.last_words().first() {
                Some(pid) => break pid.clone(),
                None => tokio::task::yield_now().await,
            }
        };
        process.stop().await;
        assert!(!runs(&pid), "{script}");
    }
}

#[tokio::test]
async fn a_process_that_nobody_needs_any_more_ends() {
    let recipe = recipe("cat > /dev/null");
    drop(recipe.start(Use::Session, ()).unwrap());
    recipe.all_ended().await;
}

#[tokio::test]
async fn a_program_that_is_not_there_cannot_be_started() {
    let recipe = Arc::new(Recipe::new(
        "test",
        OsStr::new("/no/such/program"),
        &[],
        Vec::new(),
        1000,
    ));
    let error = recipe.start(Use::Session, ()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}
