"""A server of both eras on the Python SDK, with what every SDK is asked for in the conformance suite's words.

PORT names its port on loopback. See ../ts/server for the whole vocabulary.
"""

import os
from typing import Annotated

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.resolve import Elicit, Resolve, Sample
from mcp_types import Completion, CreateMessageResult, SamplingMessage, TextContent
from pydantic import BaseModel

server = MCPServer("reference")

COLOURS = ["red", "green", "blue"]


class Name(BaseModel):
    name: str


async def ask_name() -> Elicit[Name]:
    return Elicit("What is your name?", Name)


async def ask_capital() -> Sample:
    question = TextContent(type="text", text="What is the capital of France?")
    return Sample([SamplingMessage(role="user", content=question)], max_tokens=100)


@server.tool()
async def test_simple_text() -> str:
    return "This is a simple text response for testing."


@server.tool()
async def test_error_handling() -> str:
    raise ValueError("This tool intentionally returns an error for testing")


@server.tool()
async def test_tool_with_progress(context: Context) -> str:
    for progress in (0, 50, 100):
        await context.report_progress(progress, 100, f"Completed step {progress} of 100")
    return "done"


@server.tool()
async def test_input_required_result_elicitation(given: Annotated[Name, Resolve(ask_name)]) -> str:
    return f"Hello, {given.name}!"


@server.tool()
async def test_input_required_result_sampling(
    sampled: Annotated[CreateMessageResult, Resolve(ask_capital)],
) -> str:
    return f"Sampling response: {sampled.content.text}"


@server.tool()
async def test_trigger_tool_change(context: Context) -> str:
    await context.notify_tools_changed()
    return "tools changed"


@server.prompt()
async def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@server.resource("test://static-text", mime_type="text/plain")
async def static_text() -> str:
    return "This is the content of the static text resource."


@server.resource("test://template/{id}/data", mime_type="text/plain")
async def template(id: str) -> str:
    return f"Data for ID: {id}"


@server.completion()
async def complete(_ref, argument, _context) -> Completion:
    return Completion(values=[colour for colour in COLOURS if colour.startswith(argument.value)])


uvicorn.run(server.streamable_http_app(), host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning")
