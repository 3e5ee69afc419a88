package duties_test

import data.writ

request(subject, groups, arguments) := {
	"subject": {"id": subject, "type": "user", "groups": groups},
	"agent": {"id": "assistant", "kind": "delegated", "authn": "key", "tools": []},
	"server": {"id": "pay"},
	"mcp": {"method": "tools/call", "tool": "approve", "prompt": null, "arguments": arguments},
	"request": {"time": "2026-11-23T10:00:00Z"},
}

access := {"pay": {"tools": {"request": {"clerks": true}, "approve": {"heads": true}}}}

decide(asked, duty) := decision if {
	decision := writ.call with input as asked
		with data.access as access
		with data.duties as {"pay": {"approve": duty}}
}

apart := {"not_with": {"request": true}}

named := {"requester": "requested_by"}

test_who_only_approves if decide(request("bob", ["heads"], {}), apart).allow

test_who_may_do_both_may_not_approve if {
	decide(request("bob", ["heads", "clerks"], {}), apart) == {"allow": false, "reason": "approve is not for who may call request"}
}

test_a_role_that_requests_counts_too if {
	decision := writ.call with input as request("bob", ["heads", "all"], {})
		with data.access as access
		with data.roles as {"all": ["clerks"]}
		with data.duties as {"pay": {"approve": apart}}
	not decision.allow
}

test_a_label_that_requests_counts_too if {
	asked := object.union(request("bob", ["heads"], {}), {"agent": {"labels": {"team": "pay"}}})
	decision := writ.call with input as asked
		with data.access as access
		with data.labels as {"pay": {"grant": {"request": {"agent": {"team": {"pay": true}}}}}}
		with data.duties as {"pay": {"approve": apart}}
	not decision.allow
}

test_an_autonomous_agent_that_requests_does_not_approve if {
	own := {"agent": {"kind": "autonomous", "tools": ["approve"]}}
	decide(object.union(request("robot", [], {}), own), apart).allow
	both := {"agent": {"kind": "autonomous", "tools": ["approve", "request"]}}
	not decide(object.union(request("robot", [], {}), both), apart).allow
}

test_somebody_elses_request if decide(request("bob", ["heads"], {"requested_by": "alice"}), named).allow

test_ones_own_request if {
	decide(request("bob", ["heads"], {"requested_by": "bob"}), named).reason == "requested_by must name who requested, and that may not be bob"
}

test_names_that_look_like_ones_own if {
	every requester in ["Bob", "BOB", " bob", "bob ", "bob\n"] {
		not decide(request("bob", ["heads"], {"requested_by": requester}), named).allow
	}
}

test_a_requester_who_is_missing_or_no_name if {
	every arguments in [
		{}, {"requested_by": null}, {"requested_by": ""}, {"requested_by": " "}, {"requested_by": false},
		{"requested_by": 7}, {"requested_by": ["alice"]}, {"Requested_by": "alice"}, null,
	] {
		not decide(request("bob", ["heads"], arguments), named).allow
	}
}

test_duties_that_are_not_understood if {
	every duty in [{}, true, false, "request", {"notwith": {"request": true}}, {"not_with": "request"}, {"requester": true}, []] {
		not decide(request("bob", ["heads"], {"requested_by": "alice"}), duty).allow
	}
}

test_a_tool_without_duties if {
	asked := request("bob", ["heads", "clerks"], {})
	writ.call.allow with input as asked with data.access as access with data.duties as {"pay": {"pay_out": apart}}
}
