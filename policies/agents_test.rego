package agents_test

import data.writ

request(tool, tools, authn) := {
	"subject": {"id": "nightly", "type": "workload", "groups": []},
	"agent": {"id": "nightly", "kind": "autonomous", "authn": authn, "tools": tools},
	"server": {"id": "ledger"},
	"mcp": {"method": "tools/call", "tool": tool, "prompt": null, "arguments": {}},
	"request": {"time": "2026-11-23T10:00:00Z"},
}

test_an_autonomous_agent_gets_the_tool_its_registration_names if {
	writ.call.allow with input as request("reconcile", ["reconcile"], "key")
}

test_an_autonomous_agent_gets_no_other_tool if {
	decision := writ.call with input as request("transfer", ["reconcile"], "key")
	not decision.allow
	contains(decision.reason, "its registration does not name this")
}

test_a_group_grant_does_not_help_an_autonomous_agent if {
	member := object.union(request("transfer", [], "key"), {"subject": {"groups": ["treasury"]}})
	not writ.call.allow with input as member with data.access as {"ledger": {"tools": {"transfer": {"treasury": true}}}}
}

test_a_public_client_is_never_autonomous if {
	not writ.call.allow with input as request("reconcile", ["reconcile"], "none")
}

test_an_autonomous_agent_with_a_tool_may_look_around if {
	asks := object.union(request(null, ["reconcile"], "key"), {"mcp": {"method": "initialize"}})
	writ.call.allow with input as asks
	stranger := object.union(request(null, [], "key"), {"mcp": {"method": "initialize"}})
	not writ.call.allow with input as stranger
}

goes_on(method, tools) := object.union(request(null, tools, "key"), {"mcp": {"method": method}})

test_an_autonomous_agent_answers_and_follows_what_it_was_allowed_to_call if {
	writ.call.allow with input as goes_on("response/roots/list", ["reconcile"])
	writ.call.allow with input as goes_on("tasks/get", ["reconcile"])
	not writ.call.allow with input as goes_on("response/roots/list", [])
}
