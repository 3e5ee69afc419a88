"""One JSON object a line, in and out: how a test and a script talk."""

import json
import sys
import traceback


def hear() -> dict:
    """What the test says next."""
    line = sys.stdin.readline()
    if not line:
        raise EOFError("the test has nothing more to say")
    return json.loads(line)


def say(line: dict) -> None:
    print(json.dumps(line), flush=True)


def open_page(url: str) -> str:
    """Sends the person's browser to a page; answers where it ended up."""
    say({"open": url})
    return hear()["landed"]


def outcome(run) -> None:
    """Runs a script that has one thing to say in the end."""
    try:
        say(run(hear()))
    except Exception as error:  # noqa: BLE001 — whatever it is belongs on the line
        say({"error": {"name": type(error).__name__, "message": str(error), "stack": traceback.format_exc()}})
