//! A server of both eras on rmcp, with what every SDK is asked for in the conformance suite's words.
//!
//! Its siblings on the other SDKs are in `tests/clients`; [`crate::servers`] runs those.

#![expect(deprecated, reason = "sampling is on its way out, and in use")]

use std::sync::Arc;

use anyhow::Result;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientResult, CompleteRequestParams,
    CompleteResult, CompletionInfo, ContentBlock, CreateMessageRequest, CreateMessageRequestParams,
    ElicitRequest, ElicitRequestParams, GetPromptRequestParams, GetPromptResponse, GetPromptResult,
    InputRequest, InputRequests, InputRequiredResult, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    ProgressNotificationParam, Prompt, PromptArgument, PromptMessage, ProtocolVersion,
    ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, Resource,
    ResourceContents, ResourceTemplate, Role, SamplingMessage, ServerCapabilities, ServerConfig,
    ServerRequest, SubscriptionFilter, Tool,
};
use rmcp::service::{RequestContext, SubscriptionContext};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::serving::Serving;

const COLOURS: [&str; 3] = ["red", "green", "blue"];
const TOOLS: [&str; 6] = [
    "test_simple_text",
    "test_error_handling",
    "test_tool_with_progress",
    "test_input_required_result_elicitation",
    "test_input_required_result_sampling",
    "test_trigger_tool_change",
];
const PROMPT: &str = "test_prompt_with_arguments";
const RESOURCE: &str = "test://static-text";
const TEMPLATE: &str = "test://template/{id}/data";
/// What an answer is brought back under.
const ANSWER: &str = "answer";

/// A running server; stopped when dropped.
#[derive(Debug)]
pub struct Reference {
    serving: Serving,
}

impl Reference {
    /// Starts it.
    pub async fn start() -> Result<Self> {
        let serving = Serving::start(Handler::default()).await?;
        Ok(Self { serving })
    }

    /// Its port on loopback.
    pub fn port(&self) -> u16 {
        self.serving.address().port()
    }
}

#[derive(Clone, Debug, Default)]
struct Handler {
    changed: Arc<Notify>,
}

/// What a tool has to know of its client.
#[derive(Clone, Copy, Debug)]
enum Question {
    /// A form with a name.
    Name,
    /// The model's word for a city.
    Capital,
}

impl Question {
    fn form() -> Result<ElicitRequestParams, ErrorData> {
        let schema = json!({ "type": "object", "properties": { "name": { "type": "string" } }, "required": ["name"] });
        Ok(ElicitRequestParams::FormElicitationParams {
            meta: None,
            message: "What is your name?".to_owned(),
            requested_schema: serde_json::from_value(schema).map_err(internal)?,
        })
    }

    fn sample() -> CreateMessageRequestParams {
        let question = SamplingMessage::user_text("What is the capital of France?");
        CreateMessageRequestParams::new(vec![question], 100)
    }

    /// As part of a result (from 2026-07-28).
    fn input(self) -> Result<InputRequest, ErrorData> {
        Ok(match self {
            Self::Name => InputRequest::Elicitation(ElicitRequest::new(Self::form()?)),
            Self::Capital => InputRequest::CreateMessage(CreateMessageRequest::new(Self::sample())),
        })
    }

    /// As a request of its own (up to 2025-11-25); answers with the result.
    async fn ask(self, context: &RequestContext<RoleServer>) -> Result<Value, ErrorData> {
        let request = match self {
            Self::Name => ServerRequest::ElicitRequest(ElicitRequest::new(Self::form()?)),
            Self::Capital => {
                ServerRequest::CreateMessageRequest(CreateMessageRequest::new(Self::sample()))
            }
        };
        let answer: ClientResult = context.peer.send_request(request).await.map_err(internal)?;
        serde_json::to_value(answer).map_err(internal)
    }

    /// What the tool says to the answer.
    fn said(self, answer: &Value) -> String {
        let text = |pointer| {
            answer
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        match self {
            Self::Name => format!("Hello, {}!", text("/content/name")),
            Self::Capital => format!("Sampling response: {}", text("/content/text")),
        }
    }
}

fn internal(error: impl std::fmt::Display) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}

fn said(text: impl Into<String>) -> CallToolResponse {
    CallToolResult::success(vec![ContentBlock::text(text)]).into()
}

async fn asking(
    question: Question,
    request: &CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResponse, ErrorData> {
    if context.meta.protocol_version() != Some(ProtocolVersion::V_2026_07_28) {
        return Ok(said(question.said(&question.ask(context).await?)));
    }
    let given = request
        .input_responses
        .as_ref()
        .and_then(|given| given.get(ANSWER));
    if let Some(given) = given {
        return Ok(said(question.said(given)));
    }
    let mut wanted = InputRequests::new();
    wanted.insert(ANSWER.to_owned(), question.input()?);
    Ok(InputRequiredResult::new(Some(wanted), Some("asked".into())).into())
}

async fn progress(context: &RequestContext<RoleServer>) -> Result<CallToolResponse, ErrorData> {
    if let Some(token) = context.meta.get_progress_token() {
        for progress in [0.0, 50.0, 100.0] {
            let step = ProgressNotificationParam::new(token.clone(), progress)
                .with_total(100.0)
                .with_message(format!("Completed step {progress} of 100"));
            context.peer.notify_progress(step).await.map_err(internal)?;
        }
    }
    Ok(said("done"))
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_prompts()
            .enable_resources()
            .enable_completions()
            .build();
        ServerConfig::new(capabilities)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let schema = json!({ "type": "object" });
        let schema = schema.as_object().cloned().unwrap_or_default();
        let tool = |name| Tool::new(name, name, schema.clone());
        Ok(ListToolsResult::with_all_items(TOOLS.map(tool).into()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        match request.name.as_ref() {
            "test_simple_text" => Ok(said("This is a simple text response for testing.")),
            "test_error_handling" => {
                let text = "This tool intentionally returns an error for testing";
                Ok(CallToolResult::error(vec![ContentBlock::text(text)]).into())
            }
            "test_tool_with_progress" => progress(&context).await,
            "test_input_required_result_elicitation" => {
                asking(Question::Name, &request, &context).await
            }
            "test_input_required_result_sampling" => {
                asking(Question::Capital, &request, &context).await
            }
            "test_trigger_tool_change" => {
                self.changed.notify_waiters();
                Ok(said("tools changed"))
            }
            unknown => Err(ErrorData::invalid_params(
                format!("there is no tool {unknown}"),
                None,
            )),
        }
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let arguments = ["arg1", "arg2"].map(|name| PromptArgument::new(name).with_required(true));
        let prompt = Prompt::new(PROMPT, Some(PROMPT), Some(arguments.into()));
        Ok(ListPromptsResult::with_all_items(vec![prompt]))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        let given = |name: &str| {
            arguments
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let text = format!(
            "Prompt with arguments: arg1='{}', arg2='{}'",
            given("arg1"),
            given("arg2")
        );
        let message = PromptMessage::new_text(Role::User, text);
        Ok(GetPromptResult::new(vec![message]).into())
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let resource = Resource::new(RESOURCE, "static-text");
        Ok(ListResourcesResult::with_all_items(vec![resource]))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let template = ResourceTemplate::new(TEMPLATE, "template");
        Ok(ListResourceTemplatesResult::with_all_items(vec![template]))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let id = request
            .uri
            .strip_prefix("test://template/")
            .and_then(|rest| rest.strip_suffix("/data"));
        let text = match id {
            Some(id) => format!("Data for ID: {id}"),
            None if request.uri == RESOURCE => {
                "This is the content of the static text resource.".to_owned()
            }
            None => return Err(ErrorData::resource_not_found(request.uri, None)),
        };
        let contents = ResourceContents::text(text, request.uri);
        Ok(ReadResourceResult::new(vec![contents]).into())
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let values = COLOURS
            .iter()
            .filter(|colour| colour.starts_with(&request.argument.value))
            .map(|colour| (*colour).to_owned())
            .collect();
        Ok(CompleteResult::new(
            CompletionInfo::new(values).map_err(internal)?,
        ))
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(requested.supported_by(&self.get_info().capabilities))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        loop {
            tokio::select! {
                () = context.cancelled() => return Ok(()),
                () = self.changed.notified() => {
                    context.sink().notify_tool_list_changed().await.map_err(internal)?;
                }
            }
        }
    }
}
