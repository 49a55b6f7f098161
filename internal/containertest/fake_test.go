package containertest_test

import (
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/container"
	"github.com/cyvive/cyvive/internal/containertest"
)

func TestFakeKeepsTheContract(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	fake := containertest.NewFake("system", func() time.Time { return now })
	fake.OnStart(func(s container.Spec) (bool, uint32) {
		return s.Args[0] == "/"+string(containertest.Exits), containertest.ExitCode
	})
	containertest.TestRuntime(t, containertest.Harness{
		Runtime: fake,
		Spec: func(name string, b containertest.Behaviour) container.Spec {
			return container.Spec{Name: name, Rootfs: "/root", Args: []string{"/" + string(b)}, Cgroup: "/test/" + name}
		},
		WaitUntil: func(at time.Time) { now = at },
	})
}

func TestFakePrintsItsState(t *testing.T) {
	fake := containertest.NewFake("system", time.Now)
	for _, name := range []string{"b", "a"} {
		spec := container.Spec{Name: name, Rootfs: "/root", Args: []string{"/program"}, Cgroup: "/test/" + name}
		if err := fake.Ensure(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}
	fake.Exit("b", 9)
	if got, want := fake.String(), "a running\nb exited 9\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
