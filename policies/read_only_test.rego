package read_only_test

import data.writ

request(labels, pinned, annotations) := {
	"subject": {"id": "alice", "type": "user", "groups": ["staff"]},
	"agent": {"id": "reporter", "kind": "delegated", "authn": "key", "labels": labels, "tools": []},
	"server": {"id": "crm"},
	"mcp": {
		"method": "tools/call", "tool": "search", "prompt": null, "arguments": {},
		"pinned": pinned, "annotations": annotations,
	},
	"request": {"time": "2026-11-23T10:00:00Z"},
}

access := {"crm": {"tools": {"search": {"staff": true}}}}

decide(asked) := decision if {
	decision := writ.call with input as asked with data.access as access
}

reader := {"read_only": "true"}

test_a_pinned_tool_that_says_it_reads if decide(request(reader, true, {"readOnlyHint": true})).allow

test_an_annotation_without_a_pin_does_not_count if {
	decision := decide(request(reader, false, {"readOnlyHint": true}))
	decision == {"allow": false, "reason": "reporter may only read, and nothing that is pinned says that search does"}
}

test_a_pin_without_the_annotation_does_not_count if {
	every annotations in [{}, {"readOnlyHint": false}, {"readOnlyHint": "true"}, {"readonlyhint": true}, null, true] {
		not decide(request(reader, true, annotations)).allow
	}
}

test_a_pin_is_true_or_none if {
	every pinned in ["true", 1, null, {}] {
		not decide(request(reader, pinned, {"readOnlyHint": true})).allow
	}
}

test_whoever_vouches_for_a_tool_needs_no_pin if {
	asked := request(reader, false, {})
	vouched := {"tools": {"crm": {"search": true}}}
	elsewhere := {"tools": {"wiki": {"search": true}}}
	writ.call.allow with input as asked with data.access as access with data.read_only as vouched
	not writ.call.allow with input as asked with data.access as access with data.read_only as elsewhere
}

test_any_label_but_false_counts if {
	decide(request({"read_only": "false"}, false, {})).allow
	decide(request({}, false, {})).allow
	every value in ["True", "yes", "", "FALSE"] {
		not decide(request({"read_only": value}, false, {})).allow
	}
}

test_an_agent_named_in_the_data if {
	asked := request({}, false, {})
	every named in [true, "yes", null, {}] {
		not writ.call.allow with input as asked with data.access as access with data.read_only as {"agents": {"reporter": named}}
	}
	writ.call.allow with input as asked with data.access as access with data.read_only as {"agents": {"reporter": false}}
	writ.call.allow with input as asked with data.access as access with data.read_only as {"agents": {"other": true}}
}

test_what_it_may_not_call_it_does_not_see if {
	not writ.visible.allow with input as request(reader, false, {}) with data.access as access
}
