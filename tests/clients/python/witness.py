"""A server on the Python SDK that writes down what it understood: {"tool", "arguments"}, one call a line."""

import os

import uvicorn
from lines import say
from mcp.server.lowlevel import Server
from mcp_types import CallToolResult, ListToolsResult, TextContent


async def call_tool(_, params) -> CallToolResult:
    say({"tool": params.name, "arguments": params.arguments})
    return CallToolResult(content=[TextContent(type="text", text="heard")])


async def list_tools(_, params) -> ListToolsResult:
    return ListToolsResult(tools=[])


server = Server("witness", on_call_tool=call_tool, on_list_tools=list_tools)
uvicorn.run(server.streamable_http_app(), host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning")
