package host

import (
	"time"

	"aerie/config"
	"aerie/internal/logfile"
	"aerie/module/accesslog"
)

const accessLogName = "access.log"

// rotateEvery is how often logs that worker processes write to by themselves
// are looked at. Those that the host writes rotate as they are written.
const rotateEvery = 10 * time.Second

func (h *Host) openLogs(cfg *config.Config) error {
	h.logs.Dir = logDir(cfg)
	h.logs.Limits = logfile.Limits{MaxSize: cfg.Host.Log.MaxSize, MaxFiles: cfg.Host.Log.MaxFiles}
	var err error
	if h.accessFile, err = h.logs.Open(accessLogName); err != nil {
		return err
	}
	h.access = accesslog.NewSink(h.accessFile.File(), h.log)
	return nil
}

func (h *Host) rotateLogs() {
	tick := time.NewTicker(rotateEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			h.rotateOnce()
		case <-h.life.Done():
			return
		}
	}
}

// rotateOnce rotates the logs that have grown large, and gives the new files to
// the processes that write to them.
func (h *Host) rotateOnce() {
	access, accessRotated, err := h.accessFile.RotateIfLarge()
	if err != nil {
		h.log.Error("rotate access log", "error", err)
	}
	if accessRotated {
		if err := h.access.Reopen(access); err != nil {
			h.log.Error("rotate access log", "error", err)
		}
	}
	rotated := map[string]bool{}
	for _, p := range h.pools.all() {
		log, err := h.logs.Open(p.name + ".log")
		if err == nil {
			_, rotated[p.name], err = log.RotateIfLarge()
		}
		if err != nil {
			h.log.Error("rotate log", "pool", p.name, "error", err)
		}
	}
	for w, pool := range h.pools.inProcess() {
		if !accessRotated && !rotated[pool] {
			continue
		}
		log, err := h.logs.Open(pool + ".log")
		if err == nil {
			err = w.UseLogs(log.File(), h.accessFile.File())
		}
		if err != nil && !w.Ended() {
			h.log.Error("give rotated logs to worker", "pool", pool, "pid", w.Pid(), "error", err)
		}
	}
}
