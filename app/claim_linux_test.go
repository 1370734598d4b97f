package app

import (
	"bytes"
	"strings"
	"testing"

	"aerie/proto"
)

// TestClaim: a host is obeyed that proves to have the token, until one of a higher
// epoch does.
func TestClaim(t *testing.T) {
	p := &inProcess{token: "secret", pool: "shop", generation: 3}
	c := &control{p: p}
	claim := func(r *proto.ClaimRequest) *proto.ClaimReply {
		t.Helper()
		reply, err := c.Claim(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
	if p.host.obeys(0) {
		t.Error("it obeys before anybody has claimed it")
	}
	r := proto.NewClaim("secret", 4)
	reply := claim(r)
	if reply.Refused != "" || reply.Pool != "shop" || reply.Generation != 3 || !bytes.Equal(reply.Proof, proto.WorkerProof("secret", 4, r.Nonce)) {
		t.Errorf("reply %v", reply)
	}
	if !p.host.obeys(4) || p.host.obeys(5) || p.host.obeys(3) {
		t.Error("it obeys another epoch than the one that has claimed it")
	}
	if reply := claim(proto.NewClaim("Secret", 5)); reply.Refused == "" || reply.Proof != nil || p.host.obeys(5) {
		t.Errorf("a stranger: %v", reply)
	}
	replayed := proto.NewClaim("secret", 4)
	replayed.Epoch = 9
	if reply := claim(replayed); reply.Refused == "" || p.host.obeys(9) {
		t.Errorf("a proof for another epoch: %v", reply)
	}
	if reply := claim(proto.NewClaim("secret", 3)); !strings.Contains(reply.Refused, "epoch 4") || reply.Proof != nil || !p.host.obeys(4) {
		t.Errorf("an older host: %v", reply)
	}
	if reply := claim(proto.NewClaim("secret", 6)); reply.Refused != "" || p.host.obeys(4) || !p.host.obeys(6) {
		t.Errorf("a newer host: %v", reply)
	}
	p.stopping.Store(true)
	if reply := claim(proto.NewClaim("secret", 7)); reply.Refused == "" {
		t.Error("a process that is stopping was claimed")
	}
}
