# METADATA
# title: Attributes of agent, subject and server
# description: |
#   `data.labels[server]`, or `data.labels["*"]` for servers that it does not name, holds conditions: `grant[tool]` grants the
#   tool, `require[tool]` objects unless it holds, `discover` lets look around; the tool `"*"` stands for those that are not named.
#   A condition is any of `agent[label][value]: true`, `server[label][value]: true`, `claims[claim][value]: true` and
#   `same[label]: true` (agent and server have the same); all of it must hold.
# schemas:
#   - data.labels: schema.writ.labels
package writ.labels

import data.writ.access

# No JSON is a set: a server, or a tool, that is named with anything at all is named.
conditions := data.labels[input.server.id]

conditions := data.labels["*"] if object.get(data.labels, input.server.id, set()) == set()

granted if grants(input.mcp.tool)

granted if {
	input.mcp.method in access.discovery
	holds(conditions.discover)
}

granted if {
	startswith(input.mcp.method, "response/")
	holds(conditions.discover)
}

granted if {
	startswith(input.mcp.method, "notifications/")
	holds(conditions.discover)
}

# Whether conditions alone grant the tool.
grants(tool) if {
	input.mcp.method == "tools/call"
	holds(conditions.grant[tool])
}

grants(tool) if {
	input.mcp.method == "tools/call"
	object.get(conditions.grant, tool, set()) == set()
	holds(conditions.grant["*"])
}

required := conditions.require[input.mcp.tool] if input.mcp.method == "tools/call"

required := conditions.require["*"] if {
	input.mcp.method == "tools/call"
	object.get(conditions.require, input.mcp.tool, set()) == set()
}

objections contains message if {
	required != null
	not holds(required)
	message := concat("", [input.mcp.tool, " is not for this agent and user: the labels and claims that it requires are not theirs"])
}

# What is not understood does not hold.
holds(condition) if {
	is_object(condition)
	count(condition) > 0
	every part, wanted in condition {
		is_object(wanted)
		count(wanted) > 0
		met(part, wanted)
	}
}

met("agent", wanted) if all_among(input.agent.labels, wanted)

met("server", wanted) if all_among(input.server.labels, wanted)

met("claims", wanted) if all_among(input.subject.claims, wanted)

met("same", wanted) if {
	every label, on in wanted {
		on == true
		is_string(input.agent.labels[label])
		input.agent.labels[label] == input.server.labels[label]
	}
}

all_among(attributes, wanted) if {
	every name, values in wanted {
		is_string(attributes[name])
		values[attributes[name]] == true
	}
}
