package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
)

// fault is what a node must not say of a boot whose power was cut.
var fault = regexp.MustCompile(`panic|watchdog|sign of life|Oops`)

// plug says of the boot before a cut how it was.
type plug int

const (
	// pulled: it answered, and then the power was cut.
	pulled plug = iota
	// pulledGoingDown: the same, but it had been told to go down, and may have ended in order just before.
	pulledGoingDown
	// off: it had ended in order before. What was cut is a later boot, of which nothing is known: it may have no entry, and may have left this one's
	// end unknown, by which a node takes file systems for not clean.
	off
)

// checkLedger holds the ledger of a node after power cuts against what may be in it. Before is the last boot that answered, empty on a new disk.
func checkLedger(boots []*machinev1.Boot, before string, was plug) error {
	if len(boots) == 0 || boots[0].GetEnd() != machinev1.BootEnd_BOOT_END_RUNNING {
		return fmt.Errorf("the ledger has no running boot: %v", boots)
	}
	between := boots[1:]
	if before != "" {
		i := slices.IndexFunc(boots, func(b *machinev1.Boot) bool { return b.GetBootId() == before })
		switch {
		case i == 0:
			return fmt.Errorf("boot %s still runs", before)
		case i < 0:
			return fmt.Errorf("boot %s, which had answered, is not in the ledger: %v", before, boots)
		}
		between = boots[1:i]
		unclean := boots[i].GetEnd() == machinev1.BootEnd_BOOT_END_UNCLEAN
		if clean := boots[i].GetEnd() == machinev1.BootEnd_BOOT_END_CLEAN; !unclean && (!clean || was == pulled) {
			return fmt.Errorf("boot %s, whose power was cut, ended %s (%s)", before, boots[i].GetEnd(), boots[i].GetReason())
		}
		if fault.MatchString(boots[i].GetReason()) {
			return fmt.Errorf("boot %s, whose power was cut, is said to have ended by a fault: %s", before, boots[i].GetReason())
		}
	}
	for _, b := range between {
		if b.GetEnd() != machinev1.BootEnd_BOOT_END_UNCLEAN || fault.MatchString(b.GetReason()) {
			return fmt.Errorf("boot %s, whose power was cut early, ended %s (%s)", b.GetBootId(), b.GetEnd(), b.GetReason())
		}
	}
	return nil
}

func TestCheckLedger(t *testing.T) {
	boot := func(id string, end machinev1.BootEnd, reason string) *machinev1.Boot {
		return &machinev1.Boot{BootId: id, End: end, Reason: reason}
	}
	const clean, unclean = machinev1.BootEnd_BOOT_END_CLEAN, machinev1.BootEnd_BOOT_END_UNCLEAN
	now := boot("now", machinev1.BootEnd_BOOT_END_RUNNING, "")
	for name, c := range map[string]struct {
		boots  []*machinev1.Boot
		before string
		was    plug
		want   string
	}{
		"new disk":             {[]*machinev1.Boot{now}, "", off, ""},
		"new disk, cut later":  {[]*machinev1.Boot{now, boot("a", unclean, "")}, "", off, ""},
		"new disk, clean":      {[]*machinev1.Boot{now, boot("a", clean, "")}, "", off, "cut early"},
		"pulled":               {[]*machinev1.Boot{now, boot("x", unclean, "")}, "x", pulled, ""},
		"pulled, said clean":   {[]*machinev1.Boot{now, boot("x", clean, "")}, "x", pulled, "whose power was cut"},
		"pulled, going down":   {[]*machinev1.Boot{now, boot("x", clean, "upgrade to version 2")}, "x", pulledGoingDown, ""},
		"pulled, with a fault": {[]*machinev1.Boot{now, boot("x", unclean, "kernel panic: x")}, "x", pulled, "by a fault"},
		"on trial": {
			[]*machinev1.Boot{now, boot("", unclean, "fell back to version 1: it was started and left no word"), boot("x", clean, "power-off")}, "x", off, "",
		},
		"trial with a fault": {[]*machinev1.Boot{now, boot("y", unclean, "the watchdog started it"), boot("x", clean, "")}, "x", off, "cut early"},
		"lost":               {[]*machinev1.Boot{now, boot("w", unclean, "")}, "x", pulled, "not in the ledger"},
		"still runs":         {[]*machinev1.Boot{now}, "now", pulled, "still runs"},
		"without an end":     {[]*machinev1.Boot{boot("x", machinev1.BootEnd_BOOT_END_RUNNING, ""), boot("y", machinev1.BootEnd_BOOT_END_RUNNING, "")}, "y", off, "ended"},
		"nothing":            {nil, "", off, "no running boot"},
	} {
		err := checkLedger(c.boots, c.before, c.was)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}
