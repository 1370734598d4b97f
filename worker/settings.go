package worker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
)

// Settings are what a host tells a worker process to serve by. They travel as
// JSON and are decoded strictly: a setting that an older worker process does
// not know is an error that names it, never a limit or a module that is
// silently not there.
type Settings struct {
	Pool        string
	Generation  int
	Version     uint64 // of the configuration
	Sites       []Site // the sites that have an application in the pool
	Trusted     []netip.Prefix
	Limits      Limits
	Head        HeadLimits
	Concurrency Concurrency
	AccessLog   bool
	HostSocket  string // where requests for other sites are relayed to; "" answers them with 421
}

// Encode returns the settings' wire form.
func (s *Settings) Encode() ([]byte, error) { return json.Marshal(s) }

// DecodeSettings is the strict inverse of Encode.
func DecodeSettings(b []byte) (*Settings, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	s := new(Settings)
	if err := d.Decode(s); err != nil {
		return nil, fmt.Errorf("settings of the host: %w", err)
	}
	return s, nil
}
