package variant

import (
	"os"
	"regexp"
	"strings"
	"testing"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
)

func TestExplained(t *testing.T) {
	b := Bad{Version: "2", Reason: regexp.MustCompile("kernel panic")}
	boot := func(id, version, reason string) *machinev1.Boot {
		return &machinev1.Boot{BootId: id, Version: version, Reason: reason}
	}
	for name, c := range map[string]struct {
		boots []*machinev1.Boot
		want  string
	}{
		"back":           {[]*machinev1.Boot{boot("z", "1", ""), boot("y", "2", "kernel panic: x"), boot("x", "1", "reboot")}, ""},
		"not yet":        {[]*machinev1.Boot{boot("x", "1", "")}, "still runs"},
		"on trial":       {[]*machinev1.Boot{boot("y", "2", ""), boot("x", "1", "reboot")}, "version 2 runs"},
		"other reason":   {[]*machinev1.Boot{boot("z", "1", ""), boot("y", "2", "it hung"), boot("x", "1", "reboot")}, "no boot"},
		"of an old one":  {[]*machinev1.Boot{boot("z", "1", ""), boot("x", "1", "reboot"), boot("y", "2", "kernel panic: x")}, "no boot"},
		"another ledger": {[]*machinev1.Boot{boot("z", "1", "")}, "not in the ledger"},
	} {
		err := b.Explained(c.boots, "x", "1")
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// TestNames: releases are told apart by their names, and two with the same version by what their boots say.
func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for _, bad := range append(AloneBad(), SilentAgent(), NeverReady(), FullDisk()) {
		if seen[bad.Name] {
			t.Errorf("two are named %s", bad.Name)
		}
		seen[bad.Name] = true
		if bad.Decides != strings.Contains(bad.Reason.String(), "not well") {
			t.Errorf("%s: decides: %t, with the reason %q", bad.Name, bad.Decides, bad.Reason)
		}
	}
}

// TestLight holds what is left out, and what is put in the place of others, against the reviewed list of the image: each is there, and no other name of a
// file that is left out stays.
func TestLight(t *testing.T) {
	text, err := os.ReadFile("../../../images/testdata/root.amd64.list")
	if err != nil {
		t.Fatal(err)
	}
	same := map[string]string{} // file → the name under which the list has its content
	for line := range strings.Lines(string(text)) {
		if f := strings.Split(strings.TrimSuffix(line, "\n"), "\t"); f[0] == "f" {
			same[f[4]] = f[4]
			if f[5] != "" {
				same[f[4]] = f[5]
			}
		}
	}
	dropped := map[string]bool{}
	for i, flags := 0, Light(); i < len(flags); i += 2 {
		if flags[i] != "--drop" || same[flags[i+1]] == "" {
			t.Errorf("%s %s: there is no such file", flags[i], flags[i+1])
		}
		dropped[flags[i+1]] = true
	}
	for name, content := range same {
		for other := range dropped {
			if !dropped[name] && content == same[other] {
				t.Errorf("%s is left out, and %s is another name of it", other, name)
			}
		}
	}
	for _, name := range []string{agentPath, etcdPath, initPath, kubeletPath} {
		if same[name] == "" {
			t.Errorf("%s is not there", name)
		}
	}
}
