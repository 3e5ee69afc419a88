use std::ffi::OsStr;

use tokio::time::timeout;

use super::*;

/// How long anything local may take.
const SOON: Duration = Duration::from_secs(30);

fn sessions(most: usize, script: &str) -> Arc<Sessions> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let arguments = ["-c".into(), script.into()];
    let environment = vec![("PATH".into(), path)];
    let recipe = Recipe::new("test", OsStr::new("sh"), &arguments, environment, 1000);
    Arc::new(Sessions::new(Arc::new(recipe), most, SOON))
}

fn principal(subject: &str) -> Principal {
    Principal {
        subject: subject.to_owned(),
        agent: "assistant".to_owned(),
    }
}

#[tokio::test]
async fn a_place_is_taken_until_its_process_has_ended() {
    let sessions = sessions(1, "sleep 1");
    let alice = principal("alice");
    drop(sessions.open(&alice).await.unwrap());
    let error = sessions.open(&alice).await.unwrap_err();
    assert!(matches!(error, SessionError::TooMany(1)), "{error}");
    timeout(SOON, sessions.recipe.all_ended()).await.unwrap();
    sessions.open(&alice).await.unwrap();
}

#[tokio::test]
async fn nobody_has_more_than_half_of_the_places() {
    let sessions = sessions(4, "cat");
    let (alice, bob) = (principal("alice"), principal("bob"));
    let mut open = Vec::new();
    for who in [&alice, &alice] {
        open.push(sessions.open(who).await.unwrap());
    }
    let error = sessions.open(&alice).await.unwrap_err();
    assert!(matches!(error, SessionError::Share(2)), "{error}");
    for who in [&bob, &bob] {
        open.push(sessions.open(who).await.unwrap());
    }
    let error = sessions.open(&principal("carol")).await.unwrap_err();
    assert!(matches!(error, SessionError::TooMany(4)), "{error}");
    drop(open);
    timeout(SOON, sessions.recipe.all_ended()).await.unwrap();
    sessions.open(&alice).await.unwrap();
}

#[tokio::test]
async fn nothing_begins_once_all_have_ended() {
    let sessions = sessions(2, "cat");
    let alice = principal("alice");
    let opening = sessions.open(&alice).await.unwrap();
    sessions.stop().await;
    let error = sessions.begin(opening, alice.clone()).unwrap_err();
    assert!(matches!(error, SessionError::Stopping), "{error}");
    timeout(SOON, sessions.recipe.all_ended()).await.unwrap();
    let error = sessions.open(&alice).await.unwrap_err();
    assert!(matches!(error, SessionError::Stopping), "{error}");
}
