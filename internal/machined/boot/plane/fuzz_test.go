package plane

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// FuzzReadArgs: what is read goes to the kubelet as it is, behind the fixed
// arguments, which stay.
func FuzzReadArgs(f *testing.F) {
	f.Add([]byte(`["--node-ip=10.0.0.2","--v=2"]`))
	f.Add([]byte(`{"a":1}`))
	f.Add([]byte(`null`))
	fixed := services(nil)
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "args.json")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		args, err := readArgs(path)
		if err != nil && args != nil {
			t.Errorf("%q: got %q together with %v", data, args, err)
		}
		all := services(args)
		kubelet, bare := all[len(all)-1].Command.Args, fixed[len(fixed)-1].Command.Args
		if !slices.Equal(kubelet, slices.Concat(bare, args)) {
			t.Errorf("%q: the kubelet is started with %q", data, kubelet)
		}
	})
}

func FuzzPopulated(f *testing.F) {
	f.Add("populated 1\nfrozen 0\n")
	f.Fuzz(func(t *testing.T, events string) {
		// The kernel adds lines (cgroup-v2, "cgroup.events"); those of others say nothing.
		if got := populated(events); got != populated("frozen 1\n"+events) || !populated(events+"\npopulated 1\n") {
			t.Errorf("%q: a line of another key changes %t", events, got)
		}
	})
}
