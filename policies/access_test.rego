package access_test

import data.writ

grants := {"ledger": {
	"discover": {"finance": true},
	"tools": {"listAccounts": {"finance": true}, "transfer": {"treasurer": true}},
	"prompts": {"summary": {"finance": true}},
	"resources": {"ledger://rates": {"finance": true}},
}}

request(groups, method, tool) := {
	"subject": {"id": "alice", "type": "user", "groups": groups},
	"agent": {"id": "assistant", "kind": "delegated", "authn": "key", "tools": []},
	"server": {"id": "ledger"},
	"mcp": {"method": method, "tool": tool, "prompt": null, "arguments": {}},
	"request": {"time": "2026-11-23T10:00:00Z"},
}

test_nothing_is_granted_without_data if {
	not writ.call.allow with input as request(["finance"], "tools/call", "listAccounts") with data.access as {}
}

test_a_group_is_granted_its_tool if {
	writ.call.allow with input as request(["finance"], "tools/call", "listAccounts") with data.access as grants
}

test_a_group_is_refused_another_tool if {
	decision := writ.call with input as request(["finance"], "tools/call", "transfer") with data.access as grants with data.limits as {}
	decision == {"allow": false, "reason": "alice has no grant for transfer on ledger"}
}

test_a_role_of_the_group_grants if {
	writ.call.allow with input as request(["cfo"], "tools/call", "transfer")
		with data.access as grants
		with data.roles as {"cfo": ["treasurer"]}
		with data.limits as {}
}

test_another_server_grants_nothing if {
	elsewhere := object.union(request(["finance"], "tools/call", "listAccounts"), {"server": {"id": "crm"}})
	not writ.call.allow with input as elsewhere with data.access as grants
}

test_members_may_look_around if {
	every method in [
		"initialize", "tools/list", "notifications/initialized", "stream/open", "tasks/get", "completion/complete",
		"response/elicitation/create",
	] {
		writ.call.allow with input as request(["finance"], method, null) with data.access as grants
	}
}

test_strangers_may_not_look_around if {
	every method in [
		"initialize", "tools/list", "notifications/initialized", "stream/open", "tasks/get", "completion/complete",
		"response/elicitation/create",
	] {
		not writ.call.allow with input as request(["sales"], method, null) with data.access as grants
	}
}

test_a_method_the_policy_does_not_know_is_denied if {
	not writ.call.allow with input as request(["finance"], "sampling/createMessage", null) with data.access as grants
}

test_a_prompt_is_granted_by_name if {
	asks := object.union(request(["finance"], "prompts/get", null), {"mcp": {"prompt": "summary"}})
	writ.call.allow with input as asks with data.access as grants
	other := object.union(request(["finance"], "prompts/get", null), {"mcp": {"prompt": "secrets"}})
	not writ.call.allow with input as other with data.access as grants
}

test_a_tool_is_visible_to_whom_it_is_granted if {
	writ.visible.allow with input as request(["finance"], "tools/call", "listAccounts") with data.access as grants
	not writ.visible.allow with input as request(["finance"], "tools/call", "transfer") with data.access as grants
}

test_a_resource_is_granted_by_its_uri if {
	reads := object.union(request(["finance"], "resources/read", null), {"mcp": {"resource_uri": "ledger://rates"}})
	writ.call.allow with input as reads with data.access as grants
	other := object.union(reads, {"mcp": {"resource_uri": "ledger://salaries"}})
	not writ.call.allow with input as other with data.access as grants
}
