package e2e

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	"github.com/cyvive/cyvive/hack/qemu/powercut"
	"github.com/cyvive/cyvive/hack/release/variant"
)

// restarting is said at the end of a boot, firmware by the next one's firmware when it has found what to start.
const (
	restarting = `reboot: Restarting system`
	firmware   = `BdsDxe: starting`
)

// upgradeCourse is what a node says of an upgrade until it restarts, trialCourse what it says after that.
func upgradeCourse() course {
	return newCourse("the release is pushed", "", "the slot is written", `upgrade.*do=forget`, "the node goes down", `shutting down`)
}

func trialCourse() course {
	return newCourse("the firmware begins", restarting, "the boot loader counts", firmware, "the kernel begins", `Linux version`, "the agent begins", `machined started`,
		"the gates settle", `milestone=storage`, blessing, `upgrade.*do=bless`)
}

// blessing is the last stretch of a trial. A release is blessed once: a boot after that says nothing of it.
const blessing = "it is blessed"

// secondTrial is the course of a boot after one that was cut, which may have blessed the release: what every boot says.
func secondTrial(trial course) course { return trial.before(blessing) }

// upgradeCuts are the parts that upgrades are cut with.
type upgradeCuts struct {
	*cutNode
	file string
	// before is a node on the old version that is off; armed is the same with the new one in its other slot.
	before, armed *powercut.Image
	// shut is the last boot of before, and shutArmed that of armed.
	shut, shutArmed string
	// written and trial are the courses as measured.
	written, trial course
}

// prepareUpgrades builds a release, and takes a node to it once without a cut. What it makes is kept for the next phase.
func prepareUpgrades(t *testing.T, n *cutNode) *upgradeCuts {
	t.Helper()
	if n.upgrades != nil {
		return n.upgrades
	}
	ctx := testContext(t, buildTimeout+2*cutLimit)
	u := &upgradeCuts{cutNode: n, file: n.buildLight(t, ctx)}
	u.on(t, ctx)
	if got := u.running(t, ctx).GetVersion(); got == variant.GoodVersion {
		t.Fatalf("the node runs version %s before it is taken there", got)
	}
	u.document = u.stripped(t, ctx)
	u.before, u.shut = u.freeze(t, ctx)

	u.startFrom(t, ctx, u.before, u.shut)
	all := append(upgradeCourse(), trialCourse()...)
	all = u.rehearse(t, ctx, all, machine(t, n.Cluster, n.node).Console(), func() error { return u.upgrade(ctx) })
	at := len(all) - len(all.from("the firmware begins"))
	if at == 0 {
		t.Fatalf("the console did not say %q: %s", restarting, all)
	}
	u.written, u.trial = all[:at], all[at:]
	u.isOn(t, ctx, true)

	u.startFrom(t, ctx, u.before, u.shut)
	u.nodectl(t, ctx, "upgrade", "--image", u.file, "--stage")
	u.armed, u.shutArmed = u.freeze(t, ctx)
	n.upgrades = u
	return u
}

// buildLight makes the release, and lets the node run it.
func (n *cutNode) buildLight(t *testing.T, ctx context.Context) string {
	t.Helper()
	dir := filepath.Join(n.NodeDir(n.node), "releases")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	b, err := variant.New(n.env.root, n.env.arch, dir)
	if err != nil {
		t.Fatal(err)
	}
	path, m, err := b.Make(ctx, "light", variant.GoodVersion, variant.Light()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("release: version %s, root %s, %d MB", m.Version, m.RootHash, m.PartsBytes()>>20)
	n.versions[m.RootHash] = m.Version
	return path
}

// upgrade pushes the release and waits until it has proven itself.
func (u *upgradeCuts) upgrade(ctx context.Context) error {
	_, err := u.Tools().Nodectl(ctx, "upgrade", "--image", u.file)
	return err
}

// freeze shuts the node down in order and keeps its disk, and names its last boot.
func (u *upgradeCuts) freeze(t *testing.T, ctx context.Context) (*powercut.Image, string) {
	t.Helper()
	boot := currentBoot(t, ctx, u.suite)
	u.shutDown(t, ctx)
	d := u.system.Disk()
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
	image, err := d.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	u.frozen = append(u.frozen, image)
	return image, boot
}

// insert puts a copy of a disk into the machine, whose last boot is known.
func (u *upgradeCuts) insert(t *testing.T, ctx context.Context, image *powercut.Image, shut string) {
	t.Helper()
	u.pull(t, ctx)
	u.use(t, u.system, u.newDisk(t, image, u.diskBytes))
	u.known = shut
}

// startFrom starts the machine from a copy of a disk.
func (u *upgradeCuts) startFrom(t *testing.T, ctx context.Context, image *powercut.Image, shut string) {
	t.Helper()
	u.insert(t, ctx, image, shut)
	u.back(t, ctx, off)
}

// isOn wants the node on the new version or the old one, and what upgrade status says to agree.
func (u *upgradeCuts) isOn(t *testing.T, ctx context.Context, fresh bool) {
	t.Helper()
	status, err := u.upgradeStatus(ctx)
	if err != nil {
		t.Fatal(err)
	}
	version, last := u.running(t, ctx), status.Last
	on := version.GetVersion() == variant.GoodVersion
	if on != fresh || status.Stage != "STAGE_IDLE" {
		t.Errorf("after cut %d the node runs version %s in stage %s; last upgrade: %+v", u.cuts, version.GetVersion(), status.Stage, last)
	}
	if last.Target.Version != "" && last.Succeeded != on || !last.Succeeded && last.Target.Version != "" && last.Reason == "" {
		t.Errorf("after cut %d the node runs version %s, and says of the last upgrade: %+v", u.cuts, version.GetVersion(), last)
	}
}

// isNew tells whether a version is the one of the release.
func isNew(v *machinev1.GetVersionResponse) bool { return v.GetVersion() == variant.GoodVersion }

// finish takes the node to the new version, from wherever the cuts have left it.
func (u *upgradeCuts) finish(t *testing.T, ctx context.Context) {
	t.Helper()
	if err := u.upgrade(ctx); err != nil {
		t.Fatalf("after cut %d: %v", u.cuts, err)
	}
	u.isOn(t, ctx, true)
	u.known = currentBoot(t, ctx, u.suite)
}

// tries is how many cuts an upgrade gets before it is finished.
const tries = 4

// cutUpgrades: the push, the writing of the slot, and the way to the restart. The node is on the old version, or goes on to the new one by itself.
func cutUpgrades(t *testing.T, n *cutNode, count int) {
	u := prepareUpgrades(t, n)
	for count > 0 {
		u.startFrom(t, testContext(t, cutLimit), u.before, u.shut)
		fresh := false
		for range min(tries, count) {
			ctx := testContext(t, cutLimit)
			ended := u.until(t, ctx, u.written.draw(u.random), u.upgrade)
			count--
			fresh = isNew(u.back(t, ctx, pulledGoingDown))
			u.isOn(t, ctx, fresh)
			if ended == nil && !fresh {
				t.Errorf("after cut %d the node is on the old version, and had said that the new one stays", u.cuts)
			}
			if fresh {
				break
			}
		}
		if !fresh {
			u.finish(t, testContext(t, cutLimit))
		}
	}
}

// cutTrials: the first boot of a new version, from the firmware to its blessing. One cut is no fault of its own, so it is started again, and stays. After a
// second one the node may be on the old version, says why, and can be taken to the new one.
func cutTrials(t *testing.T, n *cutNode, count int) {
	u := prepareUpgrades(t, n)
	const once = 4 // of so many trials, one is cut twice
	for count > 0 {
		ctx := testContext(t, 2*cutLimit)
		u.insert(t, ctx, u.armed, u.shutArmed)
		twice := count > 1 && u.random.IntN(once) == 0
		for cuts := 0; cuts == 0 || cuts == 1 && twice; cuts++ {
			trial := u.trial
			if cuts > 0 {
				trial = secondTrial(trial)
			}
			m := trial.draw(u.random)
			console := u.powerOn(t, ctx)
			if err := m.reach(ctx, console, nil); err != nil {
				t.Fatal(err)
			}
			u.cut(t, ctx, m.String())
			count--
		}
		fresh := isNew(u.back(t, ctx, off))
		u.isOn(t, ctx, fresh)
		switch {
		case fresh:
		case twice:
			u.finish(t, ctx)
		default:
			t.Errorf("after cut %d, the only one of its trial, the node is on the old version", u.cuts)
		}
	}
}

// TestSecondTrial: a second cut of a trial does not wait for what a release that was blessed before the first one does not say again.
func TestSecondTrial(t *testing.T) {
	console, say := talker(t)
	for _, line := range []string{"BdsDxe: starting Boot0001", "Linux version 6.12", "machined: msg=\"machined started\"", "machined: milestone=storage"} {
		say(line)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Second, errors.New("gave up"))
	defer cancel()
	second := secondTrial(trialCourse())
	if len(second) != len(trialCourse())-1 {
		t.Fatalf("the course is %s", second)
	}
	for i := range second {
		if err := (moment{second, i, 0}).reach(ctx, console, nil); err != nil {
			t.Fatalf("%s: %v", second[i].name, err)
		}
	}
}
