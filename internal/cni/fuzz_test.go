package cni

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

// FuzzAddresses: whatever lies in the files of the state folder, an address that
// is taken lies in the range, is nobody's, and is found again.
func FuzzAddresses(f *testing.F) {
	f.Add("10.244.0.5", []byte("c1 eth0"), []byte("10.244.0.6"))
	f.Add("10.244.0.1", []byte{}, []byte("10.244.0.254"))
	f.Add("fe80::1%eth0", []byte("x"), []byte("::"))
	pods := netip.MustParsePrefix("10.244.0.0/29")
	f.Fuzz(func(t *testing.T, name string, owner, last []byte) {
		dir := t.TempDir()
		if filepath.IsLocal(name) && filepath.Base(name) == name {
			_ = os.WriteFile(filepath.Join(dir, name), owner, 0o600) // not every name is one of a file
		}
		if err := os.WriteFile(filepath.Join(dir, lastName), last, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := openAddresses(dir)
		if err != nil {
			t.Skip(err) // the file is in the lock's place
		}
		defer s.Close()
		before, err := s.all()
		if err != nil {
			t.Fatal(err)
		}
		a := attachment{ContainerID: "fuzzed", IfName: "eth0"}
		address, err := s.take(a, pods)
		if err != nil {
			t.Fatalf("%q owned by %q, last %q: %v", name, owner, last, err)
		}
		if !pods.Contains(address) || address == pods.Addr() || address == lastAddr(pods) {
			t.Errorf("took %v of %v", address, pods)
		}
		if other, taken := before[address]; taken && other != a.String() {
			t.Errorf("took %v, which is %q's", address, other)
		}
		if again, ok, err := s.of(a); err != nil || !ok || before[again] == "" && again != address {
			t.Errorf("found %v, %t, %v; want %v", again, ok, err, address)
		}
	})
}
