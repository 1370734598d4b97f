package process

import (
	"os/user"
	"reflect"
	"runtime"
	"strconv"
	"testing"
)

func TestLookUp(t *testing.T) {
	if runtime.GOOS != "linux" {
		if _, err := LookUp("root", "", nil); err == nil {
			t.Error("a user was found where none can be used")
		}
		return
	}
	own, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{own.Username, own.Uid} {
		u, err := LookUp(name, "", nil)
		if err != nil || strconv.Itoa(u.UID) != own.Uid || strconv.Itoa(u.GID) != own.Gid || u.Name != own.Username || u.Home != own.HomeDir {
			t.Errorf("%s: got %+v, %v", name, u, err)
		}
	}
	want := &User{UID: 4242424, GID: 17, Groups: []int{5, 9}}
	if got, err := LookUp("4242424", "17", []string{"9", "5", "9"}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for _, c := range []struct {
		user, group string
		groups      []string
		want        string
	}{
		{"no-such-user", "", nil, `there is no user "no-such-user"`},
		{"0", "no-such-group", nil, `there is no group "no-such-group"`},
		{"0", "", []string{"no-such-group"}, `there is no group "no-such-group"`},
		{"4242424", "", nil, "no user has the number 4242424: then a group must be given too"},
	} {
		if u, err := LookUp(c.user, c.group, c.groups); err == nil || err.Error() != c.want {
			t.Errorf("got %+v, %v; want %s", u, err, c.want)
		}
	}
}

func TestEnvironmentLayers(t *testing.T) {
	got := Environment([]string{"B=1", "A=1", "=C:=x", "odd"}, nil, []string{"B=2", "C=x=y"}, (&User{Name: "n", Home: "/h"}).Environment(), (*User)(nil).Environment())
	if want := []string{"A=1", "B=2", "C=x=y", "HOME=/h", "LOGNAME=n", "USER=n"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
