# METADATA
# title: What servers ask of clients
# description: |
#   While it answers a request, a server may ask the client for something of its own: a model's answer (sampling), a user's
#   (elicitation), the folders it works in (roots). Whoever was allowed to make the request may be asked what MCP knows,
#   unless `data.questions[server][method]` is `false`; what MCP does not know is not asked.
# schemas:
#   - data.questions: schema.writ.questions
package writ.questions

asked if input.mcp.from == "server"

known := {
	"ping", "roots/list", "sampling/createMessage", "elicitation/create",
	"tasks/get", "tasks/result", "tasks/list", "tasks/cancel",
}

refused if data.questions[input.server.id][input.mcp.method] == false

granted if {
	asked
	input.mcp.method in known
	not refused
}

objections contains message if {
	asked
	not granted
	message := concat("", [input.server.id, " may not ask clients for ", input.mcp.method])
}
