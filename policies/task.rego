# METADATA
# title: Tasks
# description: |
#   A task may name the tools that its subject and agent could be granted; others are taken off it. `data.tasks` limits every
#   task: `max_expires_in` (seconds), `max_calls` and `max_open` (tasks of one subject and agent at a time).
# schemas:
#   - data.tasks: schema.writ.tasks
package writ.tasks

default longest := 3600

longest := data.tasks.max_expires_in

default most_calls := 100

most_calls := data.tasks.max_calls

default most_open := 10

most_open := data.tasks.max_open

kept := {server: tools |
	some server, asked in input.task.tools
	tools := [tool | some tool in asked; may(server, tool)]
	count(tools) > 0
}

may(server, tool) if {
	input.agent.kind == "delegated"
	entries := data.access[server].tools[tool]
	some group in input.subject.groups
	entries[group] == true
}

may(server, tool) if {
	input.agent.kind == "delegated"
	entries := data.access[server].tools[tool]
	some group in input.subject.groups
	some role in data.roles[group]
	entries[role] == true
}

may(server, tool) if {
	input.agent.kind == "autonomous"
	tool in input.agent.tools[server]
}

objections contains "none of these tools could be granted to this subject and agent" if count(kept) == 0

objections contains message if {
	input.counts.open >= most_open
	message := concat("", ["there are ", format_int(input.counts.open, 10), " open tasks already: close one first"])
}

budget := most_calls if input.task.max_calls == null

budget := min([input.task.max_calls, most_calls]) if input.task.max_calls != null

verdict := {"allow": false, "reason": concat("; ", objections)} if {
	count(objections) > 0
} else := {
	"allow": true,
	"tools": kept,
	"expires_in": min([input.task.expires_in, longest]),
	"max_calls": budget,
}
