"""An MCP server on standard streams, for the tests of `writ connect`: it speaks the eras that it is told to, and does
what its tools are called."""

import json
import os
import sys

SPEAKS = sys.argv[1].split(",")
VERSION = "io.modelcontextprotocol/protocolVersion"
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
TOOLS = ["echo", "env", "pid", "crash", "large", "ask", "wait", "progress", "stderr"]

# Calls that wait, by their id, and questions of ours with the call that they are for.
waiting = {}
asked = {}


def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def answer(request, result):
    send({"id": request["id"], "result": result})


def text(request, value):
    answer(request, {"content": [{"type": "text", "text": value}]})


def fail(request, code, message):
    send({"id": request["id"], "error": {"code": code, "message": message}})


def call(request):
    params = request["params"]
    name = params["name"]
    if name == "echo":
        text(request, params["arguments"]["text"])
    elif name == "env":
        text(request, " ".join(sorted(os.environ)))
    elif name == "pid":
        text(request, str(os.getpid()))
    elif name == "crash":
        sys.exit(3)
    elif name == "large":
        text(request, "x" * params["arguments"]["size"])
    elif name == "ask":
        asked["q1"] = request
        send({"id": "q1", "method": "elicitation/create", "params": {"message": "sure?"}})
    elif name == "wait":
        waiting[request["id"]] = request
        send({"method": "notifications/message", "params": {"level": "info", "data": "waiting"}})
    elif name == "progress":
        token = params["_meta"]["progressToken"]
        send({"method": "notifications/progress", "params": {"progressToken": token, "progress": 1}})
        text(request, "done")
    elif name == "stderr":
        print("a secret of the server's", file=sys.stderr, flush=True)
        text(request, "said")
    else:
        fail(request, -32602, "unknown tool")


def serve(message):
    method = message.get("method")
    if method is None:
        text(asked.pop(message["id"]), json.dumps(message["result"]))
    elif method == "notifications/cancelled":
        withdrawn = waiting.pop(message["params"]["requestId"], None)
        print("cancelled" if withdrawn else "cancelled nothing", file=sys.stderr, flush=True)
    elif "id" not in message:
        pass
    elif method == "server/discover" and "stateless" in SPEAKS:
        answer(message, {"resultType": "complete", "supportedVersions": ["2026-07-28"]})
    elif method == "initialize" and "sessions" in SPEAKS:
        version = message["params"]["protocolVersion"]
        answer(message, {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": {"name": "t", "version": "1"}})
    elif method == "initialize":
        fail(message, -32022, "unsupported protocol version")
    elif method == "tools/list":
        answer(message, {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]})
    elif method == "tools/call":
        call(message)
    elif method == "subscriptions/listen":
        send({"method": "notifications/tools/list_changed", "params": {"_meta": {SUBSCRIPTION: message["id"]}}})
    else:
        fail(message, -32601, "unknown method")


print("listening on standard streams", flush=True)
for line in sys.stdin:
    serve(json.loads(line))
