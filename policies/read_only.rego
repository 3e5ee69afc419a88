# METADATA
# title: Agents that only read
# description: |
#   An agent with the label `read_only`, or named in `data.read_only.agents[agent]`, may call tools that say `readOnlyHint` in a
#   definition that is pinned (what a server says of itself may change with the next list, a pin does not), and tools that
#   the policy's owner vouches for in `data.read_only.tools[server][tool]: true`. Only `false` takes an agent out.
# schemas:
#   - data.read_only: schema.writ.read_only
package writ.read_only

only_reads if {
	label := input.agent.labels.read_only
	label != "false"
}

only_reads if {
	named := data.read_only.agents[input.agent.id]
	named != false
}

reads if {
	input.mcp.pinned == true
	input.mcp.annotations.readOnlyHint == true
}

reads if data.read_only.tools[input.server.id][input.mcp.tool] == true

objections contains message if {
	only_reads
	input.mcp.method == "tools/call"
	not reads
	message := concat("", [input.agent.id, " may only read, and nothing that is pinned says that ", input.mcp.tool, " does"])
}
