package main

// The rules of the benchmark:
//
//   - The result is a ratio, never a number of requests per second: the machine
//     is shared, and tomorrow's is another one. Each ratio is taken in each round
//     of a run, Aerie's measurement directly before its peer's, and comes out as
//     median, least and greatest.
//   - A ratio counts only if both sides answered every request with the right
//     bytes. Before and after each measurement every byte of some hundred answers
//     is looked at; during it the load generator must see no error and no other
//     status, and as many bytes as its requests come to.
//   - Peers are processes of their own and serve the same handler (hello.Handler).
//     The upstream of both proxies is one and the same process.
//   - All run under the same conditions: each program in a session of its own.
//   - What the specification bounds in absolute terms is measured of Aerie alone and
//     stands below, as a figure beside its limit: what sleeping pools cost, and their
//     first requests, each directly after the same program's start without a host.
//     What one pool's crash loop does to the p99 of others is a ratio to the same
//     in calm, and is judged by what calm over calm comes to in the same run.
//   - Who serves what must be so: the host is asked whether the connections of the
//     in-process site are in the worker process.
