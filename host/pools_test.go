package host

import (
	"os"
	"path/filepath"
	"testing"

	"aerie/config"
)

// A check of a pool's health is a request to the site that has the path.
func TestSiteOf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sites.toml")
	err := os.WriteFile(path, []byte(`
[[sites]]
name = "other"
bindings = ["http://other.example"]
apps = [{ pool = "other", process = "other", hosting = "outofprocess" }]
[[sites]]
name = "shop"
bindings = ["http://shop.example:8080", "http://also.example"]
apps = [{ path = "/v1", pool = "shop", process = "shop", hosting = "inprocess" }, { path = "/v1/old", pool = "shop" }]
[[sites]]
name = "root"
bindings = ["http://root.example"]
apps = [{ pool = "shop" }]
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	h := New(cfg, Options{})
	for path, want := range map[string][2]string{
		"/v1/healthz":     {"shop.example", "/v1"},
		"/v1?deep=1":      {"shop.example", "/v1"},
		"/v1/old/healthz": {"shop.example", "/v1/old"},
		"/v1x":            {"root.example", ""},
		"/":               {"root.example", ""},
	} {
		if b, base := h.siteOf("shop", path); b.Host != want[0] || base != want[1] {
			t.Errorf("%s: %s%s, want %s%s", path, b.Host, base, want[0], want[1])
		}
	}
	if b, _ := h.siteOf("none", "/"); b.Host != "" {
		t.Errorf("a pool without an app has %+v", b)
	}
}
