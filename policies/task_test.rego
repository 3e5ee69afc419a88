package task_test

import data.writ

request(groups, tools, changes) := object.union(
	{
		"subject": {"id": "alice", "type": "user", "groups": groups},
		"agent": {"id": "assistant", "kind": "delegated", "authn": "key", "tools": {}},
		"task": {"purpose": "month's end", "tools": tools, "expires_in": 600, "max_calls": 5},
		"counts": {"open": 0, "calls_today": 0},
		"request": {"time": "2026-11-23T10:00:00Z"},
	},
	changes,
)

access := {"ledger": {"tools": {"listAccounts": {"finance": true}, "transfer": {"treasurer": true}}}}

decide(groups, tools, changes) := decision if {
	decision := writ.task with input as request(groups, tools, changes) with data.access as access
}

test_a_task_for_granted_tools_is_approved_as_asked if {
	decide(["finance"], {"ledger": ["listAccounts"]}, {}) == {
		"allow": true,
		"tools": {"ledger": ["listAccounts"]},
		"expires_in": 600,
		"max_calls": 5,
	}
}

test_tools_beyond_the_grants_are_taken_off if {
	decision := decide(["finance"], {"ledger": ["listAccounts", "transfer"], "crm": ["export"]}, {})
	decision.tools == {"ledger": ["listAccounts"]}
}

test_a_role_grants if {
	decision := writ.task with input as request(["cfo"], {"ledger": ["transfer"]}, {})
		with data.access as access
		with data.roles as {"cfo": ["treasurer"]}
	decision.allow
}

test_a_task_for_nothing_that_is_granted_is_refused if {
	decision := decide(["finance"], {"ledger": ["transfer"]}, {})
	not decision.allow
	contains(decision.reason, "none of these tools")
}

test_an_autonomous_agent_may_use_what_its_registration_names if {
	own := {"agent": {"kind": "autonomous", "tools": {"ledger": ["reconcile"]}}}
	decide([], {"ledger": ["reconcile", "transfer"]}, own).tools == {"ledger": ["reconcile"]}
}

test_a_group_does_not_help_an_autonomous_agent if {
	not decide(["finance"], {"ledger": ["listAccounts"]}, {"agent": {"kind": "autonomous"}}).allow
}

test_life_and_budget_are_limited if {
	decision := decide(["finance"], {"ledger": ["listAccounts"]}, {"task": {"expires_in": 86400, "max_calls": null}})
	decision.expires_in == 3600
	decision.max_calls == 100
}

test_the_limits_are_data if {
	decision := writ.task with input as request(["finance"], {"ledger": ["listAccounts"]}, {})
		with data.access as access
		with data.tasks as {"max_expires_in": 60, "max_calls": 2}
	decision.expires_in == 60
	decision.max_calls == 2
}

test_too_many_open_tasks if {
	decision := decide(["finance"], {"ledger": ["listAccounts"]}, {"counts": {"open": 10}})
	not decision.allow
	contains(decision.reason, "close one first")
}
