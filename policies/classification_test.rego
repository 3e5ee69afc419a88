package classification_test

import data.writ

request(scopes) := {
	"subject": {"id": "alice", "type": "user", "groups": ["finance"], "scopes": scopes},
	"agent": {"id": "assistant", "kind": "delegated", "authn": "key", "tools": []},
	"server": {"id": "ledger"},
	"mcp": {"method": "tools/call", "tool": "getCustomer", "prompt": null, "arguments": {}},
	"request": {"time": "2026-11-23T10:00:00Z"},
}

access := {"ledger": {
	"tools": {"getCustomer": {"finance": true}, "listAccounts": {"finance": true}},
	"resources": {"ledger://payroll": {"finance": true}},
}}

levels := {"personal": {"scopes": {"ledger:read": true, "ledger:personal": true}}, "public": {"scopes": {}}}

classified(level) := {
	"levels": levels,
	"tools": {"ledger": {"getCustomer": level}},
	"resources": {"ledger": {"ledger://payroll": level}},
}

decide(asked, level) := decision if {
	decision := writ.call with input as asked
		with data.access as access
		with data.classification as classified(level)
}

test_a_token_with_the_scopes if decide(request(["ledger:personal", "ledger:read"]), "personal").allow

test_a_token_without_one_is_told_all_that_the_call_needs if {
	decide(request(["ledger:read"]), "personal") == {
		"allow": false,
		"reason": "getCustomer is personal: it needs a token with the scope ledger:personal ledger:read",
		"scopes": ["ledger:personal", "ledger:read"],
	}
}

test_scopes_that_only_look_like_it if {
	every scopes in [
		[], null, {}, "ledger:personal ledger:read", ["ledger:personal ledger:read"],
		["ledger:Personal", "ledger:read"], ["ledger:personal:x", "ledger:read"], ["ledger:*"],
	] {
		decide(request(scopes), "personal").scopes == ["ledger:personal", "ledger:read"]
	}
}

test_scopes_that_are_not_there_at_all if {
	not decide(object.remove(request([]), ["subject"]), "personal").allow
}

test_who_has_no_grant_is_not_sent_for_more_scope if {
	decision := decide(object.union(request([]), {"subject": {"groups": ["sales"]}}), "personal")
	decision == {"allow": false, "reason": "alice has no grant for getCustomer on ledger"}
}

test_nor_is_who_meets_another_objection if {
	decision := writ.call with input as request([])
		with data.access as access
		with data.classification as classified("personal")
		with data.limits as {"ledger": {"getCustomer": {"id": {"max": 5}}}}
	decision == {"allow": false, "reason": "id must be given: it has a limit"}
}

test_a_level_that_asks_for_nothing if decide(request([]), "public").allow

test_a_level_that_nothing_defines if {
	every level in ["Personal", "secret", true, false, 7, {}] {
		decision := decide(request(["ledger:personal", "ledger:read"]), level)
		not decision.allow
		contains(decision.reason, "does not define the level")
	}
}

test_a_level_that_is_not_understood if {
	every broken in [{}, {"scopes": "ledger:personal"}, {"scopes": ["ledger:personal"]}, {"scope": {"x": true}}, true] {
		decision := writ.call with input as request(["ledger:personal"])
			with data.access as access
			with data.classification as {"levels": {"personal": broken}, "tools": {"ledger": {"getCustomer": "personal"}}}
		not decision.allow
	}
}

reads(scopes) := object.union(
	request(scopes),
	{"mcp": {"method": "resources/read", "tool": null, "resource_uri": "ledger://payroll"}},
)

test_a_resource_has_a_level_too if {
	decide(reads([]), "personal").scopes == ["ledger:personal", "ledger:read"]
	decide(reads(["ledger:personal", "ledger:read"]), "personal").allow
}

test_what_needs_more_scope_is_seen if {
	writ.visible.allow with input as request([])
		with data.access as access
		with data.classification as classified("personal")
}

test_what_is_not_classified_needs_nothing if {
	other := object.union(request([]), {"mcp": {"tool": "listAccounts"}})
	decide(other, "personal").allow
}
