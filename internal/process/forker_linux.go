package process

import (
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// forker starts processes from one thread that lives as long as it does: the
// kernel sends the parent-death signal when the thread that forked dies, and
// the Go runtime ends threads as it likes. The zero value is ready to use.
type forker struct {
	once     sync.Once
	requests chan forkRequest
	wg       sync.WaitGroup
}

type forkRequest struct {
	argv  []string
	attr  *os.ProcAttr
	reply chan<- forkReply
}

type forkReply struct {
	proc *os.Process
	err  error
}

// fork starts argv[0]. It must not be called after close.
func (f *forker) fork(argv []string, attr *os.ProcAttr) (*os.Process, error) {
	f.once.Do(func() {
		f.requests = make(chan forkRequest)
		f.wg.Go(f.serve)
	})
	reply := make(chan forkReply, 1)
	f.requests <- forkRequest{argv, attr, reply}
	r := <-reply
	return r.proc, r.err
}

// close ends the thread, and with it whatever of its children still waits for
// that.
func (f *forker) close() {
	f.once.Do(func() { f.requests = make(chan forkRequest) })
	close(f.requests)
	f.wg.Wait()
}

func (f *forker) serve() {
	runtime.LockOSThread() // and never unlocked: the thread belongs to the children
	if unix.Gettid() == os.Getpid() {
		// The runtime never ends a process's first thread. It is held here so
		// that another goroutine gets another one.
		var other sync.WaitGroup
		other.Go(f.serve)
		other.Wait()
		runtime.UnlockOSThread()
		return
	}
	for r := range f.requests {
		proc, err := os.StartProcess(r.argv[0], r.argv, r.attr)
		r.reply <- forkReply{proc, err}
	}
}
