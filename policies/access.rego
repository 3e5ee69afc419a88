# METADATA
# title: Groups and roles -> server -> tool
# description: |
#   `data.access[server]` holds four maps: `tools[tool]`, `prompts[prompt]`, `resources[uri]` and `discover`, each from a
#   group or role to `true`. `data.roles[group]` names the roles of a group. Nothing is scanned but the
#   caller's own groups, so the number of rules does not matter.
# schemas:
#   - data.access: schema.writ.access
#   - data.roles: schema.writ.roles
package writ.access

# Looking around, and what goes on with something that was allowed: the handshake, lists, notifications, the tasks that a
# call began, answers to what the server asks.
discovery := {
	"initialize", "server/discover", "ping", "stream/open", "session/close",
	"tools/list", "prompts/list", "resources/list", "resources/templates/list", "completion/complete",
	"subscriptions/listen", "logging/setLevel",
	"tasks/get", "tasks/result", "tasks/list", "tasks/update", "tasks/cancel",
}

entries := data.access[input.server.id].tools[input.mcp.tool] if input.mcp.method == "tools/call"

entries := data.access[input.server.id].prompts[input.mcp.prompt] if input.mcp.method == "prompts/get"

entries := data.access[input.server.id].resources[input.mcp.resource_uri] if startswith(input.mcp.method, "resources/")

entries := data.access[input.server.id].discover if input.mcp.method in discovery

entries := data.access[input.server.id].discover if startswith(input.mcp.method, "response/")

entries := data.access[input.server.id].discover if startswith(input.mcp.method, "notifications/")

granted if may(entries)

# Whether one of the caller's groups, or a role of one, is among the entries.
may(among) if {
	some group in input.subject.groups
	among[group] == true
}

may(among) if {
	some group in input.subject.groups
	some role in data.roles[group]
	among[role] == true
}
