"""The Python SDK as a client: connects, goes through the steps given, prints one JSON object a line.

Standard input and output as in ../ts/story.mjs.
"""

import asyncio

from lines import hear, say
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
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


async def step(client: Client, memory: Memory, wanted: dict) -> dict | None:
    if wanted.get("list"):
        return {"tools": [tool.name for tool in (await client.list_tools()).tools]}
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
        async with Client(transport, mode=story["mode"]) as client:
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
