// Package accesslog is the pipeline's outermost module: it writes one line of
// JSON for each request, with the same fields from the host and from every
// worker process:
//
//	time         when the request began, UTC with milliseconds
//	site, app    the site's name and the application's path
//	pool         the application's pool
//	hosting      "inprocess" or "outofprocess"
//	via          how it was answered: "handover", "relay", "forward" or "host"
//	pid          the process that wrote the line
//	generation   the generation of the pool that answered
//	method, uri, host, proto   as the client sent them; uri is the raw target
//	status       what was sent; 101 for a hijacked connection, 0 if nothing was
//	substatus    IIS's sub-status of that status, or 0
//	reason       why the application did not answer, "" if it did
//	bytes_in, bytes_out   of the bodies; what a hijacked connection carries is not counted
//	duration_us  from the request's begin to the handler's end
//	client       the client's address and port
//	user         who the client has proven to be, or ""
//	referer, user_agent   as the client sent them
//	request_id   what the client was shown if it was sent an error page
//
// Lines go into a Sink, which is shared by all sites of a process and writes
// them in large pieces, so that a request never waits for a disk.
package accesslog
