# METADATA
# title: The entry points
# description: |
#   `call` decides every request, those of servers to clients included, `visible` every entry of a list, `task` what an agent
#   may open a task for, `exchange` who may get a token for another subject. A call is allowed when something grants it and
#   nothing objects; everything else is denied with a reason the caller is shown.
#   Add a grant to `granted` or an objection to `objections`; leave the rest alone.
package writ

import data.writ.access
import data.writ.agents
import data.writ.arguments
import data.writ.budgets
import data.writ.classification
import data.writ.duties
import data.writ.environments
import data.writ.exchanges
import data.writ.hours
import data.writ.labels
import data.writ.questions
import data.writ.read_only
import data.writ.registrations
import data.writ.risk
import data.writ.tasks

default call := {"allow": false, "reason": "no rule grants this call; ask the owner of the policy for access"}

call := {"allow": false, "reason": concat("; ", objections)} if {
	count(objections) > 0
} else := {"allow": false, "reason": classification.reason, "scopes": classification.needed} if {
	granted
	classification.lacks
} else := {"allow": true} if {
	granted
} else := {"allow": false, "reason": concat("", [
	input.subject.id, " has no grant for ", input.mcp.tool, " on ", input.server.id,
])} if {
	input.mcp.tool != null
}

# A tool is listed for whoever may call it with some arguments, at some time, with more scope, or within a task.
default visible := {"allow": false}

visible := {"allow": true} if {
	granted
	count(agents.objections) == 0
	count(labels.objections) == 0
	count(read_only.objections) == 0
	count(risk.objections) == 0
}

granted if access.granted

granted if agents.granted

granted if labels.granted

granted if questions.granted

objections contains message if some message in agents.objections

objections contains message if some message in arguments.objections

objections contains message if some message in budgets.objections

objections contains message if some message in classification.objections

objections contains message if some message in duties.objections

objections contains message if some message in environments.objections

objections contains message if some message in hours.objections

objections contains message if some message in labels.objections

objections contains message if some message in questions.objections

objections contains message if some message in read_only.objections

objections contains message if some message in risk.objections

default task := {"allow": false, "reason": "no rule approves this task; ask the owner of the policy"}

task := tasks.verdict

default exchange := {"allow": false, "reason": "no rule lets this agent get a token for this subject"}

exchange := {"allow": true} if exchanges.granted

default registration := {"decision": "reject", "reason": "no rule takes this registration; ask an administrator to register it"}

registration := registrations.verdict
