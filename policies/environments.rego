# METADATA
# title: Environments
# description: |
#   `data.environments[environment]` says what calls to servers with that label `environment` need: nothing (`{}`), or a change
#   ticket: `ticket.claim` names the claim of the caller's token that holds it, `ticket.task: true` takes the first word of the
#   purpose of the call's task too, and `ticket.prefix` is what its digits follow. `free[tool]: true` needs none. Once there are
#   environments, a server outside all of them is not called.
# schemas:
#   - data.environments: schema.writ.environments
package writ.environments

environment := data.environments[input.server.labels.environment]

ticket := environment.ticket

known if {
	is_object(environment)
	every name, _ in environment {
		name in {"ticket", "free"}
	}
}

objections contains message if {
	input.mcp.method == "tools/call"
	count(data.environments) > 0
	not known
	message := concat("", [input.server.id, " is in no environment that the policy knows: give it the label `environment`"])
}

objections contains message if {
	input.mcp.method == "tools/call"
	ticket != null
	not data.environments[input.server.labels.environment].free[input.mcp.tool] == true
	not ticketed
	message := concat("", [input.mcp.tool, " changes ", input.server.labels.environment, ": it needs a change ticket"])
}

ticketed if is_ticket(input.subject.claims[ticket.claim])

ticketed if {
	ticket.task == true
	is_ticket(split(input.task.purpose, " ")[0])
}

# The service reads the purpose: at the filter a task has a name and nothing else.
ticketed if {
	ticket.task == true
	is_string(input.task.id)
	count(input.task) == 1
}

is_ticket(text) if {
	is_string(text)
	is_string(ticket.prefix)
	startswith(text, ticket.prefix)
	regex.match(`^[0-9]{1,18}$`, substring(text, count(ticket.prefix), -1))
}
