# METADATA
# title: Limits on arguments
# description: |
#   `data.limits[server][tool][argument]` is any of `max` (a number no greater than this), `prefix` (a path below
#   this one, without `..`) and `one_of` (a map whose keys are the allowed values). An argument that has a
#   limit must be there and have the limit's type: what cannot be checked is refused.
package writ.arguments

limits := data.limits[input.server.id][input.mcp.tool] if input.mcp.method == "tools/call"

objections contains message if {
	some name, limit in limits
	object.get(input.mcp.arguments, name, null) == null
	message := concat("", [name, " must be given: it has a limit"])
}

objections contains message if {
	some name, limit in limits
	value := input.mcp.arguments[name]
	not number_at_most(value, limit)
	message := concat("", [name, " is above the limit of ", format_int(limit.max, 10)])
}

objections contains message if {
	some name, limit in limits
	value := input.mcp.arguments[name]
	not path_below(value, limit)
	message := concat("", [name, " must be a path below ", limit.prefix])
}

objections contains message if {
	some name, limit in limits
	value := input.mcp.arguments[name]
	not one_of(value, limit)
	message := concat("", [name, " must be one of: ", concat(", ", object.keys(limit.one_of))])
}

number_at_most(_, limit) if not limit.max

number_at_most(value, limit) if {
	is_number(value)
	value <= limit.max
}

path_below(_, limit) if not limit.prefix

path_below(value, limit) if {
	is_string(value)
	startswith(value, limit.prefix)
	not ".." in split(value, "/")
}

one_of(_, limit) if not limit.one_of

one_of(value, limit) if limit.one_of[value]
