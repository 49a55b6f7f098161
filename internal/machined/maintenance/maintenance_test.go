package maintenance

import (
	"net/netip"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/pki"
)

var (
	alice = pki.Fingerprint{1}
	bob   = pki.Fingerprint{2}
)

func TestOwner(t *testing.T) {
	for _, test := range []struct {
		name   string
		before Owner
		claims []Claim
		want   Owner
	}{
		{"nobody says anything", Owner{}, nil, Owner{}},
		{"one", Owner{}, []Claim{{From: "image", Key: alice}}, Owner{Key: alice, From: "image"}},
		{"the first wins, and the other is told", Owner{}, []Claim{{From: "image", Key: alice}, {From: "volume", Key: bob}},
			Owner{Key: alice, From: "image", Conflicts: []string{"volume: " + bob.String()}}},
		{"all the same", Owner{}, []Claim{{From: "image", Key: alice}, {From: "volume", Key: alice}}, Owner{Key: alice, From: "image"}},
		{"one that cannot be read holds the next", Owner{}, []Claim{{From: "line", Problem: "no key"}, {From: "volume", Key: bob}},
			Owner{From: "line", Problem: "line: no key", Conflicts: []string{"volume: " + bob.String()}}},
		{"one that cannot be read behind", Owner{}, []Claim{{From: "image", Key: alice}, {From: "volume", Problem: "no key"}},
			Owner{Key: alice, From: "image", Conflicts: []string{"volume: no key"}}},
		{"taken back when nothing was", Owner{From: "line", Problem: "line: no key"}, nil, Owner{}},
		{"mended", Owner{From: "line", Problem: "line: no key"}, []Claim{{From: "line", Key: bob}}, Owner{Key: bob, From: "line"}},
		{"stays when its place is gone", Owner{Key: alice, From: "volume"}, nil, Owner{Key: alice, From: "volume"}},
		{"stays before one that comes earlier", Owner{Key: alice, From: "volume"}, []Claim{{From: "firmware", Key: bob}, {From: "volume", Key: alice}},
			Owner{Key: alice, From: "volume", Conflicts: []string{"firmware: " + bob.String()}}},
		{"its place says something else", Owner{Key: alice, From: "volume"}, []Claim{{From: "volume", Key: bob}},
			Owner{Key: alice, From: "volume", Conflicts: []string{"volume: " + bob.String()}}},
		{"conflicts end", Owner{Key: alice, From: "volume", Conflicts: []string{"x"}}, []Claim{{From: "volume", Key: alice}}, Owner{Key: alice, From: "volume"}},
	} {
		if d := cmp.Diff(test.want, test.before.After(test.claims)); d != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, d)
		}
	}
}

// TestDecide has every combination of facts, and the answer that opens least.
func TestDecide(t *testing.T) {
	owners := map[string]Owner{"none": {}, "unknown": {Problem: "x"}, "alice": {Key: alice}}
	want := map[string]map[bool]Mode{
		"none": {false: Starting, true: Open}, "unknown": {false: Starting, true: Closed}, "alice": {false: Starting, true: Owned},
	}
	for name, owner := range owners {
		for _, without := range []bool{false, true} {
			if got := Decide(Facts{Without: without, Owner: owner}); got != want[name][without] {
				t.Errorf("owner %s, without a configuration %t: got %s", name, without, got)
			}
			if got := Decide(Facts{Configured: true, Without: without, Owner: owner}); got != Configured || got.Maintenance() {
				t.Errorf("owner %s, configured: got %s", name, got)
			}
		}
	}
	if Starting.Maintenance() || !Closed.Maintenance() || !Open.Maintenance() || !Owned.Maintenance() {
		t.Error("what counts as maintenance")
	}
}

func TestNotice(t *testing.T) {
	n := Notice{
		Mode: Owned, Reason: "no configuration found: there is none in a volume", Fingerprint: pki.Fingerprint{3},
		Addresses: []netip.Addr{netip.MustParseAddr("10.5.0.7"), netip.MustParseAddr("2001:db8::7")},
		Owner:     Owner{Key: alice, From: "the kernel command line", Conflicts: []string{"a volume: " + bob.String()}},
	}
	want := `----------------------------------------------------------------------
MAINTENANCE MODE: this node has no configuration
  reason       no configuration found: there is none in a volume
  address      10.5.0.7
               2001:db8::7
  fingerprint  SHA256:AwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
  owner        SHA256:AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
               (the kernel command line)
  not followed a volume: SHA256:AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
  next         nodectl config apply FILE \
                 --maintenance --nodes 10.5.0.7 \
                 --fingerprint SHA256:AwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
----------------------------------------------------------------------`
	if d := cmp.Diff(want, strings.Join(n.Lines(), "\n")); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, test := range []struct {
		n       Notice
		has, no string
	}{
		{Notice{Mode: Open, Reason: "x"}, "owner        none\n  next         give the node an owner's key (nodectl owner new)", "config apply"},
		{Notice{Mode: Open}, "address      none yet", ""},
		{Notice{Mode: Closed, Owner: Owner{Problem: "the line: no key"}}, "owner        not known: the line: no key\n  next         mend", "nodectl"},
		{Notice{Mode: Owned, InMemory: true}, "a restart changes it", ""},
		{Notice{Mode: Owned, Medium: true}, "nodectl install --disk-serial … --config FILE \\\n                 --maintenance --nodes ADDRESS \\\n", "config apply"},
		{Notice{Mode: Owned, Shut: "PCR 11 is another"}, "  state volume PCR 11 is another\n", "config apply"},
		{Notice{Mode: Owned, Shut: "x"}, "nodectl disk recover state \\\n                 --maintenance --nodes ADDRESS \\\n                 --fingerprint SHA256:", "config apply"},
		{Notice{Mode: Open, Shut: "x"}, "  state volume x\n", "recover"},
		{Notice{Mode: Owned, Reason: "a\nb\nc\nd\ne\nf\ng"}, "               e\n               and more, which the log has\n  address", "  f\n"},
		{Notice{Mode: Open, Reason: "\x1b[31mred" + strings.Repeat("x", 1000)}, "?[31mredxxx", "\x1b"},
	} {
		got := strings.Join(test.n.Lines(), "\n")
		if !strings.Contains(got, test.has) || test.no != "" && strings.Contains(got, test.no) || len(got) > 2500 {
			t.Errorf("got\n%s\nwant %q, and not %q", got, test.has, test.no)
		}
	}
	for _, m := range []Mode{Starting, Configured} {
		if got := (Notice{Mode: m}).Lines(); got != nil {
			t.Errorf("%s: got %q", m, got)
		}
	}
}

// FuzzNotice: whatever places and errors say, the console gets lines of text, and not too many.
func FuzzNotice(f *testing.F) {
	f.Add("no configuration\nuser-data:3: x", "the kernel command line", "a volume: \x1b[2J")
	f.Fuzz(func(t *testing.T, reason, from, problem string) {
		for _, m := range []Mode{Closed, Open, Owned} {
			owner := Owner{Key: alice, From: from, Problem: problem, Conflicts: []string{problem}}
			lines := Notice{Mode: m, Reason: reason, Shut: problem, Owner: owner}.Lines()
			if len(lines) > 27 {
				t.Errorf("%d lines", len(lines))
			}
			for _, line := range lines {
				if strings.ContainsFunc(line, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }) || len(line) > 2000 {
					t.Errorf("%q", line)
				}
			}
		}
	})
}
