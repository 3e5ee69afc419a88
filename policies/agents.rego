# METADATA
# title: Autonomous agents
# description: |
#   An agent without a user behind it gets the tools that its registration names on this server, and
#   nothing else; a public client, which proves nothing about itself, is never autonomous.
package writ.agents

import data.writ.questions

autonomous if input.agent.kind == "autonomous"

# With what goes on with a tool's call: its task, and answers to what the server asks meanwhile.
looking_around := {
	"initialize", "server/discover", "ping", "stream/open", "session/close", "tools/list",
	"notifications/initialized", "notifications/cancelled",
	"tasks/get", "tasks/result", "tasks/update", "tasks/cancel",
}

granted if {
	autonomous
	input.mcp.method == "tools/call"
	input.mcp.tool in input.agent.tools
}

granted if {
	autonomous
	count(input.agent.tools) > 0
	input.mcp.method in looking_around
}

granted if {
	autonomous
	count(input.agent.tools) > 0
	startswith(input.mcp.method, "response/")
}

objections contains message if {
	autonomous
	not questions.asked
	not granted
	message := concat("", ["agent ", input.agent.id, " acts on its own and its registration does not name this"])
}

objections contains "a public client may not act on its own: give it a key or a secret" if {
	autonomous
	input.agent.authn == "none"
}
