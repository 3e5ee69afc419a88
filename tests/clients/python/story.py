"""The Python SDK as a client: connects, goes through the steps given, prints one JSON object a line.

Standard input and output as in ../ts/story.mjs.
"""

import asyncio

from lines import hear, say
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp_types import CreateMessageResult, ElicitResult, PromptReference, TextContent
from provider import Memory, provider


def failure(error: BaseException) -> dict:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    known = isinstance(error, MCPError)
    return {
        "error": {
            "name": type(error).__name__,
            "code": error.code if known else None,
            "message": error.message if known else str(error),
            "data": error.data if known else None,
        }
    }


# What a person and a model answer to whatever a server asks them.
ELICITED = ElicitResult(action="accept", content={"name": "Ada"})
SAMPLED = CreateMessageResult(role="assistant", model="none", content=TextContent(type="text", text="Paris"))

# How long a change is waited for before the tool that makes one is called again, in seconds.
AGAIN_S = 0.25


async def elicited(_context, _params) -> ElicitResult:
    return ELICITED


async def sampled(_context, _params) -> CreateMessageResult:
    return SAMPLED


async def heard_a_change(client: Client, tool: str) -> dict:
    async with client.listen(tools_list_changed=True) as changes:
        change = asyncio.ensure_future(anext(aiter(changes)))
        while not change.done():
            await client.call_tool(tool, {})
            await asyncio.wait([change], timeout=AGAIN_S)
        return {"changed": True}


async def step(client: Client, memory: Memory, wanted: dict) -> dict | None:
    if wanted.get("list"):
        return {"tools": [tool.name for tool in (await client.list_tools()).tools]}
    if wanted.get("prompts"):
        return {"prompts": [prompt.name for prompt in (await client.list_prompts()).prompts]}
    if name := wanted.get("prompt"):
        prompt = await client.get_prompt(name, wanted["arguments"])
        return {"text": prompt.messages[0].content.text}
    if wanted.get("resources"):
        resources, templates = await client.list_resources(), await client.list_resource_templates()
        return {
            "resources": [str(resource.uri) for resource in resources.resources],
            "templates": [template.uri_template for template in templates.resource_templates],
        }
    if uri := wanted.get("read"):
        return {"text": (await client.read_resource(uri)).contents[0].text}
    if "complete" in wanted:
        of = PromptReference(type="ref/prompt", name=wanted["of"])
        completed = await client.complete(of, {"name": wanted["argument"], "value": wanted["complete"]})
        return {"values": completed.completion.values}
    if tool := wanted.get("listen"):
        return await heard_a_change(client, tool)
    if wanted.get("pause"):
        say({"paused": True})
        await asyncio.to_thread(hear)
        return None
    if wanted.get("signed_in"):
        return memory.report()

    async def progress(value: float, total: float | None, message: str | None) -> None:
        say({"progress": {"progress": value, "total": total, "message": message}})

    result = await client.call_tool(
        wanted["call"],
        wanted.get("arguments", {}),
        progress_callback=progress if wanted.get("progress") else None,
    )
    return {"result": result.model_dump(mode="json", by_alias=True, exclude_none=True)}


async def main() -> None:
    story, memory = hear(), Memory()
    headers = {"Authorization": f"Bearer {story['token']}"} if story.get("token") else {}
    auth = provider(story["url"], story["oauth"], memory) if story.get("oauth") else None
    async with create_mcp_http_client(headers=headers, auth=auth) as http:
        transport = streamable_http_client(story["url"], http_client=http)
        async with Client(
            transport, mode=story["mode"], elicitation_callback=elicited, sampling_callback=sampled
        ) as client:
            say({"connected": True})
            for wanted in story["steps"]:
                try:
                    if line := await step(client, memory, wanted):
                        say(line)
                except MCPError as error:
                    say(failure(error))


try:
    asyncio.run(main())
except Exception as error:  # noqa: BLE001 — whatever it is belongs on the line
    say(failure(error))
