package apppool

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"aerie/config"
)

// Adopted is a generation that a host before this one has started and whose worker
// process lives.
type Adopted struct {
	Worker     Worker
	Generation int
	Hosting    config.Hosting
	Draining   bool // it was told to drain: it finishes what it has, and serves nobody else
}

// Digest names what a worker process has to be started anew for: the pool's program
// and the settings that only a start can tell it. Two configurations with one
// digest need no new generation between them.
func Digest(c *config.Pool) string {
	b, err := json.Marshal(workerSettings(*c))
	if err != nil {
		panic(fmt.Sprintf("apppool: settings of a pool: %v", err)) // they are strings, numbers and lists of them
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// inherit begins with generations of a host before: the last of them serves from
// now on, those before it drain, and the next one has the number after theirs.
func (m *machine) inherit(all []Adopted) {
	all = slices.SortedFunc(slices.Values(all), func(a, b Adopted) int { return cmp.Compare(a.Generation, b.Generation) })
	if n := len(all); n > 0 {
		m.number = all[n-1].Generation
		if last := all[n-1]; !last.Draining {
			all = all[:n-1]
			m.next = m.adopted(last)
			m.apply(evInherit, order{}, nil)
		}
	}
	for _, a := range all { // what they hand back finds who serves by now
		m.retire(m.adopted(a))
	}
	m.publish()
}

// adopted is the generation of a worker that is taken over.
func (m *machine) adopted(a Adopted) *generation {
	runs := *m.settings // what it was started with, as far as it counts from here on
	program := config.Program{}
	if runs.Program != nil {
		program = *runs.Program
	}
	program.Hosting = a.Hosting
	runs.Program = &program
	return &generation{
		number: a.Generation, pool: &runs, reason: "taken over from the host before", began: time.Now(), readyAt: time.Now(),
		worker: a.Worker, done: a.Worker.Done(),
		leases:  leases{none: make(chan struct{})},
		abandon: func(error) {}, // its start is over
		gone:    make(chan struct{}),
	}
}
