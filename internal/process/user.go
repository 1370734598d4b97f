package process

import (
	"errors"
	"fmt"
	"os/user"
	"runtime"
	"slices"
	"strconv"
)

// LookUp finds a user of the system by name or number, and the groups that its
// processes have: group, or the user's own if that is "", and as supplementary
// ones those that the system gives the user and the given ones. A number that is
// no user of the system needs a group.
func LookUp(name, group string, groups []string) (*User, error) {
	if runtime.GOOS != "linux" {
		return nil, fmt.Errorf("user %q: only on Linux can processes be started as somebody else", name)
	}
	u := &User{GID: -1}
	known, err := lookUpUser(name)
	switch {
	case err != nil:
		return nil, err
	case known == nil:
		u.UID, _ = strconv.Atoi(name) // lookUpUser has read it
	default:
		u.Name, u.Home = known.Username, known.HomeDir
		if u.UID, err = strconv.Atoi(known.Uid); err == nil {
			u.GID, err = strconv.Atoi(known.Gid)
		}
		if err != nil {
			return nil, fmt.Errorf("user %q: %w", name, err)
		}
		if u.Groups, err = groupsOf(known); err != nil {
			return nil, fmt.Errorf("groups of user %q: %w", name, err)
		}
	}
	for _, g := range groups {
		gid, err := lookUpGroup(g)
		if err != nil {
			return nil, err
		}
		u.Groups = append(u.Groups, gid)
	}
	if group != "" {
		if u.GID, err = lookUpGroup(group); err != nil {
			return nil, err
		}
	}
	if u.GID < 0 {
		return nil, fmt.Errorf("no user has the number %s: then a group must be given too", name)
	}
	slices.Sort(u.Groups)
	u.Groups = slices.Compact(u.Groups)
	return u, nil
}

// lookUpUser returns nil for a number that no user has.
func lookUpUser(name string) (*user.User, error) {
	if _, err := strconv.ParseUint(name, 10, 32); err == nil {
		u, err := user.LookupId(name)
		if _, unknown := errors.AsType[user.UnknownUserIdError](err); unknown {
			return nil, nil
		}
		return u, err
	}
	u, err := user.Lookup(name)
	if _, unknown := errors.AsType[user.UnknownUserError](err); unknown {
		return nil, fmt.Errorf("there is no user %q", name)
	}
	return u, err
}

func groupsOf(u *user.User) ([]int, error) {
	ids, err := u.GroupIds()
	if err != nil {
		return nil, err
	}
	var gids []int
	for _, id := range ids {
		gid, err := strconv.Atoi(id)
		if err != nil {
			return nil, err
		}
		gids = append(gids, gid)
	}
	return gids, nil
}

func lookUpGroup(name string) (int, error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return int(n), nil
	}
	g, err := user.LookupGroup(name)
	if _, unknown := errors.AsType[user.UnknownGroupError](err); unknown {
		return 0, fmt.Errorf("there is no group %q", name)
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(g.Gid)
}
