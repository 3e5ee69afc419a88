# What the benchmark decides by: the same two questions as the library (may one of the caller's groups use this
# tool; are its arguments within limits), in the one module that static mode takes.
package writ

default call := {"allow": false, "reason": "not granted"}

call := {"allow": true} if {
	some group in input.subject.groups
	data.access[input.server.id].tools[input.mcp.tool][group] == true
	not over_limit
}

over_limit if {
	some name, limit in data.limits[input.server.id][input.mcp.tool]
	not within(input.mcp.arguments[name], limit)
}

within(value, limit) if {
	is_number(value)
	value <= limit.max
}
