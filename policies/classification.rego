# METADATA
# title: Classified data
# description: |
#   `data.classification.tools[server][tool]` and `data.classification.resources[server][uri]` name a level,
#   `data.classification.levels[level].scopes[scope]: true` the scopes that a token must have for it. Whoever is granted the call but
#   lacks a scope is told which to ask for (403 `insufficient_scope`), and clients that know step-up authorization do.
# schemas:
#   - data.classification: schema.writ.classification
package writ.classification

level := data.classification.tools[input.server.id][input.mcp.tool] if input.mcp.method == "tools/call"

level := data.classification.resources[input.server.id][input.mcp.resource_uri] if input.mcp.method == "resources/read"

classified if level != null

scopes := data.classification.levels[level].scopes

needed := sort({scope | some scope, on in scopes; on != false}) if is_object(scopes)

lacks if {
	some scope in needed
	not scope in input.subject.scopes
}

asked_about := input.mcp.tool if input.mcp.method == "tools/call"

asked_about := input.mcp.resource_uri if input.mcp.method == "resources/read"

reason := concat("", [asked_about, " is ", level, ": it needs a token with the scope ", concat(" ", needed)])

objections contains message if {
	classified
	not needed
	message := concat("", ["the policy does not define the level of ", asked_about, ": tell its owner"])
}
