package registration_test

import data.writ

loopback := {"uri": "http://127.0.0.1/cb", "scheme": "http", "host": "127.0.0.1", "loopback": true}

web(host) := {"uri": concat("", ["https://", host, "/cb"]), "scheme": "https", "host": host, "loopback": false}

client(redirects, grants) := {
	"kind": "client",
	"origin": "dynamic",
	"client": {"redirects": redirects, "grant_types": grants, "document_host": null},
	"server": null,
	"token": null,
}

with_token(asked, labels) := object.union(asked, {"token": {"labels": labels}})

server(labels) := {
	"kind": "server",
	"origin": "dynamic",
	"client": null,
	"server": {"labels": labels},
	"token": {"labels": {}},
}

test_an_application_on_peoples_computers_is_approved if {
	writ.registration == {"decision": "approve"} with input as client([loopback], ["authorization_code", "refresh_token"])
}

test_a_host_that_nobody_knows_waits if {
	decision := writ.registration with input as client([loopback, web("evil.test")], ["authorization_code"])
	decision == {"decision": "hold", "reason": "nobody vouches for https://evil.test/cb"}
}

test_a_host_that_the_data_names_is_approved if {
	asked := client([web("app.test")], ["authorization_code"])
	hosts := {"app.test": true}
	writ.registration.decision == "approve" with input as asked with data.registration.redirect_hosts as hosts
	lookalike := client([web("app.test.evil.test")], ["authorization_code"])
	writ.registration.decision == "hold" with input as lookalike with data.registration.redirect_hosts as hosts
	plain := client([object.union(web("app.test"), {"scheme": "http"})], ["authorization_code"])
	writ.registration.decision == "hold" with input as plain with data.registration.redirect_hosts as hosts
}

test_a_private_use_scheme_waits if {
	redirect := {"uri": "com.example.app:/cb", "scheme": "com.example.app", "host": null, "loopback": false}
	writ.registration.decision == "hold" with input as client([redirect], ["authorization_code"])
}

test_an_application_that_acts_for_itself_waits if {
	writ.registration.decision == "hold" with input as client([loopback], ["authorization_code", "client_credentials"])
	writ.registration.decision == "hold" with input as client([], ["client_credentials"])
}

test_a_token_that_vouches_approves if {
	asked := client([], ["client_credentials"])
	writ.registration.decision == "approve" with input as with_token(asked, {"vouched": "true"})
	writ.registration.decision == "hold" with input as with_token(asked, {"vouched": "false"})
	writ.registration.decision == "hold" with input as with_token(asked, {"team": "finance"})
}

test_a_documents_own_host_is_approved_for_documents_only if {
	asked := client([web("app.test")], ["authorization_code"])
	named := object.union(asked, {"origin": "metadata_document", "client": {"document_host": "app.test"}})
	writ.registration.decision == "approve" with input as named
	writ.registration.decision == "hold" with input as object.union(named, {"client": {"document_host": "other.test"}})
	writ.registration.decision == "hold" with input as object.union(named, {"origin": "dynamic"})
}

test_an_update_is_judged_like_a_new_registration if {
	update := object.union(client([web("evil.test")], ["authorization_code"]), {"origin": "update"})
	writ.registration.decision == "hold" with input as update
}

test_a_server_waits_unless_its_token_vouches_for_all_of_it if {
	writ.registration == {"decision": "hold", "reason": "an administrator approves servers"} with input as server({})
	writ.registration.decision == "approve" with input as with_token(server({}), {"vouched": "true"})
	writ.registration.decision == "hold" with input as with_token(server({"tier": "trusted"}), {"vouched": "true"})
}

test_what_says_nothing_about_itself_waits if {
	writ.registration.decision == "hold" with input as {}
	writ.registration.decision == "hold" with input as {"kind": "client", "client": {}}
}
