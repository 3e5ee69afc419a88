//! rmcp as a client that plays the steps which the scripts in `tests/clients` play, and answers in the same lines.

#![expect(deprecated, reason = "sampling is on its way out, and in use")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rmcp::model::{
    ClientCapabilities, ClientConfig, ContentBlock, CreateMessageRequestParams,
    CreateMessageResult, ElicitRequestParams, ElicitResult, ElicitationAction,
    GetPromptRequestParams, Implementation, ProgressNotificationParam, ReadResourceRequestParams,
    SamplingMessage, SubscriptionFilter,
};
use rmcp::service::{NotificationContext, RequestContext, RoleClient, RunningService};
use rmcp::{ClientHandler, ErrorData};
use serde_json::{Value, json};
use writ_tests::mcp::{self, Era};

/// How long a change is waited for before the tool that makes one is called again.
const AGAIN: Duration = Duration::from_millis(250);

/// Answers whatever a server asks, and keeps what it says meanwhile.
#[derive(Clone, Debug, Default)]
struct Answering {
    progress: Arc<Mutex<Vec<Value>>>,
}

impl ClientHandler for Answering {
    fn get_info(&self) -> ClientConfig {
        let capabilities = ClientCapabilities::builder()
            .enable_elicitation()
            .enable_sampling()
            .build();
        ClientConfig::new(capabilities, Implementation::new("writ-tests", "1.0.0"))
    }

    async fn create_message(
        &self,
        _: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        let message = SamplingMessage::assistant_text("Paris");
        Ok(CreateMessageResult::new(message, "none".to_owned()))
    }

    async fn create_elicitation(
        &self,
        _: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(json!({ "name": "Ada" })))
    }

    async fn on_progress(
        &self,
        progress: ProgressNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        let line = json!({ "progress": { "message": progress.message } });
        self.progress.lock().unwrap().push(line);
    }
}

/// Plays the whole story; answers its lines.
pub async fn play(url: &str, token: &str, era: Era, steps: &[Value]) -> Vec<Value> {
    let handler = Answering::default();
    let client = mcp::connect_as(handler.clone(), url, token, era)
        .await
        .unwrap();
    let mut lines = Vec::new();
    for step in steps {
        let line = played(&client, step).await;
        let progress = std::mem::take(&mut *handler.progress.lock().unwrap());
        if step["progress"] == true {
            lines.extend(progress);
        }
        lines.push(line);
    }
    client.cancel().await.unwrap();
    lines
}

async fn played(client: &RunningService<RoleClient, Answering>, step: &Value) -> Value {
    let text = |name: &str| step[name].as_str().unwrap().to_owned();
    let arguments = || step["arguments"].as_object().cloned().unwrap();
    if step["list"] == true {
        let tools = client.list_all_tools().await.unwrap();
        json!({ "tools": tools.iter().map(|tool| &tool.name).collect::<Vec<_>>() })
    } else if step["prompts"] == true {
        let prompts = client.list_all_prompts().await.unwrap();
        json!({ "prompts": prompts.iter().map(|prompt| &prompt.name).collect::<Vec<_>>() })
    } else if step["prompt"].is_string() {
        let asked = GetPromptRequestParams::new(text("prompt")).with_arguments(arguments());
        let prompt = client.get_prompt(asked).await.unwrap();
        match &prompt.messages[0].content {
            ContentBlock::Text(content) => json!({ "text": content.text }),
            other => json!({ "text": other }),
        }
    } else if step["resources"] == true {
        let resources = client.list_all_resources().await.unwrap();
        let templates = client.list_all_resource_templates().await.unwrap();
        json!({
            "resources": resources.iter().map(|resource| &resource.uri).collect::<Vec<_>>(),
            "templates": templates.iter().map(|template| &template.uri_template).collect::<Vec<_>>(),
        })
    } else if step["read"].is_string() {
        let asked = ReadResourceRequestParams::new(text("read"));
        let read = client.read_resource(asked).await.unwrap();
        json!({ "text": serde_json::to_value(&read.contents[0]).unwrap()["text"] })
    } else if step["complete"].is_string() {
        let of = (text("of"), text("argument"), text("complete"));
        let completed = client
            .complete_prompt_argument(of.0, of.1, of.2, None)
            .await
            .unwrap();
        json!({ "values": completed.values })
    } else if step["listen"].is_string() {
        changed(client, &text("listen")).await
    } else {
        let result = mcp::call(client, &text("call"), step["arguments"].clone()).await;
        json!({ "result": result.unwrap() })
    }
}

/// Calls the tool until it is heard that tools changed.
async fn changed(client: &RunningService<RoleClient, Answering>, tool: &str) -> Value {
    let wanted = SubscriptionFilter::builder().tools_list_changed().build();
    let mut changes = client.listen(wanted).await.unwrap();
    loop {
        mcp::call(client, tool, json!({})).await.unwrap();
        if let Ok(change) = tokio::time::timeout(AGAIN, changes.next()).await {
            let heard = change.unwrap().is_some();
            changes.cancel().await.unwrap();
            return json!({ "changed": heard });
        }
    }
}
