# Allows every call, and shows of a list what one of the caller's groups may use: what filtering a list costs.
package writ

call := {"allow": true}

visible := {"allow": true} if {
	some group in input.subject.groups
	data.access[input.server.id].tools[input.mcp.tool][group] == true
}
