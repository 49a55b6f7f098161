package e2e

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	"github.com/cyvive/cyvive/hack/release/variant"
)

// badRelease is a release that no node can stay on.
type badRelease struct {
	variant.Bad
	// lasts is how long the node may take to be back, but for the boot of the old version.
	lasts time.Duration
}

// badReleases are those for a node without a cluster. All are built from the same sources and signed like a good one.
func badReleases() (all []badRelease) {
	for _, bad := range variant.AloneBad() {
		b := badRelease{bad, trialTries * bootTimeout}
		if bad.Decides {
			b.lasts = aloneDeadline + bootTimeout
		}
		all = append(all, b)
	}
	return all
}

func (b badRelease) part() upgradePart { return upgradePart{b.Name, b.run} }

// TestSilentAgent takes a node without a cluster to a release whose agent does nothing at all: init ends its trials, and the boots say so.
func TestSilentAgent(t *testing.T) {
	e, ctx := requireUpgrades(t)
	s := startAlone(t, ctx, e, nil)
	u := &upgrades{suite: s, releases: e.releases(t), old: s.running(t, ctx).GetVersion()}
	badRelease{variant.SilentAgent(), trialTries * bootTimeout}.run(t, u)
}

// stage installs a release, from where flags of nodectl upgrade say, and leaves the reboot to others. What does not hold on the node meanwhile is not asked of the
// release, and so a bad one could stay: a node that was kept from its work, as by the build of the release on the same machine, is given time, and asked again.
func (s *suite) stage(t *testing.T, ctx context.Context, from ...string) {
	t.Helper()
	const chances = 3
	for i := 1; ; i++ {
		if err := s.AwaitHealthy(ctx); err != nil {
			t.Fatal(err)
		}
		s.nodectl(t, ctx, append([]string{"upgrade", "--stage"}, from...)...)
		status, err := s.upgradeStatus(ctx)
		if err != nil {
			t.Fatal(err)
		}
		waived := status.waived()
		if len(waived) == 0 {
			return
		}
		t.Logf("when the release was installed, these gates did not hold: %q", waived)
		if i == chances {
			t.Fatalf("the release is not asked for the gates %q", waived)
		}
		s.nodectl(t, ctx, "upgrade", "cancel")
	}
}

// checkCrash wants the running boot to have found the log that a kernel left when it died, with its last words.
func (s *suite) checkCrash(t *testing.T, ctx context.Context, words string) {
	t.Helper()
	var list machinev1.ListCrashesResponse
	ask(t, ctx, s, &list, "crashes")
	now := currentBoot(t, ctx, s)
	if !slices.ContainsFunc(list.GetCrashes(), func(c *machinev1.Crash) bool {
		return c.GetFoundByBootId() == now && strings.HasPrefix(c.GetSummary(), "kernel panic: "+words)
	}) {
		t.Errorf("boot %s is to have found a kernel panic, %s; the crashes are %v", now, words, list.GetCrashes())
	}
	if log := s.nodectl(t, ctx, "dmesg", "--previous"); !strings.Contains(log, "Kernel panic - not syncing: "+words) {
		t.Errorf("the kernel that died has left %d bytes of its log, and not its panic:\n%s", len(log), log)
	}
}

// run pushes the release, starts it, and keeps its hands off until the node is back by itself.
func (b badRelease) run(t *testing.T, u *upgrades) {
	ctx := testContext(t, buildTimeout+pushTimeout+shutdownDeadline+b.lasts+2*bootTimeout)
	image, err := b.Make(ctx, u.Builder)
	if err != nil {
		t.Fatal(err)
	}
	before := currentBoot(t, ctx, u.suite)
	u.stage(t, ctx, "--image", image)
	u.nodectl(t, ctx, "reboot")
	began := time.Now()
	eventually(t, ctx, "wait until the node is back", func(ctx context.Context) error {
		boots, err := listBoots(ctx, u.suite)
		if err != nil {
			return err
		}
		back := b.Explained(boots, before, u.old)
		if status, err := u.upgradeStatus(ctx); back != nil && err == nil && status.Stage == "STAGE_IDLE" && status.Last.Succeeded && status.Last.Target.Version == b.Version {
			t.Fatalf("the node stays on the release: %v", back)
		}
		return back
	})
	t.Logf("back after %.0f s", time.Since(began).Seconds())
	// Not the pod: Kubernetes takes it off a node that was not Ready for five minutes.
	if err := u.AwaitHealthy(ctx); err != nil {
		t.Fatal(err)
	}
	status, err := u.upgradeStatus(ctx)
	if last := status.Last; err != nil || status.Stage != "STAGE_IDLE" || last.Succeeded || last.Target.Version != b.Version || !b.Reason.MatchString(last.Reason) {
		t.Errorf("upgrade status: %+v, %v; want idle, and the last upgrade to %s failed for %q", status, err, b.Version, b.Reason)
	}
	if words, ok := strings.CutPrefix(b.Reason.String(), "kernel panic: "); ok {
		u.checkCrash(t, ctx, words)
	}
	entries := u.bootEntries(t, ctx)
	if len(entries) != 2 || entries[0] != "cyvive-a.conf" || !regexp.MustCompile(`^cyvive-b\+0(-\d+)?\.conf$`).MatchString(entries[1]) {
		t.Errorf("boot entries are %q, want slot a always and slot b without tries", entries)
	}
}
