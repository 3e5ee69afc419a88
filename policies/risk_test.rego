package risk_test

import data.writ

request(tool, authn) := {
	"subject": {"id": "alice", "type": "user", "groups": ["treasury"]},
	"agent": {"id": "assistant", "kind": "delegated", "authn": authn, "tools": []},
	"server": {"id": "ledger"},
	"mcp": {"method": "tools/call", "tool": tool, "prompt": null, "arguments": {}},
	"request": {"time": "2026-11-23T10:00:00Z"},
}

access := {"ledger": {
	"discover": {"treasury": true},
	"tools": {"listAccounts": {"treasury": true}, "transfer": {"treasury": true}},
}}

risk := {"ledger": {"low": {"listAccounts": true}}}

decide(tool, authn) := decision if {
	decision := writ.call with input as request(tool, authn)
		with data.access as access
		with data.risk as risk
		with data.limits as {}
}

test_a_public_client_gets_a_tool_of_low_risk if decide("listAccounts", "none").allow

test_a_public_client_gets_no_other_tool if {
	decide("transfer", "none").reason == "transfer is for agents that prove who they are: assistant is a public client"
}

test_an_agent_that_proves_who_it_is_gets_it if {
	every authn in ["secret", "key", "workload"] {
		decide("transfer", authn).allow
	}
}

test_without_data_no_tool_is_of_low_risk if {
	not writ.call.allow with input as request("listAccounts", "none") with data.access as access with data.risk as {}
}

test_without_a_grant_that_is_the_reason if {
	decide("export", "none").reason == "alice has no grant for export on ledger"
}

test_a_public_client_may_look_around if {
	asks := object.union(request(null, "none"), {"mcp": {"method": "tools/list"}})
	writ.call.allow with input as asks with data.access as access
}

test_what_a_public_client_may_not_call_it_does_not_see if {
	not writ.visible.allow with input as request("transfer", "none") with data.access as access with data.risk as risk
	writ.visible.allow with input as request("listAccounts", "none") with data.access as access with data.risk as risk
}
