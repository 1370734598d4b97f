package main

// mode is how the load uses connections.
type mode string

// The modes.
const (
	keepAlive        mode = "keep-alive"
	onePerConnection mode = "one request per connection"
)

// row is one ratio: Aerie's requests per second over its peer's.
type row struct {
	workload string
	against  string
	goal     float64 // of the median; 0 is none
	mode     mode
	aerie    *target
	peer     *target
}

func (r *row) name() string { return r.workload + ", " + string(r.mode) }

// rows are the ratios that a run takes, in this order in each round.
func (s *stage) rows() []row {
	const (
		handover = "in-process (hand-over)"
		forward  = "out-of-process (forward)"
		bare     = "bare net/http"
		proxy    = "httputil.ReverseProxy"
		log      = ", access log on"
	)
	return []row{
		{handover, bare, 0.97, keepAlive, &s.inProcess, &s.bare},
		{handover, bare, 0, onePerConnection, &s.inProcess, &s.bare},
		{handover + log, bare + ", slog JSON", 0, keepAlive, &s.inProcessLogged, &s.bareLogged},
		{forward, proxy, 1.5, keepAlive, &s.outOfProcess, &s.reverseProxy},
		{forward, proxy, 0, onePerConnection, &s.outOfProcess, &s.reverseProxy},
	}
}
