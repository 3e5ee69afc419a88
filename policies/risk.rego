# METADATA
# title: Public clients
# description: |
#   A public client proves nothing about itself: any program on a person's computer can pass for it. Users who come through
#   one get the tools that `data.risk[server].low[tool]` marks `true`; the others need an agent with a key or a secret.
# schemas:
#   - data.risk: schema.writ.risk
package writ.risk

import data.writ.access

objections contains message if {
	input.agent.kind == "delegated"
	input.agent.authn == "none"
	input.mcp.method == "tools/call"
	access.granted
	not low
	message := concat("", [
		input.mcp.tool, " is for agents that prove who they are: ", input.agent.id, " is a public client",
	])
}

low if data.risk[input.server.id].low[input.mcp.tool] == true
