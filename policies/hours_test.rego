package hours_test

import data.writ

request(time) := {
	"subject": {"id": "alice", "type": "user", "groups": ["treasury"]},
	"agent": {"id": "assistant", "kind": "delegated", "authn": "key", "tools": []},
	"server": {"id": "ledger"},
	"mcp": {"method": "tools/call", "tool": "transfer", "prompt": null, "arguments": {}},
	"request": {"time": time},
}

access := {"ledger": {"tools": {"transfer": {"treasury": true}}}}

hours := {"ledger": {"transfer": {
	"zone": "Europe/Berlin",
	"days": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"],
	"from": 8,
	"until": 18,
}}}

decide(time) := decision if {
	decision := writ.call with input as request(time)
		with data.access as access
		with data.hours as hours
		with data.limits as {}
}

# 2026-11-23 is a Monday; Berlin is one hour ahead of UTC then.
test_open_in_the_morning if decide("2026-11-23T07:00:00Z").allow

test_closed_before if not decide("2026-11-23T06:59:59Z").allow

test_open_until if decide("2026-11-23T16:59:59Z").allow

test_closed_after if {
	decide("2026-11-23T17:00:00Z").reason == "transfer may be used from 8 to 18 o'clock (Europe/Berlin) on working days"
}

test_closed_on_sunday if not decide("2026-11-22T10:00:00Z").allow

test_summer_time_counts if decide("2026-07-20T06:00:00Z").allow

test_closed_when_the_time_is_unknown if not decide("").allow

test_hours_that_are_not_understood_are_closed if {
	every window in [
		{}, true, false, "always", {"zone": "Europe/Berlin", "days": ["Monday"], "from": "8", "until": 18},
		{"zone": 1, "days": ["Monday"], "from": 8, "until": 18}, {"zone": "Nowhere", "days": ["Monday"], "from": 0, "until": 24},
		{"zone": "UTC", "days": "Monday", "from": 0, "until": 24}, {"zone": "UTC", "from": 0, "until": 24},
	] {
		decision := writ.call with input as request("2026-11-23T10:00:00Z")
			with data.access as access
			with data.hours as {"ledger": {"transfer": window}}
		not decision.allow
		decision.reason
	}
}
