package systemd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// The watchdog is fed at half of its time, only after an answer; one that does not
// come is asked for again.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var got []string
		note := func(what string) { got = append(got, fmt.Sprint(what, " ", time.Since(start))) }
		broken := errors.New("broken")
		asked := 0
		alive := func(ctx context.Context) error {
			switch asked++; asked {
			case 2:
				time.Sleep(2 * time.Second) // what it takes does not add up
			case 3:
				return broken
			case 4:
				<-ctx.Done() // no answer
				return ctx.Err()
			}
			return nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 70*time.Second)
		defer cancel()
		watch(ctx, 40*time.Second, alive, func() error { note("ping"); return nil }, func(err error) { note(err.Error()) })
		want := []string{"ping 0s", "ping 22s", "broken 40s", "context deadline exceeded 54s", "ping 58s"}
		if !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		if took := time.Since(start); took != 70*time.Second {
			t.Errorf("ended after %v", took)
		}
	})
}

func TestWatchEndsWhileAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		watch(ctx, time.Hour, func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}, func() error {
			t.Error("fed")
			return nil
		}, func(err error) { t.Error(err) })
	})
}
