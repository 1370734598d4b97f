package config

// setting is one key of one table of sites.toml and the value that it sets.
type setting struct {
	key   string
	value value
}

// The lists below are the schema: the only keys there are, with their rules.

// settings are the keys of [host].
func (h *Host) settings() []setting {
	return []setting{
		{"run_dir", text{&h.RunDir}},
		{"state_dir", text{&h.StateDir}},
		{"pools_dir", text{&h.PoolsDir}},
		{"trusted_proxies", proxies{&h.TrustedProxies}},
		{"admin", adminAddress{&h.Admin}},
		{"host_away", duration{&h.HostAway, zero}},
	}
}

// needsRestart says whether a running host cannot take over a new value of
// that key of [host].
func needsRestart(key string) bool {
	switch key {
	case "run_dir", "state_dir", "pools_dir", "admin",
		"limits.max_request_line", "limits.max_header_size", "log.max_size", "log.max_files":
		return true
	}
	return false
}

// settings are the keys of [host.limits].
func (l *HostLimits) settings() []setting {
	return []setting{
		{"max_request_line", size[int64]{&l.MaxRequestLine, positive}},
		{"max_header_size", size[int64]{&l.MaxHeaderSize, positive}},
		{"max_header_count", count{&l.MaxHeaderCount, positive}},
		{"header_timeout", duration{&l.HeaderTimeout, positive}},
		{"idle_timeout", duration{&l.IdleTimeout, positive}},
		{"max_connections", count{&l.MaxConnections, zero}},
	}
}

// settings are the keys of [host.log].
func (l *HostLog) settings() []setting {
	return []setting{
		{"access", boolean{&l.Access}},
		{"max_size", size[int64]{&l.MaxSize, positive}},
		{"max_files", count{&l.MaxFiles, zero}},
	}
}

// settings are the keys of [pools.NAME].
func (p *Pool) settings() []setting {
	return []setting{
		{"auto_start", boolean{&p.AutoStart}},
		{"start", word[Start]{&p.Start, []Start{StartAlways, StartOnDemand}}},
		{"idle_timeout", duration{&p.IdleTimeout, zero}},
		{"startup_timeout", duration{&p.StartupTimeout, positive}},
		{"shutdown_timeout", duration{&p.ShutdownTimeout, zero}},
		{"drain_timeout", duration{&p.DrainTimeout, zero}},
		{"max_draining", count{&p.MaxDraining, positive}},
		{"restart_delay", duration{&p.RestartDelay, positive}},
		{"restart_delay_max", duration{&p.RestartDelayMax, positive}},
		{"queue_length", count{&p.QueueLength, zero}},
		{"queue_timeout", duration{&p.QueueTimeout, positive}},
		{"max_concurrent", count{&p.MaxConcurrent, zero}},
		{"max_streams", count{&p.MaxStreams, positive}},
		{"stream_after", duration{&p.StreamAfter, positive}},
	}
}

// settings are the keys of [pools.NAME.failure].
func (f *Failure) settings() []setting {
	return []setting{
		{"max_crashes", count{&f.MaxCrashes, zero}},
		{"window", duration{&f.Window, positive}},
		{"second_chance", duration{&f.SecondChance, zero}},
		{"on_failed", commandLine{&f.OnFailed}},
	}
}

// settings are the keys of [pools.NAME.recycle].
func (r *Recycle) settings() []setting {
	return []setting{
		{"overlap", boolean{&r.Overlap}},
		{"interval", duration{&r.Interval, zero}},
		{"schedule", schedule{&r.Schedule}},
		{"requests", count{&r.Requests, zero}},
		{"memory", size[int64]{&r.Memory, zero}},
		{"private_memory", size[int64]{&r.PrivateMemory, zero}},
		{"cpu", count{&r.CPU, zero}},
		{"cpu_window", duration{&r.CPUWindow, positive}},
		{"jitter", duration{&r.Jitter, zero}},
		{"spacing", duration{&r.Spacing, positive}},
	}
}

// settings are the keys of [pools.NAME.health].
func (h *Health) settings() []setting {
	return []setting{
		{"path", probePath{&h.Path}},
		{"interval", duration{&h.Interval, zero}},
		{"timeout", duration{&h.Timeout, positive}},
		{"unhealthy_after", count{&h.UnhealthyAfter, positive}},
		{"hang_timeout", duration{&h.HangTimeout, zero}},
	}
}

// settings are the keys of [pools.NAME.identity].
func (i *Identity) settings() []setting {
	return []setting{
		{"user", account{&i.User}},
		{"group", account{&i.Group}},
		{"groups", accounts{&i.Groups}},
		{"umask", umask{&i.Umask}},
		{"no_new_privs", boolean{&i.NoNewPrivs}},
		{"capabilities", word[Capabilities]{&i.Capabilities, []Capabilities{CapabilitiesAuto, CapabilitiesNone, CapabilitiesHost}}},
	}
}

// settings are the keys of [pools.NAME.limits].
func (l *PoolLimits) settings() []setting {
	return []setting{
		{"cpu", cores{&l.CPU}},
		{"memory", size[int64]{&l.Memory, zero}},
		{"processes", count{&l.Processes, zero}},
		{"cpus", cpuSet{&l.CPUs}},
		{"open_files", rlimit{&l.OpenFiles, false}},
		{"core_size", rlimit{&l.CoreSize, true}},
		{"locked_memory", rlimit{&l.LockedMemory, true}},
		{"required", boolean{&l.Required}},
	}
}

// settings are the keys of [[sites]].
func (s *Site) settings() []setting {
	return []setting{
		{"name", name{&s.Name}},
		{"bindings", bindings{&s.Bindings}},
		{"handover", handover{&s.Handover}},
	}
}

// settings are the keys of [sites.limits].
func (l *SiteLimits) settings() []setting {
	return []setting{
		{"max_body", size[int64]{&l.MaxBody, zero}},
		{"max_url", size[int]{&l.MaxURL, positive}},
		{"max_query", size[int]{&l.MaxQuery, positive}},
		{"min_body_rate", rate{&l.MinBodyRate}},
		{"min_response_rate", rate{&l.MinResponseRate}},
		{"rate_grace", duration{&l.RateGrace, positive}},
		{"max_connections", count{&l.MaxConnections, zero}},
		{"max_connections_per_address", count{&l.MaxConnectionsPerAddress, zero}},
	}
}

// settings are the keys of [[sites.apps]] beside those of its program. The
// pool is a name until the pools are known.
func (a *App) settings(pool *string) []setting {
	return []setting{
		{"path", appPath{&a.Path}},
		{"pool", name{pool}},
	}
}

// settings are the keys of [[sites.apps]] that make the program of the pool.
func (p *Program) settings() []setting {
	return []setting{
		{"process", process{&p.Process}},
		{"args", arguments{&p.Args}},
		{"dir", folder{&p.Dir}},
		{"env", environment{&p.Env}},
		{"env_files", files{&p.EnvFiles}},
		{"hosting", word[Hosting]{&p.Hosting, []Hosting{InProcess, OutOfProcess}}},
	}
}
