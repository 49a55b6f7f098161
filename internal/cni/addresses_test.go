package cni

import (
	"errors"
	"net/netip"
	"testing"
)

func TestAddressesAreTakenInTurn(t *testing.T) {
	s, err := openAddresses(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	pods := netip.MustParsePrefix("10.244.3.0/29")
	for _, step := range []struct {
		do   string
		id   string
		want string // empty: full
	}{
		{"take", "a", "10.244.3.1"},
		{"take", "a", "10.244.3.1"}, // the one it has
		{"take", "b", "10.244.3.2"},
		{"release", "a", ""},
		{"take", "c", "10.244.3.3"}, // a's rests
		{"take", "d", "10.244.3.4"},
		{"take", "e", "10.244.3.5"},
		{"take", "f", "10.244.3.6"},
		{"take", "g", "10.244.3.1"}, // round
		{"take", "h", ""},
		{"release", "d", ""},
		{"take", "h", "10.244.3.4"},
	} {
		a := attachment{step.id, "eth0"}
		if step.do == "release" {
			if err := s.release(a); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := s.take(a, pods)
		switch {
		case step.want == "" && !errors.Is(err, errFull):
			t.Errorf("take %s: got %v, %v, want it full", step.id, got, err)
		case step.want != "" && (err != nil || got.String() != step.want):
			t.Errorf("take %s: got %v, %v, want %s", step.id, got, err, step.want)
		}
	}
}

func TestLastAddr(t *testing.T) {
	for prefix, want := range map[string]string{
		"10.244.0.0/24": "10.244.0.255", "10.244.3.8/29": "10.244.3.15", "10.0.0.0/8": "10.255.255.255",
	} {
		if got := lastAddr(netip.MustParsePrefix(prefix)); got.String() != want {
			t.Errorf("%s: got %s, want %s", prefix, got, want)
		}
	}
}

func TestParseConfigRefuses(t *testing.T) {
	for _, text := range []string{
		``, `{`, `{"podCIDR":""}`, `{"podCIDR":"10.0.0.0/31"}`, `{"podCIDR":"fd00::/64"}`,
		`{"podCIDR":"10.0.0.0/24","mtu":100}`, `{"podCIDR":"10.0.0.0/24","mtu":70000}`,
	} {
		if _, err := parseConfig([]byte(text)); err == nil {
			t.Errorf("%s: got no error", text)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(testConfig))
	f.Add([]byte(`{"podCIDR":"10.0.0.1/24"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseConfig(data)
		if err == nil && (!c.pods.IsValid() || c.pods != c.pods.Masked()) {
			t.Errorf("accepted %q as %v", data, c.pods)
		}
	})
}
