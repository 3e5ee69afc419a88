# METADATA
# title: What registers itself
# description: |
#   An application that acts for people only, and sends them nowhere but on their own computers or to a host that
#   `data.registration.redirect_hosts[host]` names, is approved; one that is named by a metadata document may send them to
#   the document's own host too. A person decides about everything else, unless the initial access token that it came with has
#   the label `vouched=true`. An update is judged by the same rules, as a whole.
# schemas:
#   - data.registration: schema.writ.registration
package writ.registrations

vouched if {
	input.token.labels.vouched == "true"
	not asks_for_labels
}

# Policies trust labels: whoever vouches does so on the token, not the server for itself.
asks_for_labels if count(input.server.labels) > 0

# A client that acts for itself is what policies call an autonomous agent.
for_people := {"authorization_code", "refresh_token"}

harmless if {
	input.kind == "client"
	count(input.client.grant_types) > 0
	every grant in input.client.grant_types { grant in for_people }
	count(input.client.redirects) > 0
	every redirect in input.client.redirects { known(redirect) }
}

known(redirect) if redirect.loopback == true

known(redirect) if {
	redirect.scheme == "https"
	data.registration.redirect_hosts[redirect.host] == true
}

known(redirect) if {
	input.origin == "metadata_document"
	redirect.scheme == "https"
	redirect.host == input.client.document_host
}

waits contains "an administrator approves servers" if input.kind == "server"

waits contains "an administrator approves applications that act for themselves" if {
	some grant in input.client.grant_types
	not grant in for_people
}

waits contains message if {
	some redirect in input.client.redirects
	not known(redirect)
	message := concat("", ["nobody vouches for ", redirect.uri])
}

default verdict := {"decision": "hold", "reason": "an administrator approves this registration"}

verdict := {"decision": "approve"} if {
	vouched
} else := {"decision": "approve"} if {
	harmless
} else := {"decision": "hold", "reason": concat("; ", waits)} if {
	count(waits) > 0
}
