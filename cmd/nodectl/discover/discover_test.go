package discover

import (
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTargets(t *testing.T) {
	for _, test := range []struct {
		args string
		want []Target
		err  string
	}{
		{"", nil, ""},
		{"node1 10.5.0.2:1234 node1", []Target{{"node1:50000", true}, {"10.5.0.2:1234", true}}, ""},
		{"2001:db8::1 [2001:db8::2]:7", []Target{{"[2001:db8::1]:50000", true}, {"[2001:db8::2]:7", true}}, ""},
		{"10.5.0.5/30", []Target{{"10.5.0.5:50000", false}, {"10.5.0.6:50000", false}}, ""},
		{"10.5.0.4/31", []Target{{"10.5.0.4:50000", false}, {"10.5.0.5:50000", false}}, ""},
		{"10.5.0.6/32 10.5.0.6", []Target{{"10.5.0.6:50000", false}}, ""},
		{"2001:db8::/127", []Target{{"[2001:db8::]:50000", false}, {"[2001:db8::1]:50000", false}}, ""},
		{"255.255.255.254/31", []Target{{"255.255.255.254:50000", false}, {"255.255.255.255:50000", false}}, ""},
		{"10.0.0.0/19", nil, "the network 10.0.0.0/19 has too many addresses: 4096 are asked at most"},
		{"::/0", nil, "too many addresses"},
		{"10.0.0.0/20 10.1.0.0/28 x", nil, "too many addresses"},
		{"10.0.0.0/33", nil, "expected HOST, HOST:PORT or a network such as 10.5.0.0/24"},
		{"::ffff:10.0.0.0/120", nil, "expected HOST"},
		{"node1/24", nil, "expected HOST"},
		{"node1:x", nil, "expected HOST or HOST:PORT"},
	} {
		got, err := Targets(strings.Fields(test.args))
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: got %v, want %q", test.args, err, test.err)
			}
			continue
		}
		if d := cmp.Diff(test.want, got); err != nil || d != "" {
			t.Errorf("%s: %v (-want +got):\n%s", test.args, err, d)
		}
	}
	all, err := Targets([]string{"10.0.0.0/20"})
	if err != nil || len(all) != Max-2 || all[0].Address != "10.0.0.1:50000" || all[len(all)-1].Address != "10.0.15.254:50000" {
		t.Errorf("a network of the largest size: %d, %v", len(all), err)
	}
}

func TestLocal(t *testing.T) {
	var addresses []net.Addr
	for _, text := range []string{"127.0.0.1/8", "10.5.0.7/24", "10.5.0.8/24", "172.16.0.1/12", "192.0.2.1/24", "fd00::1/64", "192.168.1.1/22", "169.254.1.1/16"} {
		ip, network, err := net.ParseCIDR(text)
		if err != nil {
			t.Fatal(err)
		}
		addresses = append(addresses, &net.IPNet{IP: ip, Mask: network.Mask})
	}
	if d := cmp.Diff([]string{"10.5.0.0/24", "192.168.0.0/22"}, Local(addresses)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// FuzzTargets: what is asked is bounded, has a port, and is asked once.
func FuzzTargets(f *testing.F) {
	f.Add("10.5.0.0/24", "node1")
	f.Add("[::1]:1", "2001:db8::/116")
	f.Fuzz(func(t *testing.T, one, two string) {
		all, err := Targets([]string{one, two})
		if err != nil && all != nil || len(all) > Max {
			t.Fatalf("%d addresses, %v", len(all), err)
		}
		seen := map[string]bool{}
		for _, target := range all {
			if _, port, err := net.SplitHostPort(target.Address); err != nil || port == "" || seen[target.Address] {
				t.Errorf("%q: %v, asked before: %t", target.Address, err, seen[target.Address])
			}
			seen[target.Address] = true
		}
	})
}
