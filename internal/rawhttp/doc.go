// Package rawhttp is the HTTP/1.1 client of the tests: a socket, a strict
// parser, and a load that notices everything.
//
//   - Nothing is ever sent twice and no connection is ever reopened behind the
//     caller's back: what net/http's Transport or wrk would paper over (a dead
//     reused connection, a close between two answers) is a Failure here.
//   - Bytes go out exactly as given, in as many writes as asked for, so heads
//     can be split anywhere and requests pipelined.
//   - Every close, reset, short, late, malformed, doubled or foreign answer is a
//     *Failure that says what was sent and what was seen.
//
// Conn is one connection for tests that send chosen bytes. Load keeps many
// connections busy with a seeded mix of requests and reports what happened;
// Answer is the handler at its other end, which makes it certain that answer k
// belongs to request k.
package rawhttp
