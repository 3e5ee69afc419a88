# METADATA
# title: Budgets of tasks
# description: |
#   `data.budgets[server][tool]` is any of `calls` (the tool may be called while its task has had fewer calls, of whatever) and
#   `calls_today` (the same of all tasks of this subject and agent since midnight UTC). Such a tool is called within a task
#   only. The service counts; the filter knows that there is a task and leaves the rest to it.
# schemas:
#   - data.budgets: schema.writ.budgets
package writ.budgets

budget := data.budgets[input.server.id][input.mcp.tool] if input.mcp.method == "tools/call"

limited if budget != null

# At the filter a task has a name and nothing else.
counted_elsewhere if {
	is_string(input.task.id)
	count(input.task) == 1
}

within if {
	is_object(budget)
	count(budget) > 0
	every name, most in budget {
		below(name, most)
	}
}

below("calls", most) if is_below(input.task.calls, most)

below("calls_today", most) if is_below(input.task.calls_today, most)

is_below(calls, most) if {
	is_number(calls)
	is_number(most)
	calls < most
}

objections contains message if {
	limited
	not is_string(input.task.id)
	message := concat("", [input.mcp.tool, " has a budget: open a task and call it within that"])
}

objections contains message if {
	limited
	is_string(input.task.id)
	not counted_elsewhere
	not within
	message := concat("", [input.mcp.tool, " is over its budget of calls"])
}
