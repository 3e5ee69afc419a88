package budgets_test

import data.writ

request(task) := {
	"subject": {"id": "alice", "type": "user", "groups": ["staff"]},
	"agent": {"id": "assistant", "kind": "delegated", "authn": "key", "tools": []},
	"server": {"id": "crm"},
	"mcp": {"method": "tools/call", "tool": "search", "prompt": null, "arguments": {}},
	"task": task,
	"request": {"time": "2026-11-23T10:00:00Z"},
}

standing(calls, today) := {
	"id": "019aa0c0", "purpose": "the quarter", "expires": "2026-11-23T11:00:00Z",
	"calls": calls, "max_calls": null, "calls_today": today,
}

access := {"crm": {"tools": {"search": {"staff": true}}}}

decide(task, budget) := decision if {
	decision := writ.call with input as request(task)
		with data.access as access
		with data.budgets as {"crm": {"search": budget}}
}

both := {"calls": 20, "calls_today": 100}

test_a_call_within_the_budget if decide(standing(19, 99), both).allow

test_the_task_is_used_up if {
	decide(standing(20, 20), both) == {"allow": false, "reason": "search is over its budget of calls"}
	not decide(standing(21, 21), {"calls": 20}).allow
}

test_a_new_task_resets_nothing if not decide(standing(0, 100), both).allow

test_a_call_outside_any_task if {
	decide(null, both).reason == "search has a budget: open a task and call it within that"
	every task in [{}, true, {"id": null}, {"id": 7}, "019aa0c0"] {
		not decide(task, both).allow
	}
}

test_the_filter_leaves_the_count_to_the_service if decide({"id": "019aa0c0"}, both).allow

test_a_count_that_is_missing_or_no_number_is_no_count if {
	every task in [
		{"id": "019aa0c0", "purpose": "x"},
		object.union(standing(0, 0), {"calls": "0"}),
		object.union(standing(0, 0), {"calls": null}),
		object.union(standing(0, 0), {"calls_today": false}),
	] {
		not decide(task, both).allow
	}
}

test_a_budget_that_is_not_understood_is_none if {
	every budget in [{}, {"calls": "20"}, {"call": 20}, 20, true, false, "20", []] {
		not decide(standing(0, 0), budget).allow
	}
}

test_a_tool_without_a_budget_needs_no_task if {
	asked := request(null)
	writ.call.allow with input as asked with data.access as access with data.budgets as {"crm": {"export": both}}
	writ.call.allow with input as asked with data.access as access with data.budgets as {"wiki": {"search": both}}
}
