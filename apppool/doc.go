// Package apppool keeps one application pool alive: it starts generations of
// worker processes, replaces one by the next without a gap, restarts what
// crashes, drains what is replaced, and gives each request a generation to go
// to. It knows workers only through Starter and Worker, and nothing of HTTP or
// of processes.
//
// # Contract
//
//   - New allocates, Open starts the pool's goroutine, Close ends all. Nothing
//     runs before Start: the owner decides when a pool starts.
//   - Start, Stop, Recycle and Reconfigure return when the thing is done, or has
//     not succeeded. Their ctx bounds the caller's wait only; what was asked for
//     goes on without it.
//   - All methods are safe for concurrent use. Acquire, Demand, Current, Lease.Release
//     and Status take no lock.
//
// # Guarantees
//
//   - A lease is never given on a generation whose drain has completed, nor on
//     one whose process had ended before Acquire was called. A caller that finds
//     its worker gone may therefore acquire again and gets the next generation.
//   - While generation n serves, no start, however it fails, takes anything from
//     it: n is replaced only by a generation that is ready, and only then drained.
//     Without overlap ([pools.NAME.recycle]) it is the other way round: the next
//     generation starts when nothing is left of n, so that there is never more
//     than one process, and requests wait in the queue meanwhile.
//   - n's drain is over when its leases are released and Worker.Drain has
//     returned, which run concurrently; leases that are out when the drain begins
//     stay valid, but a worker that is asked to drain may refuse what its holder
//     then gives it, and the holder acquires again. drain_timeout bounds the drain,
//     shutdown_timeout the stop that follows.
//   - One start at a time. Recycles and reconfigurations that come meanwhile
//     become one following recycle, and all their callers get its outcome; the
//     settings given last win.
//   - At most max_draining old generations drain: the oldest is cut, which means
//     asked to stop at once, and killed if it is in the way again. What is cut at
//     a bound is counted (Status.Cut) and logged.
//   - A refused reconfiguration leaves generation and settings as they were.
//   - Every change of state is caused by an answered call, or by a process's end
//     as Worker.Done tells it; the one timer is the wait before the next start.
//   - No goroutine of the pool outlives Close, and no process.
//
// # Who waits and who is answered at once
//
// Acquire waits, in a queue of queue_length and for up to queue_timeout, while a
// start is in flight and in the back-off after a generation that had been ready
// crashed: the application is known to work. It answers at once when the pool is
// stopped or failed, and in the back-off after a start that did not succeed, with an error
// that wraps the *StartError: nobody should wait half a minute to learn that an
// application is broken.
//
// # Idle pools
//
// A pool that starts on demand is idle from the beginning, and any pool becomes
// so when its worker has had no request for idle_timeout. The first Acquire
// starts it, and waits in the queue as while any start. A connection that the worker
// gives back when it is put to rest asks for nothing: it waits in the host.
//
// # Automatic recycles
//
// A watch looks at the generation that serves, as [pools.NAME.recycle] and
// [pools.NAME.health] ask: at its age, the time of day, its worker's figures, and
// what comes of asking the worker for its health. What it finds is an order
// like one by hand that nobody waits for. Automatic recycles of a pool are at least
// spacing apart, those that are refused included. A pool whose settings ask for
// nothing has no watch.
//
// A generation whose health is asked for by a path is ready when the worker has
// answered that it is healthy, within startup_timeout.
//
// # Restarts
//
// A generation that crashes, or does not become ready while none serves, is
// followed by another after restart_delay, doubled with each further failure up to
// restart_delay_max. One that served for longer than restart_delay_max has shown
// that it can, and the count begins anew. A crash right after a swap is no special
// case: the replaced generation is draining, which cannot be taken back, so the
// pool restarts by back-off and requests wait. Start, Recycle and Reconfigure do
// not wait for the back-off.
//
// With max_crashes of such failures within window the pool is failed: nothing is
// started any more, and Acquire answers at once with ErrFailed and the reason. It
// is left by Start, by Recycle, by a Reconfigure that needs a generation, which all
// forget the failures, and after second_chance, when one more start is made.
package apppool
