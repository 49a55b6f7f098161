package e2e

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/cyvive/cyvive/hack/qemu/cluster"
)

// installSteps are those of an installation (internal/machined/install, state.go), in order.
var installSteps = []string{"begun", "clear", "root", "verity", "esp", "state", "table", "complete"}

// installCourse is what a node says while it installs. The first step is not said.
func installCourse() course {
	words := []string{"begun", ""}
	for _, step := range installSteps[1:] {
		words = append(words, step, `installing.*step=`+step)
	}
	return newCourse(words...)
}

// installStep finds the steps that a console tells of.
var installStep = regexp.MustCompile(`installing.*step=([a-z]+)`)

// cutInstallations: each cut leaves the disk with what was done, and the next request goes on behind it, until it is complete. Then the disk starts by
// itself, with the configuration of the node; and another one is begun.
func cutInstallations(t *testing.T, n *cutNode, count int) {
	ctx := testContext(t, cutLimit)
	n.on(t, ctx)
	c := installCourse()
	if n.thorough {
		c = n.rehearse(t, ctx, c, machine(t, n.Cluster, n.node).Console(), func() error { return n.install(ctx) })
		n.checkInstalled(t, ctx)
	}
	behind := ""
	for range count {
		ctx := testContext(t, cutLimit)
		if behind == "complete" {
			n.checkInstalled(t, ctx)
			behind = ""
		}
		behind = n.cutOneInstallation(t, ctx, c, behind)
	}
	if behind != "complete" {
		ctx := testContext(t, cutLimit)
		if err := n.install(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if p := n.planInstall(t, testContext(t, cutLimit), spareDisk()...).Plan; p.GoesOnBehind != "complete" || len(p.Steps) > 0 {
		t.Errorf("at the end the plan is %+v", p)
	}
	if n.thorough {
		n.checkInstalled(t, testContext(t, cutLimit))
	}
}

func spareDisk() []string { return []string{"--disk-serial", cluster.SpareSerial} }

func (n *cutNode) install(ctx context.Context) error {
	_, err := n.Tools().Nodectl(ctx, append([]string{"install"}, spareDisk()...)...)
	return err
}

// cutOneInstallation goes on with an installation, cuts it, and returns behind which step it is then.
func (n *cutNode) cutOneInstallation(t *testing.T, ctx context.Context, c course, behind string) string {
	t.Helper()
	said := n.consoleBytes(t)
	next := "begun"
	if i := slices.Index(installSteps, behind); i >= 0 {
		next = installSteps[i+1]
	}
	m := c.from(next).draw(n.random)
	if at := len(c) - len(c.from("verity")); n.thorough && !n.triedHalf && next == "begun" && at > 0 {
		m = c.drawIn(at, n.random) // where startsNothing has something to try; by chance alone it may never have
	}
	ended := n.until(t, ctx, m, n.install)
	step := lastStep(n.consoleFrom(t, said))
	if ended != nil {
		n.startsNothing(t, ctx, behind, step)
	}
	n.back(t, ctx, pulled)
	p := n.planInstall(t, ctx, spareDisk()...).Plan
	if len(p.Destroys) > 0 || (p.GoesOnBehind == "complete") != (len(p.Steps) == 0) {
		t.Errorf("after cut %d the plan is %+v", n.cuts, p)
	}
	may := mayBeBehind(behind, step)
	if ended == nil {
		may = []string{"complete"}
	}
	if !slices.Contains(may, p.GoesOnBehind) {
		t.Errorf("after cut %d the installation goes on behind %q, want one of %q: it was behind %q and at step %q; the call ended with %v",
			n.cuts, p.GoesOnBehind, may, behind, step, ended)
	}
	return p.GoesOnBehind
}

// startsNothing tries, once in a test, that firmware starts nothing from a disk on which the installation was cut. Before the root is written there is nothing that
// could start; from the step before the partition table on, the disk may start, or the console may not have told yet.
func (n *cutNode) startsNothing(t *testing.T, ctx context.Context, behind, step string) {
	t.Helper()
	may := mayBeBehind(behind, step)
	least, most := slices.Index(installSteps, may[0]), slices.Index(installSteps, may[len(may)-1])
	if n.triedHalf || least < slices.Index(installSteps, "root") || most >= slices.Index(installSteps, "state") {
		return
	}
	n.triedHalf, n.onSpare = true, true
	console := n.powerOn(t, ctx)
	limited, cancel := context.WithTimeout(ctx, refusalTimeout)
	defer cancel()
	line, err := console.WaitLine(limited, regexp.MustCompile(givenUp+"|"+kernelLine))
	if err != nil || regexp.MustCompile(kernelLine).MatchString(line) {
		t.Errorf("after cut %d, at step %q, the disk was to start nothing: the console says %q, %v", n.cuts, step, line, err)
	} else {
		t.Logf("from the disk of cut %d nothing starts: %s", n.cuts, line)
	}
	n.pull(t, ctx)
	n.onSpare = false
}

// kernelLine is the first that a kernel says.
const kernelLine = `Linux version `

// mayBeBehind are the steps behind which an installation may be that was cut: it was behind one, and the console has told last of another. A step is told of
// when the one before is on the disk. The agent's words come to the console by way of init, and some steps are over in a moment, so that it may have begun one
// more of which the console did not get to tell, and have done that.
func mayBeBehind(behind, step string) []string {
	first := slices.Index(installSteps, step) - 1
	if first < 0 {
		first = slices.Index(installSteps, behind)
	}
	if first < 0 {
		return []string{"", "begun"}
	}
	last := first + 1 // the one that was told of, or was to come
	if step != "" {
		last++
	}
	return installSteps[first:min(last+1, len(installSteps))]
}

func lastStep(console []byte) string {
	found := installStep.FindAllSubmatch(console, -1)
	if len(found) == 0 {
		return ""
	}
	return string(found[len(found)-1][1])
}

// consoleBytes is how much the console has said, consoleFrom what it has said since.
func (n *cutNode) consoleBytes(t *testing.T) int { return len(n.consoleFrom(t, 0)) }

func (n *cutNode) consoleFrom(t *testing.T, at int) []byte {
	t.Helper()
	text, err := os.ReadFile(n.ConsolePath(n.node))
	if err != nil {
		t.Fatal(err)
	}
	return text[min(at, len(text)):]
}

// checkInstalled has the machine run from the spare disk alone, which was installed, then takes it away and goes back to the system disk.
func (n *cutNode) checkInstalled(t *testing.T, ctx context.Context) {
	t.Helper()
	before := n.known
	n.pull(t, ctx)
	n.onSpare, n.known = true, ""
	n.back(t, ctx, off)
	if boots, err := listBoots(ctx, n.suite); err != nil || len(boots) != 1 {
		t.Errorf("the installed node has %d boots in its ledger, want its first one; %v", len(boots), err)
	}
	n.pull(t, ctx)
	n.use(t, n.spare, n.newDisk(t, nil, spareBytes))
	n.onSpare, n.known = false, before
	n.back(t, ctx, pulled)
}

func TestMayBeBehind(t *testing.T) {
	for _, c := range []struct{ behind, step, want string }{
		{"", "", "[ begun]"}, {"", "clear", "[begun clear root]"}, {"root", "", "[root verity]"}, {"root", "verity", "[root verity esp]"},
		{"clear", "complete", "[table complete]"}, {"table", "", "[table complete]"},
	} {
		if got := fmt.Sprint(mayBeBehind(c.behind, c.step)); got != c.want {
			t.Errorf("behind %q, at %q: %s, want %s", c.behind, c.step, got, c.want)
		}
	}
	if got := lastStep([]byte(`msg=installing disk=vdb step=root what=x` + "\n" + `msg=installing disk=vdb step=verity what=y` + "\nwords")); got != "verity" {
		t.Errorf("last step %q", got)
	}
}
