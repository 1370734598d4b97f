package apppool

import (
	"slices"
	"sync"
	"time"
)

// Waiter is one who waits for a pool.
type Waiter struct {
	Since   time.Time
	Client  string // address of the client; "" if nobody has told
	Request string // method and target; "" of a connection whose request has not been read
}

// queue is those who wait for a generation, the first one first.
type queue struct {
	mu   sync.Mutex // guards below
	list []*Waiter
}

// enter takes a place, unless length of them are taken: then it is nil.
func (q *queue) enter(length int, who func() Waiter) *Waiter {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.list) >= length {
		return nil
	}
	w := &Waiter{}
	if who != nil {
		*w = who()
	}
	w.Since = time.Now()
	q.list = append(q.list, w)
	return w
}

// leave gives the place back.
func (q *queue) leave(w *Waiter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.list, w); i >= 0 {
		q.list = slices.Delete(q.list, i, i+1)
	}
}

func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.list)
}

// Waiters are those who wait for a generation, the first one first. Requests that
// wait in a worker process are not among them.
func (p *Pool) Waiters() []Waiter {
	p.queue.mu.Lock()
	defer p.queue.mu.Unlock()
	list := make([]Waiter, len(p.queue.list))
	for i, w := range p.queue.list {
		list[i] = *w
	}
	return list
}
