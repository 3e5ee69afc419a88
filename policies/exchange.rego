# METADATA
# title: Who may get a token for another subject
# description: |
#   Nobody, unless `data.exchange[kind][client][server]` is `true`. `kind` is `delegation` (the token names the client as its
#   actor) or `impersonation` (it does not); `server` is what the token would be for.
# schemas:
#   - data.exchange: schema.writ.exchange
package writ.exchanges

granted if {
	data.exchange[input.exchange.kind][input.agent.id][input.server.id] == true
	input.agent.authn != "none"
}
