package host

import (
	"context"
	"fmt"

	"aerie/admin"
)

// What the host tells the service manager that has started it, if there is one:
// it is ready when the bindings answer, reloads, and is stopping. See sd_notify(3).

// tell sends one message. One that does not arrive is logged: the host serves all
// the same.
func (h *Host) tell(assignments ...string) {
	h.listeners.sockets.told(h.opts.Systemd.Notify(assignments...))
}

// tellReady says that the bindings answer, and begins to feed the watchdog.
func (h *Host) tellReady() {
	h.ready.Store(true)
	h.tell("READY=1", "STATUS="+h.inShort())
	h.tasks.Go(h.feedWatchdog)
}

// inShort is what `systemctl status` shows.
func (h *Host) inShort() string {
	r := h.routes.Load()
	return fmt.Sprintf("Serving; sites: %d, pools: %d, configuration version: %d", len(r.cfg.Sites), len(r.cfg.Pools), r.version)
}

func (h *Host) tellReloading() {
	if h.ready.Load() {
		h.listeners.sockets.told(h.opts.Systemd.Reloading())
	}
}

// tellReloaded ends what tellReloading began, also if the reload was refused.
func (h *Host) tellReloaded(err error) {
	if !h.ready.Load() {
		return
	}
	status := h.inShort()
	if err != nil {
		status += "; the last reload was refused: " + err.Error()
	}
	h.tell("READY=1", "STATUS="+status)
}

func (h *Host) tellStopping() {
	if h.ready.Load() {
		h.tell("STOPPING=1", "STATUS=Finishing what was begun")
	}
}

// feedWatchdog feeds the watchdog until the host ends, as long as the host answers
// itself by the way that an operator takes.
func (h *Host) feedWatchdog() {
	client := admin.NewClient(h.next.Load().Host.Admin)
	h.opts.Systemd.Watch(h.life, func(ctx context.Context) error {
		defer client.Close() // the next one is to be accepted, too
		_, err := client.Status(ctx)
		return err
	}, func(err error) {
		h.log.Error("the host does not answer itself: the watchdog is not fed", "error", err)
	})
}
