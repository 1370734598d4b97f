package proto

import (
	"errors"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func TestRecordRoundTrip(t *testing.T) {
	records := []Record{
		{Token: "t", Hop: 1, Config: 7, Scheme: "https", Remote: netip.MustParseAddrPort("[2001:db8::1]:443"),
			Local: netip.MustParseAddrPort("192.0.2.1:80"), Trusted: true, Conn: 1 << 60, PathBase: "/a b/c"},
		{Token: "t", Scheme: "http"},
	}
	for _, want := range records {
		h := http.Header{RecordHeader: {want.String()}}
		got, err := TakeRecord(h, "t")
		if err != nil || got != want {
			t.Errorf("TakeRecord(%q) = %+v, %v; want %+v", want.String(), got, err, want)
		}
		if len(h) != 0 {
			t.Errorf("header still holds %v", h)
		}
	}
}

func TestRecordRefused(t *testing.T) {
	good := (&Record{Token: "secret", Scheme: "http"}).String()
	tests := map[string][]string{
		"none":        nil,
		"two":         {good, good},
		"wrong token": {strings.Replace(good, "secret", "sekret", 1)},
		"no token":    {strings.Replace(good, "secret", "", 1)},
		"version":     {"2" + good[1:]},
		"short":       {good[:len(good)-3]},
		"bad address": {(&Record{Token: "secret", Scheme: "http"}).String()[:len("1 secret 0 0 http ")] + "x  0 0 /"},
	}
	for name, values := range tests {
		h := http.Header{}
		if values != nil {
			h[RecordHeader] = values
		}
		if _, err := TakeRecord(h, "secret"); !errors.Is(err, ErrRecord) {
			t.Errorf("%s: err = %v, want ErrRecord", name, err)
		}
		if len(h) != 0 {
			t.Errorf("%s: header still holds the record", name)
		}
	}
	if _, err := TakeRecord(http.Header{RecordHeader: {(&Record{Scheme: "http"}).String()}}, ""); err == nil {
		t.Error("an empty token was accepted")
	}
}

func TestFrameRoundTrip(t *testing.T) {
	for _, want := range []Frame{
		{Type: FrameHello, Epoch: 1 << 40, Token: "secret"},
		{Type: FrameOwned, Last: true},
		{Type: FrameOwned, Owned: fullOwned()},
		{Type: FrameConn, Number: 42, Resumed: true, Prefix: []byte("GET")},
		{Type: FrameBack, Number: 1 << 63},
		{Type: FrameDrain}, {Type: FrameLogs},
		{Type: FrameReport, Credit: 1 << 31, Taken: []uint64{}, Closed: []uint64{}},
		{Type: FrameReport, Taken: []uint64{1, 2, 3}, Closed: []uint64{4}},
		{Type: FrameReport, Taken: []uint64{}, Closed: make([]uint64, MaxNumbers)},
	} {
		b := want.Append(nil)
		if len(b) > MaxFrame {
			t.Errorf("%c: %d bytes", want.Type, len(b))
		}
		got, err := ParseFrame(b)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("ParseFrame = %+v, %v; want %+v", got, err, want)
		}
	}
}

func FuzzParseFrame(f *testing.F) {
	f.Add([]byte("C12345678\x01GET"))
	f.Add([]byte("R\x00\x00\x00\x01\x00\x0112345678"))
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := ParseFrame(b)
		if err != nil {
			if !errors.Is(err, ErrFrame) {
				t.Fatalf("err = %v", err)
			}
			return
		}
		again, err := ParseFrame(frame.Append(nil))
		if err != nil || !reflect.DeepEqual(again, frame) {
			t.Fatalf("%+v became %+v, %v", frame, again, err)
		}
	})
}
