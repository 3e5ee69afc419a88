# METADATA
# title: Working hours
# description: |
#   `data.hours[server][tool]` is `{"zone": "Europe/Berlin", "days": ["Monday", …], "from": 8, "until": 18}`: the tool
#   may be called on these days from `from` o'clock until just before `until` o'clock in that time zone.
# schemas:
#   - data.hours: schema.writ.hours
package writ.hours

window := data.hours[input.server.id][input.mcp.tool] if input.mcp.method == "tools/call"

understood if {
	is_number(window.from)
	is_number(window.until)
	is_string(window.zone)
}

open if {
	understood
	now := time.parse_rfc3339_ns(input.request.time)
	time.weekday([now, window.zone]) in window.days
	hour := time.clock([now, window.zone])[0]
	hour >= window.from
	hour < window.until
}

objections contains message if {
	understood
	not open
	message := concat("", [
		input.mcp.tool, " may be used from ", format_int(window.from, 10), " to ", format_int(window.until, 10),
		" o'clock (", window.zone, ") on working days",
	])
}

objections contains message if {
	window != null
	not understood
	message := concat("", ["the hours of ", input.mcp.tool, " are not understood: tell the owner of the policy"])
}
