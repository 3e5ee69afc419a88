# METADATA
# title: Limits on arguments
# description: |
#   `data.limits[server][tool][argument]` is any of `min` and `max` (a number no smaller and no greater than these), `prefix` (a
#   path below this one, without `..`) and `one_of` (a map whose keys are the allowed values). An argument that has a limit must
#   be there and have the limit's type: what cannot be checked is refused.
# schemas:
#   - data.limits: schema.writ.limits
package writ.arguments

entry := data.limits[input.server.id][input.mcp.tool] if input.mcp.method == "tools/call"

limits := entry if is_object(entry)

objections contains message if {
	entry != null
	not is_object(entry)
	message := concat("", ["the limits of ", input.mcp.tool, " are not understood: tell the owner of the policy"])
}

objections contains message if {
	some name, limit in limits
	not understood(limit)
	message := concat("", ["the limit on ", name, " is not understood: tell the owner of the policy"])
}

objections contains message if {
	some name, limit in limits
	not given(name)
	message := concat("", [name, " must be given: it has a limit"])
}

objections contains message if {
	some name, limit in limits
	given(name)
	value := input.mcp.arguments[name]
	not number_at_least(value, limit)
	message := concat("", [name, " is below the limit of ", format_int(limit.min, 10)])
}

objections contains message if {
	some name, limit in limits
	given(name)
	value := input.mcp.arguments[name]
	not number_at_most(value, limit)
	message := concat("", [name, " is above the limit of ", format_int(limit.max, 10)])
}

objections contains message if {
	some name, limit in limits
	given(name)
	value := input.mcp.arguments[name]
	not path_below(value, limit)
	message := concat("", [name, " must be a path below ", limit.prefix])
}

objections contains message if {
	some name, limit in limits
	given(name)
	value := input.mcp.arguments[name]
	not one_of(value, limit)
	message := concat("", [name, " must be one of: ", concat(", ", object.keys(limit.one_of))])
}

given(name) if object.get(input.mcp.arguments, name, null) != null

understood(limit) if {
	is_object(limit)
	count(limit) > 0
	every name, bound in limit {
		is_bound(name, bound)
	}
}

is_bound("min", bound) if is_number(bound)

is_bound("max", bound) if is_number(bound)

is_bound("prefix", bound) if is_string(bound)

is_bound("one_of", bound) if is_object(bound)

number_at_least(_, limit) if not limit.min

number_at_least(value, limit) if {
	is_number(value)
	value >= limit.min
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
