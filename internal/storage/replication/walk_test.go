package replication_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

// walk does things at random to a pair, with crashes, cuts and mistakes of people, and ends with runs that have to bring both sides together.
type walk struct {
	*pair
	r *rand.Rand
	// made counts names, so that none is used twice.
	made    int
	crashes int
	log     []string
}

// seed is the one to use: SEED, or another each time.
func seed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("SEED")
	if text == "" {
		return uint64(time.Now().UnixNano())
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("SEED=%s: want a number", text)
	}
	return n
}

func runWalk(t *testing.T, make systems, seed uint64, operations int) {
	t.Logf("SEED=%d", seed)
	w := &walk{pair: newPair(t, make), r: rand.New(rand.NewPCG(seed, 0))}
	w.bytes = w.bytes * 4 / 10
	levels := []replication.Guarantee{replication.Resumable, replication.Resumable, replication.Incremental}
	w.job.InitialGuarantee, w.job.Guarantee = levels[w.r.IntN(3)], levels[w.r.IntN(3)]
	w.job.Steps = 1 + w.r.IntN(2)
	w.create("x", "x/y", "z")
	w.snapshot("0")
	w.settle()
	for i := range operations {
		w.log = append(w.log, fmt.Sprintf("%d: %s", i, w.operation()))
		if t.Failed() {
			break
		}
	}
	w.snapshotAll()
	w.settle()
	w.same()
	w.noneLeft()
	all := strings.Join(w.log, "\n")
	switches, mistakes := strings.Count(all, "switch over, in"), strings.Count(all, "write by hand")
	t.Logf("%d operations, %d crashes, %d switch-overs, %d replicas written to", operations, w.crashes, switches, mistakes)
	// A walk has some 25 crashes, and some ten of the others; one with a few would be broken, and not unlucky.
	if operations >= 500 && (w.crashes < 5 || switches == 0 || mistakes == 0) {
		t.Error("the walk did not go where it is hard")
	}
	if t.Failed() {
		t.Logf("operations:\n%s\n%s", strings.Join(w.log, "\n"), w.states())
	}
}

// TestWalk walks less far with -short, which is for the race detector.
func TestWalk(t *testing.T) {
	operations := 500
	if testing.Short() {
		operations = 100
	}
	runWalk(t, models, seed(t), operations)
}

// TestWalks is the same with a row of seeds that stay.
func TestWalks(t *testing.T) {
	seeds := uint64(6)
	if testing.Short() {
		seeds = 2
	}
	for s := range seeds {
		t.Run(fmt.Sprint(s), func(t *testing.T) { runWalk(t, models, s, 100) })
	}
}

// operation does one thing and says what.
func (w *walk) operation() string {
	f := w.pick(w.a, w.src)
	switch n := w.r.IntN(100); {
	case n < 25:
		return fmt.Sprintf("write %s: %v", f.Name, w.tolerate(w.tryWrite(w.a, f.Name), zfs.ErrReadOnly))
	case n < 37:
		return "snapshot " + w.snapshotAll()
	case n < 43:
		return fmt.Sprintf("snapshot %s: %v", f.Name, w.a.Snapshot(w.ctx(), []string{f.Name + "@" + w.name("s")}, nil))
	case n < 47:
		return fmt.Sprintf("create below %s: %v", f.Name, w.a.Create(w.ctx(), f.Name+"/"+w.name("f"), zfs.CreateOptions{}))
	case n < 55:
		return w.prune(w.a, f)
	case n < 60:
		return w.prune(w.b, w.pick(w.b, w.dst))
	case n < 63:
		return w.rename(f)
	case n < 66:
		return w.removeLeaf(f)
	case n < 69:
		return w.mistake()
	case n < 72:
		if m, ok := w.a.System.(*zfstest.Model); ok {
			m.Advance(time.Duration(w.r.IntN(2000)-1000) * time.Minute)
		}
		return "the clock jumps"
	case n < 74:
		return w.switchOver()
	case n < 80:
		w.settle()
		return "settle"
	}
	return w.faultyRun()
}

// tolerate fails on errors that an operation must not have.
func (w *walk) tolerate(err error, classes ...error) error {
	w.t.Helper()
	for _, c := range classes {
		if errors.Is(err, c) {
			return err
		}
	}
	w.must(err)
	return err
}

func (w *walk) name(kind string) string {
	w.made++
	return fmt.Sprintf("%s%d", kind, w.made)
}

func (w *walk) pick(s side, root string) replication.FileSystem {
	all := w.listing(s, root).FileSystems
	return all[w.r.IntN(len(all))]
}

func (w *walk) snapshotAll() string {
	name := w.name("s")
	w.snapshot(name)
	return name
}

// prune destroys a snapshot, as retention does that knows nothing of replication; a hold may keep it.
func (w *walk) prune(s side, f replication.FileSystem) string {
	snapshots := f.Snapshots()
	if len(snapshots) == 0 {
		return "prune nothing"
	}
	v := snapshots[w.r.IntN(len(snapshots))]
	err := w.tolerate(s.DestroySnapshots(w.ctx(), []string{f.Whole(v)}), zfs.ErrHeld, zfs.ErrHasDependents)
	return fmt.Sprintf("prune %s: %v", f.Whole(v), err)
}

// rename renames a snapshot, or now and then a file system.
func (w *walk) rename(f replication.FileSystem) string {
	snapshots := f.Snapshots()
	from, to := "", ""
	switch {
	case w.r.IntN(3) > 0 && len(snapshots) > 0:
		from, to = f.Whole(snapshots[w.r.IntN(len(snapshots))]), f.Name+"@"+w.name("s")
	case f.Name != w.src:
		from, to = f.Name, f.Name[:strings.LastIndexByte(f.Name, '/')+1]+w.name("f")
	default:
		return "rename nothing"
	}
	return fmt.Sprintf("rename %s to %s: %v", from, to, w.a.Rename(w.ctx(), from, to))
}

// removeLeaf destroys a file system without children, with its snapshots. Holds keep them, and then it stays.
func (w *walk) removeLeaf(f replication.FileSystem) string {
	for _, o := range w.listing(w.a, w.src).FileSystems {
		if f.Name == w.src || strings.HasPrefix(o.Name, f.Name+"/") {
			return "remove nothing"
		}
	}
	var names []string
	for _, v := range f.Snapshots() {
		names = append(names, f.Whole(v))
	}
	err := w.a.DestroySnapshots(w.ctx(), names)
	if err == nil {
		err = w.a.Destroy(w.ctx(), f.Name)
	}
	return fmt.Sprintf("remove %s: %v", f.Name, err)
}

// mistake writes to a replica.
func (w *walk) mistake() string {
	f := w.pick(w.b, w.dst)
	if f.Replica == "" || f.Kind != zfs.Filesystem || len(f.Snapshots()) == 0 {
		return "no mistake"
	}
	w.must(w.b.Set(w.ctx(), f.Name, map[string]string{"readonly": "off"}))
	w.writeOn(w.b, f.Name)
	w.must(w.b.Set(w.ctx(), f.Name, map[string]string{"readonly": "on"}))
	if w.r.IntN(2) == 0 {
		w.must(w.b.Snapshot(w.ctx(), []string{f.Name + "@" + w.name("own")}, nil))
	}
	return "write by hand to " + f.Name
}

// faultyRun is a run in which something goes wrong, at one of its calls.
func (w *walk) faultyRun() string {
	s, which := w.a, "sender"
	if w.r.IntN(2) == 0 {
		s, which = w.b, "receiver"
	}
	f := zfstest.Fault{Skip: w.r.IntN(20), After: w.r.IntN(2) == 0, Crash: true}
	switch w.r.IntN(4) {
	case 0:
		f.Method, f.Skip, f.CutAt = "Send", w.r.IntN(3), int64(1+w.r.IntN(4*w.bytes))
	case 1:
		f.Method, f.Skip, f.CutAt = "Receive", w.r.IntN(3), int64(1+w.r.IntN(4*w.bytes))
	case 2:
		f.Crash, f.Err = false, errBroken
	}
	for range 2 { // something to do
		_ = w.tryWrite(w.a, w.pick(w.a, w.src).Name)
		w.snapshotAll()
	}
	what := fmt.Sprintf("run with %+v at the %s", f, which)
	if snapshots := w.pick(w.a, w.src); w.r.IntN(3) == 0 && len(snapshots.Snapshots()) > 0 {
		victim := snapshots.Whole(snapshots.Snapshots()[w.r.IntN(len(snapshots.Snapshots()))])
		what += ", in which somebody destroys " + victim
		w.a.faulty.Order(zfstest.Fault{Skip: w.r.IntN(8), Do: func() { _ = w.a.DestroySnapshots(w.ctx(), []string{victim}) }})
	}
	s.faulty.Order(f)
	_, err := w.run()
	w.a.faulty.Restart()
	w.b.faulty.Restart()
	if errors.Is(err, zfstest.ErrCrashed) {
		w.crashes++
	}
	return fmt.Sprintf("%s: %v", what, firstLine(err))
}

func firstLine(err error) string {
	text, _, _ := strings.Cut(fmt.Sprint(err), "\n")
	return text
}

// settle runs until nothing is left to do, and decides what a person would: keep the sender's, and lose nothing that has a name.
func (w *walk) settle() {
	w.t.Helper()
	var err error
	var decisions []replication.Decision
	for range 12 {
		var report replication.Report
		if report, err = w.run(decisions...); err == nil {
			w.noneLeft()
			return
		}
		decisions = nil
		for _, c := range report.Plan.Conflicts {
			decisions = append(decisions, w.decide(c.Options)...)
		}
	}
	w.t.Fatalf("runs do not come to an end: %v\noperations:\n%s\n%s", err, strings.Join(w.log, "\n"), w.states())
}

// decide takes the first option: it is the one that keeps most.
func (w *walk) decide(options []replication.Decision) []replication.Decision {
	if len(options) == 0 {
		return nil
	}
	return options[:1]
}

// switchOver makes the replica the primary, in peace or in the middle of everything, and replicates back.
func (w *walk) switchOver() string {
	peace := w.r.IntN(2) == 0
	if peace {
		w.snapshotAll()
		w.settle()
	}
	if w.listing(w.b, w.dst).Find(w.dst) == nil {
		return "no replica to switch over to"
	}
	var decisions []replication.Decision
	for range 30 {
		_, err := (replication.Promotion{Job: w.job, Receiver: w.b.local}).Run(w.ctx(), decisions...)
		if err == nil {
			break
		}
		var c *replication.Conflict
		if !errors.As(err, &c) {
			w.t.Fatalf("promote: %v\n%s", err, w.states())
		}
		decisions = append(decisions, c.Options[0])
	}
	old := w.pair
	w.pair = old.reversed()
	w.bytes = old.bytes
	w.job.InitialGuarantee, w.job.Guarantee, w.job.Steps = old.job.InitialGuarantee, old.job.Guarantee, old.job.Steps
	w.snapshotAll()
	w.settle()
	old.forget()
	return fmt.Sprintf("switch over, in peace: %t", peace)
}
