package questions_test

import data.writ
import data.writ.questions

asks(method) := {
	"subject": {"id": "alice", "groups": ["finance"]},
	"agent": {"id": "assistant", "kind": "delegated", "authn": "key", "tools": []},
	"server": {"id": "ledger"},
	"mcp": {
		"from": "server", "method": method, "tool": null, "arguments": {},
		"during": {"method": "tools/call", "target": "transfer"},
	},
	"task": null,
	"request": {"time": "2026-11-23T10:00:00Z"},
}

autonomous(method) := object.union(asks(method), {"agent": {"id": "batch", "kind": "autonomous", "authn": "key", "tools": ["transfer"]}})

test_what_mcp_knows_may_be_asked if {
	writ.call == {"allow": true} with input as asks("ping")
	writ.call == {"allow": true} with input as asks("roots/list")
	writ.call == {"allow": true} with input as asks("sampling/createMessage")
	writ.call == {"allow": true} with input as asks("elicitation/create")
}

test_an_agent_on_its_own_may_be_asked_too if {
	writ.call == {"allow": true} with input as autonomous("sampling/createMessage")
}

test_what_mcp_does_not_know_may_not if {
	answer := writ.call with input as asks("tools/call")
	answer == {"allow": false, "reason": "ledger may not ask clients for tools/call"}
}

test_data_says_no if {
	refused := {"ledger": {"sampling/createMessage": false}}
	answer := writ.call with input as asks("sampling/createMessage") with data.questions as refused
	answer.allow == false
	writ.call.allow with input as asks("elicitation/create") with data.questions as refused
}

test_a_client_gains_nothing_by_it if {
	request := object.union(asks("roots/list"), {"mcp": {"from": "client"}})
	not questions.granted with input as request
	not writ.call.allow with input as request
}
