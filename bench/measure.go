package main

import (
	"context"
	"fmt"
	"time"
)

// measuring takes the ratios.
type measuring struct {
	*bench
	gen    *generator
	rows   []row
	result *result
}

// run takes every ratio once in each round, so that a moment in which others
// use the machine spoils one ratio of each row and not all of one.
func (m *measuring) run(ctx context.Context) error {
	if err := m.warmUp(ctx); err != nil {
		return err
	}
	var longest time.Duration
	for round := 1; round <= m.rounds; round++ {
		began := time.Now()
		if m.result.Rounds > 0 && time.Since(m.began)+longest > m.limit {
			m.say("%d of %d rounds: the time is up", m.result.Rounds, m.rounds)
			return nil
		}
		for i := range m.rows {
			if err := m.ratio(ctx, &m.rows[i], &m.result.Rows[i], round); err != nil {
				return err
			}
		}
		m.result.Rounds = round
		longest = max(longest, time.Since(began))
	}
	return nil
}

// warmUp has every server answer for a second.
func (m *measuring) warmUp(ctx context.Context) error {
	m.say("warming up")
	seen := map[*target]bool{}
	for _, r := range m.rows {
		for _, t := range []*target{r.aerie, r.peer} {
			if seen[t] {
				continue
			}
			seen[t] = true
			if _, err := m.load(ctx, t, r.mode, 1); err != nil {
				return fmt.Errorf("%s: %w", t.url(), err)
			}
		}
	}
	return nil
}

// ratio measures both sides once, one directly after the other. A measurement
// that does not count is noted in out; an error ends the run.
func (m *measuring) ratio(ctx context.Context, r *row, out *rowResult, round int) error {
	aerie, errA := m.load(ctx, r.aerie, r.mode, m.seconds)
	peer, errB := m.load(ctx, r.peer, r.mode, m.seconds)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for side, err := range map[string]error{"aerie": errA, r.against: errB} {
		if err != nil {
			out.Problems = append(out.Problems, fmt.Sprintf("round %d, %s: %v", round, side, err))
			m.say("round %d of %d  %-58s does not count: %s: %v", round, m.rounds, r.name(), side, err)
		}
	}
	if errA != nil || errB != nil {
		return nil
	}
	ratio := out.add(aerie, peer)
	m.say("round %d of %d  %-58s %.2f", round, m.rounds, r.name(), ratio)
	return nil
}

// load measures t. The count is valid only without an error: all answers were
// right.
func (m *measuring) load(ctx context.Context, t *target, mode mode, seconds int) (count, error) {
	if err := t.proc.alive(); err != nil {
		return count{}, err
	}
	before, err := verify(ctx, t, mode)
	if err != nil {
		return count{}, fmt.Errorf("before the load: %w", err)
	}
	c, err := m.gen.load(ctx, t, mode, seconds)
	if err != nil {
		return c, err
	}
	after, err := verify(ctx, t, mode)
	if err != nil {
		return c, fmt.Errorf("after the load: %w", err)
	}
	before.add(after.least)
	before.add(after.most)
	return c, before.admit(c)
}
