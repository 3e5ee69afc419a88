package labels_test

import data.writ

request(agent, claims, server) := {
	"subject": {"id": "alice", "type": "user", "groups": [], "claims": claims},
	"agent": {"id": "assistant", "kind": "delegated", "authn": "key", "labels": agent, "tools": []},
	"server": {"id": "ledger", "labels": server},
	"mcp": {"from": "client", "method": "tools/call", "tool": "export", "prompt": null, "arguments": {}},
	"request": {"time": "2026-11-23T10:00:00Z"},
}

emea_finance := {
	"agent": {"team": {"finance": true}},
	"claims": {"department": {"emea": true}},
}

decide(asked, labels) := decision if {
	decision := writ.call with input as asked with data.labels as labels
}

granting(condition) := {"ledger": {"grant": {"export": condition}}}

test_what_has_every_attribute_is_granted if {
	decide(request({"team": "finance"}, {"department": "emea"}, {}), granting(emea_finance)).allow
}

test_what_lacks_one_is_not if {
	every asked in [
		request({"team": "finance"}, {}, {}),
		request({"team": "finance"}, {"department": "apac"}, {}),
		request({}, {"department": "emea"}, {}),
		request({"team": "Finance"}, {"department": "emea"}, {}),
		request({"team": "finance "}, {"department": "emea"}, {}),
		request({"team": "finance"}, {"department": ["emea"]}, {}),
		request({"team": "finance"}, {"department": true}, {}),
		request({"team": ["finance"]}, {"department": "emea"}, {}),
	] {
		not decide(asked, granting(emea_finance)).allow
	}
}

test_an_agent_and_a_server_of_one_team if {
	same := {"*": {"grant": {"*": {"same": {"team": true}}}}}
	decide(request({"team": "red"}, {}, {"team": "red"}), same).allow
	not decide(request({"team": "red"}, {}, {"team": "blue"}), same).allow
	not decide(request({}, {}, {}), same).allow
	not decide(request({"team": "red"}, {}, {}), same).allow
	not decide(request({"team": "red"}, {}, {"team": "red"}), granting({"same": {"team": false}})).allow
}

test_a_server_that_is_named_is_not_among_the_others if {
	both := {"*": {"grant": {"*": {"same": {"team": true}}}}, "ledger": {}}
	not decide(request({"team": "red"}, {}, {"team": "red"}), both).allow
}

test_a_condition_that_is_not_understood_grants_nothing if {
	every condition in [
		{}, {"agent": {}}, {"agent": true}, {"agents": {"team": {"finance": true}}}, {"agent": {"team": "finance"}},
		{"agent": {"team": {"finance": "true"}}}, "agent", true, null, [],
		{"agent": {"team": {"finance": true}}, "unknown": {"x": true}},
	] {
		not decide(request({"team": "finance"}, {}, {}), granting(condition)).allow
	}
}

test_a_requirement_objects_to_what_a_group_grants if {
	member := object.union(request({"team": "sales"}, {}, {}), {"subject": {"groups": ["staff"]}})
	granted := {"ledger": {"tools": {"export": {"staff": true}}}}
	finance := {"ledger": {"require": {"export": {"agent": {"team": {"finance": true}}}}}}
	broken := {"ledger": {"require": {"export": "finance"}}}
	sales := {"ledger": {"require": {"*": {"agent": {"team": {"sales": true}}}}}}
	decision := writ.call with input as member with data.access as granted with data.labels as finance
	not decision.allow
	contains(decision.reason, "labels and claims that it requires")
	not writ.visible.allow with input as member with data.access as granted with data.labels as finance
	not writ.call.allow with input as member with data.access as granted with data.labels as broken
	writ.call.allow with input as member with data.access as granted with data.labels as sales
}

test_a_label_does_not_help_an_autonomous_agent if {
	own := object.union(request({"team": "finance"}, {"department": "emea"}, {}), {"agent": {"kind": "autonomous"}})
	not decide(own, granting(emea_finance)).allow
}

test_looking_around_by_label if {
	asks := object.union(request({"team": "finance"}, {}, {}), {"mcp": {"method": "tools/list", "tool": null}})
	decide(asks, {"ledger": {"discover": {"agent": {"team": {"finance": true}}}}}).allow
	not decide(asks, {"ledger": {"discover": {"agent": {"team": {"sales": true}}}}}).allow
	not decide(asks, {"ledger": {"grant": {"*": {"agent": {"team": {"finance": true}}}}}}).allow
}

test_a_tool_that_is_named_with_false_is_not_among_the_others if {
	anybody := {"agent": {"team": {"finance": true}}}
	named := {"ledger": {"grant": {"*": anybody, "export": false}}}
	not decide(request({"team": "finance"}, {}, {}), named).allow
	elsewhere := {"*": {"grant": {"*": anybody}}, "ledger": false}
	not decide(request({"team": "finance"}, {}, {}), elsewhere).allow
}
