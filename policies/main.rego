# METADATA
# title: The entry points
# description: |
#   `call` decides every request, `visible` every entry of a list. A call is allowed when something
#   grants it and nothing objects; everything else is denied with a reason the caller is shown.
#   Add a grant to `granted` or an objection to `objections`; leave the rest alone.
package writ

import data.writ.access
import data.writ.agents
import data.writ.arguments
import data.writ.hours

default call := {"allow": false, "reason": "no rule grants this call; ask the owner of the policy for access"}

call := {"allow": false, "reason": concat("; ", objections)} if {
	count(objections) > 0
} else := {"allow": true} if {
	granted
} else := {"allow": false, "reason": concat("", [
	input.subject.id, " has no grant for ", input.mcp.tool, " on ", input.server.id,
])} if {
	input.mcp.tool != null
}

# A tool is listed for whoever may call it with some arguments.
default visible := {"allow": false}

visible := {"allow": true} if {
	granted
	count(agents.objections) == 0
}

granted if access.granted

granted if agents.granted

objections contains message if some message in agents.objections

objections contains message if some message in arguments.objections

objections contains message if some message in hours.objections
