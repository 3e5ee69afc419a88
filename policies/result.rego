# METADATA
# title: Masking results
# description: |
#   Only with this file in the policy are results looked at, each as far as `limits.result` of the gateway goes.
#   `data.results[server].mask` lists what is masked in what the server answers, `data.results["*"].mask` in what every
#   other server does: `"card_numbers"` and `"secrets"`.
# schemas:
#   - data.results: schema.writ.results
package writ

result := {"allow": true, "mask": masks} if {
	masks := data.results[input.server.id].mask
} else := {"allow": true, "mask": masks} if {
	masks := data.results["*"].mask
} else := {"allow": true}
