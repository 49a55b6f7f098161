package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	upgradev1 "github.com/cyvive/cyvive/api/proto/upgrade/v1"
	"github.com/cyvive/cyvive/hack/qemu/vm"
	"github.com/cyvive/cyvive/hack/release/variant"
	"github.com/cyvive/cyvive/internal/machined/config"
)

const (
	// upgradeTimeout is for all parts of a test together.
	upgradeTimeout = 2 * time.Hour
	// buildTimeout is for the files of one more release, pushTimeout for what a node does with it until the reboot.
	buildTimeout = 15 * time.Minute
	pushTimeout  = 15 * time.Minute
	// trialTimeout is for a trial that ends with the deadline of ten minutes (internal/machined/upgrade), trialTries for the starts of one that does
	// not come that far. aloneDeadline is for the trials of a node without a cluster.
	trialTimeout  = 12 * time.Minute
	aloneDeadline = 2 * time.Minute
	trialTries    = 2
	// gatesTimeout is for some looks at gates, which are half a minute apart.
	gatesTimeout = 2 * time.Minute
)

// upgrades is what the parts of a test share.
type upgrades struct {
	*suite
	*releases
	// old is the version of the image, which the node runs between the parts.
	old string
	// good is the folder of the release that is, and file the release.
	good, file string
}

// clusterGates are gates of all kinds that a cluster has: of the demonstration pod behind a service, of cluster DNS, and of the node.
func clusterGates() []config.Gate {
	return []config.Gate{
		{Name: "demo", Kind: config.GateService, Target: "default/demo:80/"}, {Name: "dns", Kind: config.GateDeployment, Target: "kube-system/coredns"},
		{Name: "ready", Kind: config.GateCondition, Target: "Ready"},
	}
}

// demoService leads to the demonstration pod.
const demoService = `
apiVersion: v1
kind: Service
metadata: {name: demo, namespace: default}
spec:
  selector: {app: demo}
  ports: [{port: 80, targetPort: http}]
`

// TestUpgrade takes a node with a cluster to a release and back, and to one that passes neither the last gate of the node nor those of its configuration: the
// node of the cluster is never Ready. It takes the better part of an hour on emulated processors, and so it
// runs with LONG=1 only.
func TestUpgrade(t *testing.T) {
	e, ctx := requireUpgrades(t)
	c := create(t, ctx, e.options(t))
	s := &suite{Cluster: c, env: e, node: c.Nodes()[0]}
	if err := c.Reconfigure(s.node, func(cfg *config.Config) { cfg.Machine.Upgrade.Gates = clusterGates() }); err != nil {
		t.Fatal(err)
	}
	bringUp(t, ctx, s)
	if err := s.Tools().Apply(ctx, []byte(demoService)); err != nil {
		t.Fatal(err)
	}
	bad := variant.NeverReady()
	// It is asked for the gates of the configuration, too, of which this one is the last.
	bad.Reason = regexp.MustCompile(`(?s)not well .*node: .*gate ready: `)
	testUpgrades(t, ctx, s, []upgradePart{{"good", testGoodUpgrade}, {"rollback", testRollback}, badRelease{bad, trialTimeout}.part()})
}

// TestBadReleases pushes to a node without a cluster what it refuses, and what it takes and cannot stay on.
func TestBadReleases(t *testing.T) {
	e, ctx := requireUpgrades(t)
	s := startAlone(t, ctx, e, func(cfg *config.Config) { cfg.Machine.Upgrade.Deadline = aloneDeadline })
	parts := []upgradePart{{"refused", testRefused}}
	for _, bad := range badReleases() {
		parts = append(parts, bad.part())
	}
	testUpgrades(t, ctx, s, parts)
}

func requireUpgrades(t *testing.T) (env, context.Context) {
	t.Helper()
	e := requireImage(t)
	longOnly(t, "builds six releases, and takes an hour")
	return e, testContext(t, upgradeTimeout)
}

// long says whether the long forms of tests are asked for, with LONG=1.
func long() bool { return os.Getenv("LONG") == "1" }

// besideOthers lets a test, or a part of one, run beside another: its machines are small (smallOptions), wait much, and are measured by nothing. There are two at
// a time at most (-parallel, in the Makefile), as deadlines are for a machine whose processor is hardly shared; and one, where there is one processor. The long
// forms, which build releases, run one after the other.
func besideOthers(t *testing.T) {
	t.Helper()
	if !long() && runtime.GOMAXPROCS(0) > 1 {
		t.Parallel()
	}
}

// longOnly skips a test, or a part of one, that takes long for the reason given, unless the long forms are asked for.
func longOnly(t *testing.T, reason string) {
	t.Helper()
	if !long() {
		t.Skipf("%s: make soak runs it, and so does LONG=1 make vm-test RUN='^%s$'", reason, strings.Split(t.Name(), "/")[0])
	}
}

// upgradePart leaves the node on the version that it began with, or on the good one where the next part begins with that.
type upgradePart struct {
	name string
	run  func(*testing.T, *upgrades)
}

func testUpgrades(t *testing.T, ctx context.Context, s *suite, parts []upgradePart) {
	u := &upgrades{suite: s, releases: s.env.releases(t), old: s.running(t, ctx).GetVersion()}
	u.good = u.build(t, ctx, "good", variant.GoodVersion)
	u.file = u.sign(t, u.good, "good")
	for _, part := range parts {
		if !t.Run(part.name, func(t *testing.T) { part.run(t, u) }) {
			if _, err := s.Machine(s.node); err != nil {
				t.Fatalf("the parts behind %s are left out: %v", part.name, err)
			}
		}
	}
}

// running asks the node for the version that it runs.
func (s *suite) running(t *testing.T, ctx context.Context) *machinev1.GetVersionResponse {
	t.Helper()
	var version machinev1.GetVersionResponse
	ask(t, ctx, s, &version, "version")
	return &version
}

// awaitVersion waits until another boot than before runs a version in a slot.
func (s *suite) awaitVersion(t *testing.T, ctx context.Context, before, version string, slot machinev1.Slot) {
	t.Helper()
	eventually(t, ctx, "wait for version "+version, func(ctx context.Context) error {
		boots, err := listBoots(ctx, s)
		if err != nil {
			return err
		}
		if now := boots[0]; now.GetBootId() == before || now.GetVersion() != version || now.GetSlot() != slot {
			return fmt.Errorf("boot %s runs version %s in %s", now.GetBootId(), now.GetVersion(), now.GetSlot())
		}
		return nil
	})
}

// upgradeStatus is what of nodectl upgrade status is looked at (api/proto/upgrade/v1, StatusResponse).
type upgradeStatus struct {
	Stage string
	Last  struct {
		Succeeded bool
		Reason    string
		Target    struct{ Version string }
	}
	Gates []struct {
		Name, Reason  string
		Holds, Waived bool
	}
}

// waived are the gates that the release which was installed is not asked for.
func (s upgradeStatus) waived() (names []string) {
	for _, g := range s.Gates {
		if g.Waived {
			names = append(names, g.Name)
		}
	}
	return names
}

// checkGates wants gates of the configuration to hold, of which each look may fail on a machine that is busy. That a release was asked for them is known of one that was
// staged (stage).
func (s *suite) checkGates(t *testing.T, ctx context.Context, want []config.Gate) {
	t.Helper()
	limited, cancel := context.WithTimeoutCause(ctx, gatesTimeout, fmt.Errorf("not in %s", gatesTimeout))
	defer cancel()
	eventually(t, limited, "the gates of the configuration hold", func(ctx context.Context) error {
		status, err := s.upgradeStatus(ctx)
		if err != nil {
			return err
		}
		for _, gate := range want {
			held := false
			for _, g := range status.Gates {
				held = held || g.Name == "gate "+gate.Name && g.Holds
			}
			if !held {
				return fmt.Errorf("gate %s of the kind %s does not hold: the gates are %+v", gate.Name, gate.Kind, status.Gates)
			}
		}
		return nil
	})
}

func (s *suite) upgradeStatus(ctx context.Context) (status upgradeStatus, err error) {
	out, err := s.Tools().Nodectl(ctx, "upgrade", "status", "--output", "json")
	if err != nil {
		return status, err
	}
	return status, json.Unmarshal([]byte(out), &status)
}

// awaitBlessed waits until the node has taken what it runs for good, and checks the boot loader's entries from outside.
func (s *suite) awaitBlessed(t *testing.T, ctx context.Context, version string) {
	t.Helper()
	eventually(t, ctx, "wait for the end of the trial", func(ctx context.Context) error {
		status, err := s.upgradeStatus(ctx)
		if err != nil {
			return err
		}
		if last := status.Last; status.Stage != "STAGE_IDLE" || !last.Succeeded || last.Target.Version != version {
			return fmt.Errorf("stage %s; the last upgrade: %+v", status.Stage, last)
		}
		return nil
	})
	if d := cmp.Diff([]string{"cyvive-a.conf", "cyvive-b.conf"}, s.bootEntries(t, ctx)); d != "" {
		t.Errorf("boot entries (-want +got):\n%s", d)
	}
}

// testGoodUpgrade: pushed, started, found good, and the pod that ran before runs again. An agent that is started again in the same boot, for which the boot
// loader still says that it has counted it, leaves it alone.
func testGoodUpgrade(t *testing.T, u *upgrades) {
	ctx := testContext(t, pushTimeout+2*bootTimeout)
	before := currentBoot(t, ctx, u.suite)
	console := machine(t, u.Cluster, u.node).Console()
	began := time.Now()
	// It may look on until the end of the trial.
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	ended := make(chan error, 1)
	go func() {
		_, err := u.Tools().Nodectl(ctx, "upgrade", "--image", u.file)
		if err != nil {
			stop(err)
		}
		ended <- err
	}()
	if _, err := console.WaitLine(ctx, regexp.MustCompile(`reboot: Restarting system`)); err != nil {
		t.Fatal(err)
	}
	restarted := time.Now()
	awaitTrial(t, ctx, console, "b")
	u.awaitVersion(t, ctx, before, variant.GoodVersion, machinev1.Slot_SLOT_B)
	answered := time.Now()
	u.recover(t, ctx)
	u.awaitBlessed(t, ctx, variant.GoodVersion)
	t.Logf("from the call to the restart %.0f s, to the API %.0f s more, from the restart to the end of the trial %.0f s",
		restarted.Sub(began).Seconds(), answered.Sub(restarted).Seconds(), time.Since(restarted).Seconds())
	if err := <-ended; err != nil {
		t.Errorf("nodectl upgrade: %v", err)
	}
	u.checkGates(t, ctx, clusterGates())
	boots, err := listBoots(ctx, u.suite)
	if err != nil {
		t.Fatal(err)
	}
	checkEnd(t, boots, before, machinev1.BootEnd_BOOT_END_CLEAN)
	if got := boots[1].GetVersion(); got != u.old {
		t.Errorf("the boot before ran version %s, want %s", got, u.old)
	}
	u.restartAgent(t, ctx)
	if now := currentBoot(t, ctx, u.suite); now != boots[0].GetBootId() {
		t.Errorf("after a restart of the agent boot %s runs, want %s still", now, boots[0].GetBootId())
	}
}

// awaitTrial waits until init says that the boot loader has counted the start of a slot's entry. Without that it would not end a trial whose agent is silent.
func awaitTrial(t *testing.T, ctx context.Context, console *vm.Console, slot string) {
	t.Helper()
	limited, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	if _, err := console.WaitLine(limited, regexp.MustCompile(`this boot is the trial of a release slot=`+slot)); err != nil {
		t.Error(err)
	}
}

// testRollback takes the node back to where it came from. That is a trial like any other.
func testRollback(t *testing.T, u *upgrades) {
	ctx := testContext(t, shutdownDeadline+2*bootTimeout)
	before := currentBoot(t, ctx, u.suite)
	u.nodectl(t, ctx, "rollback")
	u.awaitVersion(t, ctx, before, u.old, machinev1.Slot_SLOT_A)
	u.recover(t, ctx)
	u.awaitBlessed(t, ctx, u.old)
}

// TestWaived: what is looked at is where the API has it.
func TestWaived(t *testing.T) {
	data, err := protojson.Marshal(&upgradev1.StatusResponse{Gates: []*upgradev1.Gate{{Name: "api", Holds: true}, {Name: "node", Waived: true}}})
	if err != nil {
		t.Fatal(err)
	}
	var status upgradeStatus
	if err := json.Unmarshal(data, &status); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"node"}, status.waived()); d != "" {
		t.Errorf("waived (-want +got):\n%s", d)
	}
}
