package replication_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/replication/endpoint"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

const jobID, reverseID = "11111111-2222-4333-8444-555555555555", "66666666-7777-4888-9999-aaaaaaaaaaaa"

// sums compares contents by what the test's own way of writing them knows.
type sums struct{ zfstest.Contents }

// Sum implements endpoint.Summer.
func (s sums) Sum(ctx context.Context, name string) ([]byte, error) {
	text, err := s.Contents.Sum(ctx, name)
	return []byte(text), err
}

// side is one machine. Tests look and write beside the faults.
type side struct {
	zfstest.Target
	faulty *zfstest.Faulty
	local  *endpoint.Local
}

func newSide(target zfstest.Target) side {
	f := &zfstest.Faulty{System: target.System}
	return side{Target: target, faulty: f, local: endpoint.New(f, sums{target.Contents})}
}

// pair is two machines and a job from the one to the other.
type pair struct {
	t    *testing.T
	a, b side
	job  replication.Job
	// src and dst are the roots; both are below what the test may use.
	src, dst string
	// clock guards now and waits while a job runs: its workers ask beside each other.
	clock sync.Mutex
	now   time.Time
	waits int
	rand  *rand.Rand
	many  int
	// bytes is the size of a file.
	bytes int
}

// systems returns two machines, each with a root that is empty and not used by another test.
type systems func(t *testing.T) (a, b zfstest.Target)

func newPair(t *testing.T, make systems) *pair {
	t.Helper()
	a, b := make(t)
	p := &pair{t: t, a: newSide(a), b: newSide(b), now: time.Unix(1_800_000_000, 0), rand: rand.New(rand.NewPCG(1, 2)), bytes: 200_000}
	if _, ok := a.System.(*zfstest.Model); ok {
		p.bytes /= 10 // a model has records of any size
	}
	t.Cleanup(p.wipe)
	p.fresh()
	return p
}

// fresh gives the pair new roots with an empty source.
func (p *pair) fresh() {
	p.t.Helper()
	p.wipe()
	p.many++
	p.src, p.dst = p.a.Name("src%d", p.many), p.b.Name("dst%d", p.many)
	p.a.faulty.Restart()
	p.b.faulty.Restart()
	p.job = replication.Job{
		ID: jobID, Direction: replication.Push, Roots: []replication.Root{{Source: p.src, Target: p.dst}}, Initial: replication.All,
		InitialGuarantee: replication.Resumable, Guarantee: replication.Resumable, Checksum: true, Stream: replication.Stream{Large: true}, Attempts: 3,
	}
	p.must(p.a.Create(p.ctx(), p.src, zfs.CreateOptions{Properties: map[string]string{"mountpoint": "none"}}))
}

func (p *pair) ctx() context.Context { return p.t.Context() }

func (p *pair) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// from and to are names below the roots; empty is the root.
func (p *pair) from(name string) string { return join(p.src, name) }
func (p *pair) to(name string) string   { return join(p.dst, name) }

func join(root, name string) string {
	if name == "" || strings.HasPrefix(name, "@") || strings.HasPrefix(name, "#") {
		return root + name
	}
	return root + "/" + name
}

// create makes file systems on the sending side.
func (p *pair) create(names ...string) {
	p.t.Helper()
	for _, name := range names {
		p.must(p.a.Create(p.ctx(), p.from(name), zfs.CreateOptions{}))
	}
}

// write writes a file of a few hundred KiB, which real OpenZFS puts into more than one record.
func (p *pair) write(names ...string) {
	p.t.Helper()
	for _, name := range names {
		p.writeOn(p.a, p.from(name))
	}
}

func (p *pair) writeOn(s side, dataset string) {
	p.t.Helper()
	p.must(p.tryWrite(s, dataset))
}

func (p *pair) tryWrite(s side, dataset string) error {
	data := make([]byte, p.bytes)
	for i := range data {
		data[i] = byte(p.rand.Uint32())
	}
	for i := range 3 { // a few files, so that a cut stream leaves some
		if err := s.Write(p.ctx(), dataset, fmt.Sprintf("file%d", p.rand.IntN(1000)), data[i:]); err != nil {
			return err
		}
	}
	return nil
}

// snapshot takes one of all file systems of the sending side at once.
func (p *pair) snapshot(name string) {
	p.t.Helper()
	found, err := p.a.List(p.ctx(), zfs.Query{Roots: []string{p.src}, Kinds: []zfs.Kind{zfs.Filesystem, zfs.Volume}, Depth: -1})
	p.must(err)
	var names []string
	for _, d := range found {
		names = append(names, d.Name+"@"+name)
	}
	p.must(p.a.Snapshot(p.ctx(), names, nil))
}

// only takes one of a single file system.
func (p *pair) only(names ...string) {
	p.t.Helper()
	for _, name := range names {
		p.must(p.a.Snapshot(p.ctx(), []string{p.from(name)}, nil))
	}
}

func (p *pair) runner() *replication.Runner {
	return &replication.Runner{
		Job: p.job, Sender: p.a.local, Receiver: p.b.local,
		Now: func() time.Time {
			p.clock.Lock()
			defer p.clock.Unlock()
			return p.now
		},
		Sleep: func(ctx context.Context, until time.Time) error {
			p.clock.Lock()
			defer p.clock.Unlock()
			p.waits++
			p.now = until
			return ctx.Err()
		},
	}
}

// run runs the job, whatever comes of it.
func (p *pair) run(decisions ...replication.Decision) (replication.Report, error) {
	r := p.runner()
	r.Job = p.job
	report, err := r.Run(p.ctx(), decisions...)
	return report, errors.Join(err, report.Err())
}

// ok runs the job, which has to succeed, and checks that both sides are the same and nothing is left over.
func (p *pair) ok(decisions ...replication.Decision) replication.Report {
	p.t.Helper()
	report, err := p.run(decisions...)
	if err != nil {
		p.t.Fatalf("run: %v\n%s", err, p.states())
	}
	// Looked at once for both: on a real system a listing is two programs of a quarter of a second each.
	sources, replicas := p.listing(p.a, p.src), p.listing(p.b, p.dst)
	p.sameIn(sources, replicas)
	p.noneLeftIn(sources, replicas)
	return report
}

// fails runs the job, of which something has to fail.
func (p *pair) fails(want error) error {
	p.t.Helper()
	_, err := p.run()
	if err == nil || want != nil && !errors.Is(err, want) {
		p.t.Fatalf("run: got %v, want an error that is: %v\n%s", err, want, p.states())
	}
	return err
}

// conflict runs the job and returns the conflict of a file system, which has to be of a kind.
func (p *pair) conflict(name string, kind replication.ConflictKind) *replication.Conflict {
	p.t.Helper()
	report, err := p.run()
	c := report.Conflict(p.from(name))
	if c == nil || c.Kind != kind {
		p.t.Fatalf("run: got %v, %v, want a conflict of kind %s\n%s", c, err, kind, p.states())
	}
	if text := c.Error(); !strings.Contains(text, c.Target) {
		p.t.Errorf("a conflict that does not name its target: %s", text)
	}
	return c
}

// states prints both sides, where they can be printed.
func (p *pair) states() string {
	var out strings.Builder
	for _, s := range []side{p.a, p.b} {
		if text, ok := s.System.(fmt.Stringer); ok {
			fmt.Fprintf(&out, "--- %s\n%s", s.Root, text)
		}
	}
	return out.String()
}

// listing is one side, beside the faults.
func (p *pair) listing(s side, root string) replication.Listing {
	p.t.Helper()
	l, err := endpoint.New(s.System, nil).List(p.ctx(), replication.ListRequest{Job: p.job.ID, Roots: []string{root}})
	p.must(err)
	return l
}

// models are two machines in memory.
func models(t *testing.T) (a, b zfstest.Target) {
	t.Helper()
	return model(t, "alpha"), model(t, "beta")
}

func model(t *testing.T, name string) zfstest.Target {
	t.Helper()
	m := zfstest.New(name, name)
	if err := m.Create(t.Context(), name+"/t", zfs.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return zfstest.Target{System: m, Contents: m, Root: name + "/t", Key: "file:///key"}
}
