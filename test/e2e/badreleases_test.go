package e2e

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
)

// badRelease is a release that no node can stay on.
type badRelease struct {
	name, version string
	// flags are those of mkimage that make it bad.
	flags func(t *testing.T, ctx context.Context, r *releases) []string
	// reason is what the boots have to say.
	reason *regexp.Regexp
	// lasts is how long the node may take to be back, but for the boot of the old version.
	lasts time.Duration
}

// appended adds to the kernel's command line of the good release.
func appended(text string) func(*testing.T, context.Context, *releases) []string {
	return func(*testing.T, context.Context, *releases) []string { return []string{"--append", text} }
}

// withInit is a release whose init does what a word of the command line says, and not what it is there for.
func withInit(word string) func(*testing.T, context.Context, *releases) []string {
	return func(t *testing.T, ctx context.Context, r *releases) []string {
		return []string{"--put", "/usr/bin/init=" + r.program(t, ctx, "badinit"), "--append", word}
	}
}

// badReleases are those that no node can stay on, of whatever cluster. All are built from the same sources and signed like a good one.
func badReleases() []badRelease {
	return []badRelease{
		// Init loads OpenZFS, which is built out of the kernel's tree; with this the kernel panics then (kernel/panic.c, add_taint).
		{"panic", goodVersion, appended("panic_on_taint=0x1000"), regexp.MustCompile(`kernel panic: panic_on_taint set`), trialTries * bootTimeout},
		{"init-exits", initVersion, withInit("badinit=exit"), regexp.MustCompile(`kernel panic: Attempted to kill init!`), trialTries * bootTimeout},
		// Nothing feeds the watchdog that stage 1 has started.
		{"hang", initVersion, withInit("badinit=hang"), regexp.MustCompile(`watchdog started the machine again`), trialTries * bootTimeout},
		// The kernel refuses the driver of the only network card.
		{"no-network", goodVersion, appended("module_blacklist=virtio_net"), regexp.MustCompile(`not well .*network: `), aloneDeadline + bootTimeout},
	}
}

// neverReady is a release without a kubelet.
func neverReady() badRelease {
	return badRelease{"never-ready", readyVersion, func(*testing.T, context.Context, *releases) []string {
		return []string{"--drop", "/usr/lib/cyvive/plane/usr/bin/kubelet"}
	}, regexp.MustCompile(`not well .*node: `), trialTimeout}
}

func (b badRelease) part() upgradePart { return upgradePart{b.name, b.run} }

// run pushes the release, starts it, and keeps its hands off until the node is back by itself.
func (b badRelease) run(t *testing.T, u *upgrades) {
	ctx := testContext(t, buildTimeout+pushTimeout+shutdownDeadline+b.lasts+2*bootTimeout)
	image := u.make(t, ctx, b.name, b.version, b.flags(t, ctx, u.releases)...)
	before := currentBoot(t, ctx, u.suite)
	u.nodectl(t, ctx, "upgrade", "--image", image, "--stage")
	u.nodectl(t, ctx, "reboot")
	began := time.Now()
	eventually(t, ctx, "wait until the node is back", func(ctx context.Context) error {
		boots, err := listBoots(ctx, u.suite)
		if err != nil {
			return err
		}
		return b.explained(boots, before, u.old)
	})
	t.Logf("back after %.0f s", time.Since(began).Seconds())
	// Not the pod: Kubernetes takes it off a node that was not Ready for five minutes.
	if err := u.AwaitHealthy(ctx); err != nil {
		t.Fatal(err)
	}
	status, err := u.upgradeStatus(ctx)
	if last := status.Last; err != nil || status.Stage != "STAGE_IDLE" || last.Succeeded || last.Target.Version != b.version || !b.reason.MatchString(last.Reason) {
		t.Errorf("upgrade status: %+v, %v; want idle, and the last upgrade to %s failed for %q", status, err, b.version, b.reason)
	}
	entries := u.bootEntries(t, ctx)
	if len(entries) != 2 || entries[0] != "cyvive-a.conf" || !regexp.MustCompile(`^cyvive-b\+0(-\d+)?\.conf$`).MatchString(entries[1]) {
		t.Errorf("boot entries are %q, want slot a always and slot b without tries", entries)
	}
}

// explained wants, of the boots since one, that the last is of the old version and that one of the bad version has the right reason. The newest is
// the first.
func (b badRelease) explained(boots []*machinev1.Boot, before, old string) error {
	i := slices.IndexFunc(boots, func(boot *machinev1.Boot) bool { return boot.GetBootId() == before })
	if i < 0 {
		return fmt.Errorf("boot %s is not in the ledger any more", before)
	}
	if i == 0 {
		return errors.New("the boot before still runs")
	}
	if got := boots[0].GetVersion(); got != old {
		return fmt.Errorf("version %s runs", got)
	}
	var words []string
	for _, boot := range boots[:i] {
		if boot.GetVersion() == b.version && b.reason.MatchString(boot.GetReason()) {
			return nil
		}
		words = append(words, protojson.MarshalOptions{}.Format(boot))
	}
	return fmt.Errorf("no boot of version %s has the reason %q; there are\n%s", b.version, b.reason, strings.Join(words, "\n"))
}

func TestExplained(t *testing.T) {
	b := badRelease{version: "2", reason: regexp.MustCompile("kernel panic")}
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
		err := b.explained(c.boots, "x", "1")
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}
