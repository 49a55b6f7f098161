package container_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/container"
)

func valid() container.Spec {
	return container.Spec{
		Name: "etcd", Rootfs: "/rootfs", Args: []string{"/usr/bin/etcd"}, Cgroup: "/system/etcd",
		Mounts: []container.Mount{container.Tmpfs("/tmp", 1<<20, "1777")},
	}
}

func TestValidate(t *testing.T) {
	if err := valid().Validate(); err != nil {
		t.Fatal(err)
	}
	for what, spoil := range map[string]func(*container.Spec){
		"no name":            func(s *container.Spec) { s.Name = "" },
		"name with a slash":  func(s *container.Spec) { s.Name = "a/b" },
		"name in upper case": func(s *container.Spec) { s.Name = "Etcd" },
		"no root":            func(s *container.Spec) { s.Rootfs = "" },
		"the node's root":    func(s *container.Spec) { s.Rootfs = "/" },
		"root not clean":     func(s *container.Spec) { s.Rootfs = "/a/../b" },
		"no program":         func(s *container.Spec) { s.Args = nil },
		"program by name":    func(s *container.Spec) { s.Args = []string{"etcd"} },
		"relative cgroup":    func(s *container.Spec) { s.Cgroup = "system/etcd" },
		"root cgroup":        func(s *container.Spec) { s.Cgroup = "/" },
		"OOM score":          func(s *container.Spec) { s.OOMScoreAdj = -1001 },
		"CPU weight":         func(s *container.Spec) { s.CPUWeight = 10001 },
		"mount on a name":    func(s *container.Spec) { s.Mounts = []container.Mount{{Destination: "tmp"}} },
	} {
		spec := valid()
		spoil(&spec)
		if err := spec.Validate(); err == nil {
			t.Errorf("%s: got no error", what)
		}
	}
}

// Every field counts for the hash, so that no change is missed: one that is added
// later as well.
func TestHashCoversEveryField(t *testing.T) {
	base := valid().Hash()
	if base != valid().Hash() {
		t.Fatal("the same spec has two hashes")
	}
	kind := reflect.TypeFor[container.Spec]()
	for i := range kind.NumField() {
		spec := valid()
		field := reflect.ValueOf(&spec).Elem().Field(i)
		switch field.Kind() {
		case reflect.String:
			field.SetString("changed")
		case reflect.Bool:
			field.SetBool(true)
		case reflect.Int, reflect.Int64:
			field.SetInt(99)
		case reflect.Uint32, reflect.Uint64:
			field.SetUint(99)
		case reflect.Slice:
			field.Set(reflect.MakeSlice(field.Type(), 3, 3))
		default:
			t.Fatalf("field %s: this test does not know its kind", kind.Field(i).Name)
		}
		if spec.Hash() == base {
			t.Errorf("field %s does not count for the hash", kind.Field(i).Name)
		}
	}
}

func TestBackOff(t *testing.T) {
	for failures, want := range map[int]time.Duration{
		-1: 0, 0: 0, 1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 6: 30 * time.Second, 1000000: 30 * time.Second,
	} {
		if got := container.BackOff(failures); got != want {
			t.Errorf("after %d failures: got %s, want %s", failures, got, want)
		}
	}
}

func TestNeedsStart(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		info container.Info
		want bool
	}{
		{container.Info{State: container.Created}, true},
		{container.Info{State: container.Running}, false},
		{container.Info{State: container.Paused}, false},
		{container.Info{State: container.Unknown}, false},
		{container.Info{State: container.Exited, NextStart: now.Add(time.Second)}, false},
		{container.Info{State: container.Exited, NextStart: now}, true},
		{container.Info{State: container.Exited, ExitedAt: now.Add(time.Second), NextStart: now.Add(2 * time.Second)}, false},
		{container.Info{State: container.Exited, ExitedAt: now.Add(time.Hour), NextStart: now.Add(time.Hour)}, true},
		{container.Info{State: container.Exited}, true},
	} {
		if got := test.info.NeedsStart(now); got != test.want {
			t.Errorf("%s, next start %v: got %t", test.info.State, test.info.NextStart, got)
		}
	}
}
