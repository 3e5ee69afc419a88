# METADATA
# title: Separation of duties
# description: |
#   Who requested may not approve. `data.duties[server][tool]` of an approving tool is any of `not_with[other tool]: true` (whom
#   the other tool is granted gets this one never) and `requester`: the argument that names who requested, which must be there and
#   somebody else than the subject. That the argument is true the server has to check: it gets the one that was decided on.
# schemas:
#   - data.duties: schema.writ.duties
package writ.duties

import data.writ.access
import data.writ.labels

duty := data.duties[input.server.id][input.mcp.tool] if input.mcp.method == "tools/call"

separate if duty != null

understood if {
	is_object(duty)
	count(duty) > 0
	every name, _ in duty {
		name in {"not_with", "requester"}
	}
	is_object(object.get(duty, "not_with", {}))
	is_string(object.get(duty, "requester", ""))
}

requests(tool) if access.may(data.access[input.server.id].tools[tool])

requests(tool) if labels.grants(tool)

requests(tool) if {
	input.agent.kind == "autonomous"
	tool in input.agent.tools
}

# Names that people read as one are one.
plain(name) := lower(trim_space(name))

somebody_else if {
	requester := input.mcp.arguments[duty.requester]
	is_string(requester)
	plain(requester) != ""
	plain(requester) != plain(input.subject.id)
}

objections contains message if {
	separate
	not understood
	message := concat("", ["the duties of ", input.mcp.tool, " are not understood: tell the owner of the policy"])
}

objections contains message if {
	understood
	some other, excludes in duty.not_with
	excludes != false
	requests(other)
	message := concat("", [input.mcp.tool, " is not for who may call ", other])
}

objections contains message if {
	understood
	duty.requester
	not somebody_else
	message := concat("", [duty.requester, " must name who requested, and that may not be ", input.subject.id])
}
