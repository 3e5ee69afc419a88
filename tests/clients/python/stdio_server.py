"""The Python SDK as a server on standard streams, in both eras."""

import os

from mcp.server.mcpserver import Context, MCPServer
from pydantic import BaseModel

server = MCPServer("stdio")


class Name(BaseModel):
    """What is asked of the user."""

    name: str


@server.tool()
def echo(text: str) -> str:
    """Says it again."""
    return text


@server.tool()
def environment() -> str:
    """The names of the variables that this process was given."""
    return " ".join(sorted(os.environ))


@server.tool()
def process() -> str:
    """The id of this process."""
    return str(os.getpid())


@server.tool()
async def count(context: Context, to: int) -> str:
    """Counts, and says how far it is."""
    for step in range(to):
        await context.report_progress(step + 1, to)
    return f"counted to {to}"


@server.tool()
async def greet(context: Context) -> str:
    """Asks the user for a name."""
    answer = await context.elicit("What is your name?", Name)
    return f"hello {answer.data.name}" if answer.action == "accept" else answer.action


@server.tool()
def crash() -> str:
    """Ends the process."""
    os._exit(3)


if __name__ == "__main__":
    server.run("stdio")
