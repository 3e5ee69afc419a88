package arguments_test

import data.writ

request(tool, arguments) := {
	"subject": {"id": "alice", "type": "user", "groups": ["staff"]},
	"agent": {"id": "assistant", "kind": "delegated", "authn": "key", "tools": []},
	"server": {"id": "tools"},
	"mcp": {"method": "tools/call", "tool": tool, "prompt": null, "arguments": arguments},
	"request": {"time": "2026-11-23T10:00:00Z"},
}

access := {"tools": {"tools": {
	"transfer": {"staff": true},
	"read_file": {"staff": true},
	"push": {"staff": true},
}}}

limits := {"tools": {
	"transfer": {"amount": {"max": 1000}},
	"read_file": {"path": {"prefix": "/srv/reports/"}},
	"push": {"repository": {"one_of": {"acme/docs": true, "acme/site": true}}},
}}

decide(tool, arguments) := decision if {
	decision := writ.call with input as request(tool, arguments)
		with data.access as access
		with data.limits as limits
}

test_an_amount_up_to_the_limit if decide("transfer", {"amount": 1000}).allow

test_an_amount_above_the_limit if {
	decide("transfer", {"amount": 1000.01}) == {"allow": false, "reason": "amount is above the limit of 1000"}
}

test_an_amount_that_is_no_number if not decide("transfer", {"amount": "1"}).allow

test_an_amount_that_is_missing if {
	decide("transfer", {}).reason == "amount must be given: it has a limit"
}

test_an_amount_that_is_null if not decide("transfer", {"amount": null}).allow

test_an_amount_that_is_false if not decide("transfer", {"amount": false}).allow

test_a_path_below_the_prefix if decide("read_file", {"path": "/srv/reports/q3.csv"}).allow

test_a_path_elsewhere if {
	decide("read_file", {"path": "/etc/passwd"}).reason == "path must be a path below /srv/reports/"
}

test_a_path_that_climbs_out if not decide("read_file", {"path": "/srv/reports/../../etc/passwd"}).allow

test_an_allowed_repository if decide("push", {"repository": "acme/docs"}).allow

test_another_repository if {
	decide("push", {"repository": "acme/payroll"}).reason == "repository must be one of: acme/docs, acme/site"
}

test_arguments_without_a_limit_are_free if decide("transfer", {"amount": 1, "memo": "rent"}).allow

test_an_amount_below_the_least if {
	least := {"tools": {"transfer": {"amount": {"min": 1}}}}
	decision := writ.call with input as request("transfer", {"amount": 0.5}) with data.access as access with data.limits as least
	decision == {"allow": false, "reason": "amount is below the limit of 1"}
	writ.call.allow with input as request("transfer", {"amount": 1}) with data.access as access with data.limits as least
}

test_a_limit_that_is_not_understood_refuses if {
	every limit in [{}, {"max": "1000"}, {"max": false}, {"maximum": 1000}, {"prefix": 7}, {"one_of": ["a"]}, true, 1000] {
		decision := writ.call with input as request("transfer", {"amount": 1})
			with data.access as access
			with data.limits as {"tools": {"transfer": {"amount": limit}}}
		not decision.allow
		contains(decision.reason, "the limit on amount is not understood")
	}
}

test_limits_that_are_no_map_refuse if {
	every broken in [true, false, 7, "max 5", []] {
		not writ.call.allow with input as request("transfer", {"amount": 1})
			with data.access as access
			with data.limits as {"tools": {"transfer": broken}}
	}
}
