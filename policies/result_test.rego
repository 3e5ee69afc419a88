package result_test

import data.writ

answered := {
	"server": {"id": "ledger"},
	"mcp": {"from": "client", "method": "tools/call", "tool": "getAccount"},
	"result": {"content": [{"type": "text", "text": "4111 1111 1111 1111"}]},
}

test_what_the_servers_data_lists_is_masked if {
	results := {"ledger": {"mask": ["secrets"]}, "*": {"mask": ["card_numbers", "secrets"]}}
	writ.result == {"allow": true, "mask": ["secrets"]} with input as answered with data.results as results
}

test_what_is_listed_for_all_servers_is_masked if {
	results := {"wiki": {"mask": []}, "*": {"mask": ["card_numbers", "secrets"]}}
	answer := writ.result with input as answered with data.results as results
	answer == {"allow": true, "mask": ["card_numbers", "secrets"]}
}

test_a_server_can_be_left_alone if {
	results := {"ledger": {"mask": []}, "*": {"mask": ["secrets"]}}
	writ.result == {"allow": true, "mask": []} with input as answered with data.results as results
}

test_without_data_everything_passes_however_large if {
	writ.result == {"allow": true} with input as answered with data.results as {}
	writ.result == {"allow": true} with input as object.union(answered, {"result": null}) with data.results as {}
}
