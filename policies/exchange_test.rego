package exchange_test

import data.writ

request(kind, client, authn) := {
	"subject": {"id": "alice", "type": "user", "groups": ["finance"]},
	"agent": {"id": client, "authn": authn},
	"server": {"id": "ledger"},
	"exchange": {"kind": kind, "subject_agent": "assistant", "actor": null},
	"request": {"time": "2026-11-23T10:00:00Z"},
}

grants := {"delegation": {"planner": {"ledger": true}}}

test_nothing_is_exchanged_without_data if {
	decision := writ.exchange with input as request("delegation", "planner", "key")
	not decision.allow
	contains(decision.reason, "no rule lets this agent")
}

test_a_named_client_may_act_for_others if {
	writ.exchange.allow with input as request("delegation", "planner", "key") with data.exchange as grants
}

test_delegation_is_not_impersonation if {
	not writ.exchange.allow with input as request("impersonation", "planner", "key") with data.exchange as grants
}

test_another_client_may_not if {
	not writ.exchange.allow with input as request("delegation", "helper", "key") with data.exchange as grants
}

test_a_public_client_may_not if {
	not writ.exchange.allow with input as request("delegation", "planner", "none") with data.exchange as grants
}
