package environments_test

import data.writ

request(labels, claims, task) := {
	"subject": {"id": "alice", "type": "user", "groups": ["sre"], "claims": claims},
	"agent": {"id": "assistant", "kind": "delegated", "authn": "key", "tools": []},
	"server": {"id": "cluster", "labels": labels},
	"mcp": {"method": "tools/call", "tool": "restart", "prompt": null, "arguments": {}},
	"task": task,
	"request": {"time": "2026-11-23T10:00:00Z"},
}

access := {"cluster": {"tools": {"restart": {"sre": true}, "status": {"sre": true}}}}

environments := {
	"production": {"ticket": {"claim": "change_ticket", "prefix": "CHG"}, "free": {"status": true}},
	"audited": {"ticket": {"claim": "change_ticket", "task": true, "prefix": "CHG"}},
	"staging": {},
}

decide(asked) := decision if {
	decision := writ.call with input as asked with data.access as access with data.environments as environments
}

production := {"environment": "production"}

audited := {"environment": "audited"}

within(purpose) := {"id": "019aa0c0", "purpose": purpose, "calls": 0, "calls_today": 0}

test_production_with_a_ticket if decide(request(production, {"change_ticket": "CHG0012345"}, null)).allow

test_production_without_one if {
	decide(request(production, {}, null)) == {"allow": false, "reason": "restart changes production: it needs a change ticket"}
}

test_what_only_looks_like_a_ticket if {
	every ticket in [
		"", "CHG", "chg0012345", " CHG0012345", "CHG0012345 ", "CHG-0012345", "CHG12a", "CHG1\n", "xCHG1", "INC0012345",
		"CHG٣", null, true, 12345, ["CHG0012345"], {"CHG0012345": true},
	] {
		not decide(request(production, {"change_ticket": ticket}, null)).allow
	}
	not decide(request(production, {"Change_Ticket": "CHG0012345"}, null)).allow
}

test_a_task_is_no_ticket_where_that_is_not_said if {
	not decide(request(production, {}, within("CHG0012345 restart"))).allow
	not decide(request(production, {}, {"id": "019aa0c0"})).allow
}

test_a_task_for_a_ticket if {
	decide(request(audited, {}, within("CHG0012345 restart the cluster"))).allow
	decide(request(audited, {}, within("CHG0012345"))).allow
	every purpose in ["", "restart CHG0012345", "CHG0012345: restart", "chg0012345 restart"] {
		not decide(request(audited, {}, within(purpose))).allow
	}
	not decide(request(audited, {}, null)).allow
}

test_the_filter_leaves_the_purpose_to_the_service if decide(request(audited, {}, {"id": "019aa0c0"})).allow

test_staging_needs_none if decide(request({"environment": "staging"}, {}, null)).allow

test_a_tool_that_is_free if {
	looks := object.union(request(production, {}, null), {"mcp": {"tool": "status"}})
	decide(looks).allow
}

test_a_server_outside_all_environments_is_not_called if {
	every labels in [{}, {"environment": "Production"}, {"environment": "production "}, {"env": "production"}, {"environment": ""}, null] {
		decision := decide(request(labels, {"change_ticket": "CHG0012345"}, null))
		not decision.allow
		contains(decision.reason, "is in no environment that the policy knows")
	}
}

test_an_environment_that_is_not_understood if {
	every broken in [
		true, "production", [], {"tickets": {"claim": "change_ticket", "prefix": "CHG"}}, {"ticket": true}, {"ticket": {}},
		{"ticket": false}, {"ticket": {"claim": "change_ticket"}}, {"ticket": {"prefix": "CHG"}},
		{"ticket": {"claim": "change_ticket", "prefix": 7}},
	] {
		not writ.call.allow with input as request(production, {"change_ticket": "CHG0012345"}, null)
			with data.access as access
			with data.environments as {"production": broken}
	}
}

test_without_environments_nothing_is_asked if {
	writ.call.allow with input as request({}, {}, null) with data.access as access
	writ.call.allow with input as request({}, {}, null) with data.access as access with data.environments as {}
}
