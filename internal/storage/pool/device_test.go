package pool

import (
	"errors"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// leafOf is a device that is well.
func leafOf(guid zfs.GUID, path string) Vdev {
	return Vdev{Name: path, Type: "disk", GUID: guid, Path: path, State: Online}
}

func in(state State, v Vdev) Vdev {
	v.State = state
	return v
}

func group(kind, name string, class Class, children ...Vdev) Vdev {
	return Vdev{Type: kind, Name: name, Class: class, State: Online, Children: children}
}

func TestDeviceByName(t *testing.T) {
	p := Pool{Name: "tank", Vdevs: []Vdev{group("mirror", "mirror-0", Normal, leafOf(11, "/dev/vdb1"), in(Unavailable, Vdev{Name: "12", GUID: 12, Path: "/dev/vdb1", Type: "disk"}))}}
	for name, want := range map[string]zfs.GUID{"11": 11, "12": 12} {
		if got, err := p.Device(name); err != nil || got.GUID != want {
			t.Errorf("%s: got %v, %v", name, got.GUID, err)
		}
	}
	// The path where a lost device was last is that of another by now: neither is taken for the other.
	for name, want := range map[string]error{"/dev/vdb1": zfs.ErrInvalid, "vdb1": zfs.ErrInvalid, "vdc1": zfs.ErrNotExist, "": zfs.ErrNotExist, "mirror-0": zfs.ErrNotExist, "0": zfs.ErrNotExist} {
		if _, err := p.Device(name); !errors.Is(err, want) || !strings.Contains(err.Error(), "12") {
			t.Errorf("%q: got %v, want %v with what there is", name, err, want)
		}
	}
}

func TestWithout(t *testing.T) {
	a, b, c, d := leafOf(1, "/dev/a"), leafOf(2, "/dev/b"), leafOf(3, "/dev/c"), leafOf(4, "/dev/d")
	resilvering := Scan{Function: Resilver, Progress: Running}
	copying := b
	copying.RepairedBytes = 1
	for name, test := range map[string]struct {
		pool Pool
		want int
		err  error
	}{
		"a stripe":               {Pool{Vdevs: []Vdev{a, b}}, 0, ErrLastCopy},
		"of two":                 {Pool{Vdevs: []Vdev{group("mirror", "mirror-0", Normal, a, b)}}, 0, nil},
		"of three":               {Pool{Vdevs: []Vdev{group("mirror", "mirror-0", Normal, a, b, c)}}, 1, nil},
		"the last of two":        {Pool{Vdevs: []Vdev{group("mirror", "mirror-0", Normal, a, in(Offline, b))}}, 0, ErrLastCopy},
		"the last of three":      {Pool{Vdevs: []Vdev{group("mirror", "mirror-0", Normal, a, in(Faulted, b), in(Removed, c))}}, 0, ErrLastCopy},
		"raidz1":                 {Pool{Vdevs: []Vdev{group("raidz", "raidz1-0", Normal, a, b, c)}}, 0, nil},
		"raidz2":                 {Pool{Vdevs: []Vdev{group("raidz", "raidz2-0", Normal, a, b, c, d)}}, 1, nil},
		"raidz2 with one gone":   {Pool{Vdevs: []Vdev{group("raidz", "raidz2-0", Normal, a, in(Unavailable, b), c, d)}}, 0, nil},
		"raidz1 with one gone":   {Pool{Vdevs: []Vdev{group("raidz", "raidz1-0", Normal, a, in(Unavailable, b), c)}}, 0, ErrLastCopy},
		"draid2":                 {Pool{Vdevs: []Vdev{group("draid", "draid2:1d:4c:0s-0", Normal, a, b, c, d)}}, 1, nil},
		"it is offline already":  {Pool{Vdevs: []Vdev{group("mirror", "mirror-0", Normal, in(Offline, a), b)}}, 0, nil},
		"the other is copied to": {Pool{Scan: resilvering, Vdevs: []Vdev{group("mirror", "mirror-0", Normal, a, copying)}}, 0, ErrLastCopy},
		"the other was copied to": {
			Pool{Scan: Scan{Function: Resilver, Progress: Finished}, Vdevs: []Vdev{group("mirror", "mirror-0", Normal, a, copying)}}, 0, nil,
		},
		"a spare stands in": {
			Pool{Vdevs: []Vdev{group("mirror", "mirror-0", Normal, group("spare", "spare-0", Normal, a, c), b)}}, 1, nil,
		},
		"a spare is copied to": {
			Pool{Scan: resilvering, Vdevs: []Vdev{group("mirror", "mirror-0", Normal, group("spare", "spare-0", Normal, a, copying), c)}}, 0, nil,
		},
		"a log":   {Pool{Vdevs: []Vdev{b, func() Vdev { v := a; v.Class = Log; return v }()}}, 0, nil},
		"a cache": {Pool{Vdevs: []Vdev{b, func() Vdev { v := a; v.Class = Cache; return v }()}}, 1, nil},
		"a spare": {Pool{Vdevs: []Vdev{b, func() Vdev { v := a; v.Class, v.State = Spare, Available; return v }()}}, 0, zfs.ErrInvalid},
		"another": {Pool{Vdevs: []Vdev{b}}, 0, zfs.ErrNotExist},
	} {
		if got, err := test.pool.Without(a); got != test.want || !errors.Is(err, test.err) {
			t.Errorf("%s: got %d, %v, want %d, %v", name, got, err, test.want, test.err)
		}
	}
}
