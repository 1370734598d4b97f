// Package h1 is a synchronous HTTP/1.1 upstream transport: it takes a request
// that net/http has parsed, sends it to another server and delivers that
// server's response to the client.
//
// Its contract:
//   - Everything happens in the caller's goroutine. One more runs while a
//     request body that may block is being sent, or while an upgraded
//     connection is open, and Exchange waits for it before it returns.
//   - A response is passed on strictly or not at all: what cannot be framed
//     with certainty is an error, and its connection is never used again.
//   - What was written to the client is flushed before every read of the
//     upstream that would block, and not otherwise.
//   - A request is sent a second time only when nothing of an answer was seen
//     and sending it twice can do no harm.
//   - Header fields of the inbound request go through three steps in this
//     order: the caller's Drop, then what the Connection field lists and what
//     belongs to one hop only, then the caller's Set. A name counts the same
//     whether it is spelled with '-' or '_'.
//   - The client's connection is kept only if the request's body was read to
//     its end; otherwise net/http is told to close it after the response.
package h1
