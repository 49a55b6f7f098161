package peer_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"

	"github.com/cyvive/cyvive/internal/machined/peer"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/server/servertest"
	"github.com/cyvive/cyvive/internal/pki"
	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/replication/endpoint"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

const jobID = "11111111-2222-4333-8444-555555555555"

// sums compares contents by what the model knows.
type sums struct{ zfstest.Contents }

// Sum implements endpoint.Summer.
func (s sums) Sum(ctx context.Context, name string) ([]byte, error) {
	text, err := s.Contents.Sum(ctx, name)
	return []byte(text), err
}

// machine is one of the two.
type machine struct {
	*zfstest.Model
	faulty *zfstest.Faulty
	local  *endpoint.Local
}

func newMachine(name string) *machine {
	m := zfstest.New(name, name)
	f := &zfstest.Faulty{System: m}
	return &machine{Model: m, faulty: f, local: endpoint.New(f, sums{m})}
}

// world is a job from a to b, of which one is this side and the other is behind a connection with certificates on both ends.
type world struct {
	t    *testing.T
	a, b *machine
	job  replication.Job
	pull bool
	// allowed is what the other side lets this one do.
	allowed      map[string]peer.Allowed
	ours, theirs *pki.Authority
	api          *servertest.API
	conn         *grpc.ClientConn
	guard        *peer.Guard
	remote       *peer.Remote
	bytes        int
	mu           sync.Mutex
}

// both runs a test with the work done on either side.
func both(t *testing.T, test func(*testing.T, *world)) {
	for _, direction := range []replication.Direction{replication.Push, replication.Pull} {
		t.Run(string(direction), func(t *testing.T) {
			t.Parallel()
			test(t, newWorld(t, direction == replication.Pull))
		})
	}
}

func newWorld(t *testing.T, pull bool) *world {
	t.Helper()
	w := &world{t: t, a: newMachine("alpha"), b: newMachine("beta"), pull: pull, ours: servertest.Authority(t, "ours"), theirs: servertest.Authority(t, "theirs")}
	w.job = replication.Job{
		ID: jobID, Direction: replication.Push, Roots: []replication.Root{{Source: "alpha/src", Target: "beta/from/alpha/src"}}, Initial: replication.All,
		InitialGuarantee: replication.Resumable, Guarantee: replication.Resumable, Stream: replication.Stream{Large: true}, Attempts: 3,
	}
	if pull {
		w.job.Direction = replication.Pull
	}
	w.allowed = map[string]peer.Allowed{jobID: {Name: "job", Job: w.job, Sends: pull, Works: true, Tops: []string{"beta/from"}}}
	w.must(w.a.Create(t.Context(), "alpha/src", zfs.CreateOptions{}))
	w.must(w.a.Create(t.Context(), "alpha/src/x", zfs.CreateOptions{}))
	w.serve()
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// here is the side that does the work.
func (w *world) here() *machine {
	if w.pull {
		return w.b
	}
	return w.a
}

func (w *world) there() *machine {
	if w.pull {
		return w.a
	}
	return w.b
}

// serve starts the other side, and connects to it.
func (w *world) serve() {
	w.t.Helper()
	w.guard = peer.NewGuard(w.t.Context(), w.there().faulty, sums{w.there()}, func(id string) (peer.Allowed, bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		a, ok := w.allowed[id]
		return a, ok
	}, func(string) {})
	w.api = servertest.StartPeer(w.t, w.theirs, nil, func() []server.Peer {
		w.mu.Lock()
		defer w.mu.Unlock()
		var out []server.Peer
		for id := range w.allowed {
			out = append(out, server.Peer{Job: id, Identity: "here.example", Authority: w.ours.Pool()})
		}
		return out
	}, w.guard)
	w.connect("localhost", "here.example")
}

// connect connects to a name of the other side, by a name of this one.
func (w *world) connect(to, as string) {
	w.t.Helper()
	pair, err := w.ours.Issue(pki.Request{
		CommonName: as, DNSNames: []string{as}, Addresses: []netip.Addr{netip.IPv6Loopback()}, Organizations: []string{"node:peer"},
		Client: true, Server: true, Lifetime: time.Hour,
	}, time.Now())
	w.must(err)
	cert, err := pair.TLS()
	w.must(err)
	w.conn, err = peer.Connect(peer.Target{
		Address: w.api.Address, Identity: to, Authority: w.theirs.Pool(), Certificate: func() *tls.Certificate { return &cert },
	})
	w.must(err)
	w.t.Cleanup(func() { _ = w.conn.Close() })
	w.remote = peer.NewRemote(w.conn)
}

func (w *world) runner() *replication.Runner {
	r := &replication.Runner{
		Job: w.job, Sender: w.a.local, Receiver: w.remote, Count: func(_ string, n int) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.bytes += n
		},
		Sleep:  func(ctx context.Context, _ time.Time) error { return ctx.Err() },
		Policy: replication.Policy{Attempts: w.job.Attempts, First: time.Nanosecond, Most: time.Nanosecond},
	}
	if w.pull {
		r.Sender, r.Receiver = w.remote, w.b.local.Under("beta/from")
	}
	return r
}

func (w *world) run(decisions ...replication.Decision) error {
	w.remote.Begins()
	report, err := w.runner().Run(w.t.Context(), decisions...)
	return errors.Join(err, report.Err())
}

// write writes a few files that make a stream of many pieces, and takes a snapshot.
func (w *world) write(snapshot string) {
	w.t.Helper()
	r := rand.New(rand.NewPCG(uint64(len(snapshot)), 7))
	for i := range 6 {
		data := make([]byte, 150_000)
		for n := range data {
			data[n] = byte(r.Uint32())
		}
		w.must(w.a.Write(w.t.Context(), "alpha/src", fmt.Sprintf("%s-%d", snapshot, i), data))
	}
	w.must(w.a.Write(w.t.Context(), "alpha/src/x", snapshot, []byte(snapshot)))
	w.snapshot(snapshot)
}

func (w *world) snapshot(name string) {
	w.t.Helper()
	w.must(w.a.Snapshot(w.t.Context(), []string{"alpha/src@" + name, "alpha/src/x@" + name}, nil))
}

// same checks that the replica has a snapshot, that nothing is left over, and that it is read-only and not mounted.
func (w *world) same(snapshot string) {
	w.t.Helper()
	ctx := w.t.Context()
	for _, below := range []string{"", "/x"} {
		mine, err := w.a.Model.Sum(ctx, "alpha/src"+below+"@"+snapshot)
		w.must(err)
		theirs, err := w.b.Model.Sum(ctx, "beta/from/alpha/src"+below+"@"+snapshot)
		w.must(err)
		if mine != theirs {
			w.t.Errorf("alpha/src%s@%s holds %s, its replica %s", below, snapshot, mine, theirs)
		}
	}
	listing, err := endpoint.New(w.b.Model, nil).List(ctx, replication.ListRequest{Job: jobID, Roots: w.job.Targets()})
	w.must(err)
	for _, f := range listing.FileSystems {
		if f.Replica != jobID || !f.ReadOnly || f.Token != "" || f.Received() == nil || !f.Received().Last {
			w.t.Errorf("replica %+v", f)
		}
	}
	found, err := w.b.Model.List(ctx, zfs.Query{Roots: []string{"beta/from"}, Kinds: []zfs.Kind{zfs.Filesystem}, Depth: -1, Properties: []string{"canmount", "readonly"}})
	w.must(err)
	for _, d := range found {
		if d.Properties["canmount"].Value != "off" || d.Properties["readonly"].Value != "on" {
			w.t.Errorf("%s: %+v", d.Name, d.Properties)
		}
	}
	listing, err = endpoint.New(w.a.Model, nil).List(ctx, replication.ListRequest{Job: jobID, Roots: w.job.Sources()})
	w.must(err)
	for _, f := range listing.FileSystems {
		for _, v := range f.Versions {
			if v.Step {
				w.t.Errorf("%s is held still", f.Whole(v))
			}
		}
	}
}

func TestCatchUp(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, w *world) {
		w.write("1")
		w.write("2")
		w.must(w.run())
		w.same("2")
		w.write("3")
		w.must(w.run())
		w.same("3")
		before := w.bytes
		w.must(w.run())
		if w.bytes != before {
			t.Errorf("a run with nothing to do sent %d bytes", w.bytes-before)
		}
		err := replication.Verify(t.Context(), w.job, w.runner().Sender, w.runner().Receiver, true, func(c replication.Comparison) error {
			if c.Problem != "" || c.Contents != replication.Same || c.Snapshot.Name != "3" || c.Behind != 0 {
				t.Errorf("verify: %+v", c)
			}
			return nil
		})
		w.must(err)
	})
}

// TestProgramsOfAStep: the side behind the connection starts no more programs for a step than it would beside the work: what one request has found, the next
// one need not look for.
func TestProgramsOfAStep(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, w *world) {
		w.write("1")
		w.must(w.run())
		w.write("2")
		w.a.faulty.Restart()
		w.b.faulty.Restart()
		w.must(w.run())
		w.same("2")
		const steps = 2 // of two file systems
		for what, c := range map[string]struct {
			machine *machine
			want    map[string]int
		}{
			"sending": {w.a, map[string]int{
				"List": 1 + 3*steps, "Estimate": steps, "Hold": steps, "Bookmark": steps, "Send": steps, "Release": steps, "Destroy": steps,
			}},
			"receiving": {w.b, map[string]int{"List": 1 + 2*steps, "Holds": 1, "Receive": steps, "Hold": steps, "Release": steps}},
		} {
			got := map[string]int{}
			for _, method := range c.machine.faulty.All() {
				got[method]++
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("on the %s side (-want +got):\n%s", what, diff)
			}
		}
	})
}

// TestCutAndResume cuts a stream on either side in its middle: the step goes on where it was.
func TestCutAndResume(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, w *world) {
		w.write("1")
		w.must(w.run())
		w.write("2")
		whole := w.bytes
		for name, f := range map[string]func(){
			"sender":   func() { w.a.faulty.Order(zfstest.Fault{Method: "Send", CutAt: 700_000, Err: zfs.ErrBusy}) },
			"receiver": func() { w.b.faulty.Order(zfstest.Fault{Method: "Receive", CutAt: 700_000, Err: zfs.ErrBusy}) },
		} {
			f()
			before := w.bytes
			w.must(w.run())
			// The stream is of six records of 200,000 bytes and a frame each. It is cut in the fourth, so that three of them come twice at most, as they may all have
			// been read ahead. A step that began anew would send 700,000 bytes more than the whole.
			if sent := w.bytes - before; sent > whole+610_000 {
				t.Errorf("%s: %d bytes were sent for a stream of %d", name, sent, whole)
			}
			w.write("2" + name)
		}
		w.must(w.run())
		w.same("2receiver")
	})
}

// TestOtherSideDies in the middle of a stream, and comes back: the run fails, and the next one goes on, and leaves nothing.
func TestOtherSideDies(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, w *world) {
		w.write("1")
		died := make(chan struct{})
		method := "Receive"
		if w.pull {
			method = "Send"
		}
		w.there().faulty.Order(zfstest.Fault{Method: method, CutAt: 400_000, Crash: true, Do: func() { close(died) }})
		err := w.run()
		<-died
		if err == nil {
			t.Fatal("a run whose other side died went well")
		}
		w.api.Stop(t)
		if err := w.run(); err == nil {
			t.Error("a run without the other side went well")
		}
		w.there().faulty.Restart()
		w.serve()
		w.must(w.run())
		w.same("1")
	})
}

// TestThisSideDies in the middle of a stream: what it had begun is taken away or used by its next run.
func TestThisSideDies(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, w *world) {
		w.write("1")
		ctx, kill := context.WithCancel(t.Context())
		r := w.runner()
		seen := 0
		r.Count = func(_ string, n int) {
			if seen += n; seen > 500_000 {
				kill()
			}
		}
		report, err := r.Run(ctx)
		if errors.Join(err, report.Err()) == nil {
			t.Fatal("a run that was killed went well")
		}
		w.must(w.run())
		w.same("1")
	})
}

// TestInterrupt: a node that needs its datasets for itself ends a stream.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	w.write("1")
	w.job.Attempts = 1
	w.b.faulty.Order(zfstest.Fault{Method: "Receive", Do: func() {
		go w.guard.Interrupt(jobID) // it waits for the end of what it is called in
		time.Sleep(50 * time.Millisecond)
	}})
	if err := w.run(); err == nil {
		t.Error("a stream that was interrupted went well")
	}
	w.job.Attempts = 3
	w.must(w.run())
	w.same("1")
}

// TestWrongPeers: neither a node that shows another name nor one that is another is dealt with.
func TestWrongPeers(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, w *world) {
		w.write("1")
		w.connect("localhost", "elsewhere.example")
		if err := w.run(); !errors.Is(err, peer.ErrRefused) || !strings.Contains(err.Error(), "no job of this node's configuration names") {
			t.Errorf("a node with another name: %v", err)
		}
		w.connect("other.example", "here.example")
		if err := w.run(); err == nil || !strings.Contains(err.Error(), "other.example") {
			t.Errorf("a server with another name: %v", err)
		}
		w.theirs = servertest.Authority(t, "theirs")
		w.connect("localhost", "here.example")
		if err := w.run(); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("a server of another authority: %v", err)
		}
		if calls := w.there().faulty.Calls(); len(calls) > 0 {
			t.Errorf("calls on the other side: %v", calls)
		}
	})
}

// TestNotAllowed: what the other side's document does not have is refused, and changes nothing there.
func TestNotAllowed(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, w *world) {
		w.write("1")
		w.must(w.a.Create(t.Context(), "alpha/secret", zfs.CreateOptions{}))
		w.must(w.a.Snapshot(t.Context(), []string{"alpha/secret@1"}, nil))
		w.must(w.b.Create(t.Context(), "beta/mine", zfs.CreateOptions{}))
		allow := func(change func(*peer.Allowed)) {
			w.mu.Lock()
			defer w.mu.Unlock()
			a := peer.Allowed{Name: "job", Job: w.job, Sends: w.pull, Works: true, Tops: []string{"beta/from"}}
			change(&a)
			w.allowed[jobID] = a
		}
		roots := func(r ...replication.Root) func(*peer.Allowed) {
			return func(a *peer.Allowed) { a.Job.Roots = r }
		}
		for name, c := range map[string]struct {
			change func(*peer.Allowed)
			says   string
		}{
			"another dataset":     {roots(replication.Root{Source: "alpha/other", Target: "beta/from/alpha/other"}), "does not name"},
			"a part of it":        {roots(replication.Root{Source: "alpha/src/x", Target: "beta/from/alpha/src/x"}), "does not name"},
			"it runs it itself":   {func(a *peer.Allowed) { a.Works = false }, "runs the job job itself"},
			"the other direction": {func(a *peer.Allowed) { a.Sends = !a.Sends }, "direction"},
			"other streams":       {func(a *peer.Allowed) { a.Job.Stream = replication.Stream{} }, "compression has to be the same"},
		} {
			allow(c.change)
			err := w.run()
			if err == nil || !strings.Contains(err.Error(), c.says) && !(name == "the other direction" && strings.Contains(err.Error(), "does not name")) {
				t.Errorf("%s: got %v, want one that says %q", name, err, c.says)
			}
			if calls := w.b.faulty.Calls(); len(calls) > 0 && !w.pull {
				t.Errorf("%s: calls on the other side: %v", name, calls)
			}
			w.there().faulty.Restart()
			w.here().faulty.Restart()
		}
		allow(func(a *peer.Allowed) { a.Job.Filter = []replication.Rule{{Path: "alpha/src/x"}} })
		if err := w.run(); w.pull && (!errors.Is(err, peer.ErrRefused) || !strings.Contains(err.Error(), "leaves alpha/src/x out")) {
			t.Errorf("what is left out of what is sent: %v", err)
		}
	})
}

// TestHostileRequests asks for what no node of good will asks for.
func TestHostileRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	w.write("1")
	w.must(w.run())
	ctx := t.Context()
	w.must(w.b.Create(ctx, "beta/mine", zfs.CreateOptions{}))
	w.must(w.b.Snapshot(ctx, []string{"beta/mine@1"}, nil))
	w.must(w.b.Hold(ctx, replication.LastTag(jobID), "beta/mine@1"))
	w.b.faulty.Restart()
	fence := replication.Fence{Job: jobID}
	last, err := endpoint.New(w.b.Model, nil).List(ctx, replication.ListRequest{Job: jobID, Roots: w.job.Targets()})
	w.must(err)
	target := last.FileSystems[0].Name
	for name, err := range map[string]error{
		"look elsewhere":    second(w.remote.List(ctx, replication.ListRequest{Job: jobID, Roots: []string{"beta/mine"}})),
		"look above":        second(w.remote.List(ctx, replication.ListRequest{Job: jobID, Roots: []string{"beta"}})),
		"look beside":       second(w.remote.List(ctx, replication.ListRequest{Job: jobID, Roots: []string{"beta/from/alpha/src2"}})),
		"no name":           second(w.remote.List(ctx, replication.ListRequest{Job: jobID, Roots: []string{"beta/from/alpha/src/../../../mine"}})),
		"clean elsewhere":   w.remote.Clean(ctx, replication.CleanRequest{Job: jobID, LastHolds: []string{"beta/mine@1"}}),
		"clean no snapshot": w.remote.Clean(ctx, replication.CleanRequest{Job: jobID, LastHolds: []string{"beta/mine"}}),
		"fence elsewhere":   w.remote.Learn(ctx, replication.LearnRequest{Fence: replication.Fence{Job: jobID, Generation: 9}, Primaries: []string{"beta/mine"}}),
		"placeholder":       w.remote.Placeholder(ctx, replication.PlaceholderRequest{Fence: fence, FileSystem: "beta/other"}),
		"receive": w.remote.Receive(ctx, replication.ReceiveRequest{
			Fence: fence, FileSystem: "beta/mine", Kind: zfs.Filesystem, Stream: w.job.Stream,
		}, strings.NewReader("stream")),
		"send":   second(w.remote.Send(ctx, replication.SendRequest{Fence: fence, FileSystem: target, Stream: w.job.Stream})),
		"freeze": w.remote.Freeze(ctx, replication.FreezeRequest{Fence: fence, Snapshot: "x"}),
		"destroy": w.remote.Resolve(ctx, replication.ResolveRequest{Fence: fence, Decision: replication.Decision{
			Kind: replication.RollBack, Target: target, To: 1, Destroys: []string{"@1"},
		}}),
		"lose changes":      w.remote.Resolve(ctx, replication.ResolveRequest{Fence: fence, Decision: replication.Decision{Kind: replication.RollBack, Target: target, Changes: true}}),
		"rename to mine":    w.remote.Resolve(ctx, replication.ResolveRequest{Fence: fence, Decision: replication.Decision{Kind: replication.SetAside, Target: target, Name: "beta/mine/x"}}),
		"rename mine":       w.remote.Resolve(ctx, replication.ResolveRequest{Fence: fence, Decision: replication.Decision{Kind: replication.FollowRename, Target: target, Name: "beta/mine"}}),
		"aside below":       w.remote.Resolve(ctx, replication.ResolveRequest{Fence: fence, Decision: replication.Decision{Kind: replication.SetAside, Target: target, Name: target + ".aside-/x"}}),
		"unknown decision":  w.remote.Resolve(ctx, replication.ResolveRequest{Fence: fence, Decision: replication.Decision{Kind: "Destroy", Target: target}}),
		"another job's":     w.remote.Clean(ctx, replication.CleanRequest{Job: "22222222-2222-4333-8444-555555555555", LastHolds: []string{target + "@1"}}),
		"promote from afar": w.remote.Promote(ctx, replication.PromoteRequest{Fence: fence}),
	} {
		if err == nil {
			t.Errorf("%s: it was done", name)
		}
	}
	for _, call := range w.b.faulty.Calls() {
		t.Errorf("%s was called", call)
	}
	// A generation that no failovers have led to would keep this node from ever being the primary.
	endless := replication.Fence{Job: jobID, Generation: 1<<64 - 1}
	for name, err := range map[string]error{
		"noted":            w.remote.Learn(ctx, replication.LearnRequest{Fence: endless}),
		"fenced":           w.remote.Learn(ctx, replication.LearnRequest{Fence: endless, Primaries: w.job.Targets()}),
		"of something new": w.remote.Placeholder(ctx, replication.PlaceholderRequest{Fence: endless, FileSystem: target + "/new"}),
		"received": w.remote.Receive(ctx, replication.ReceiveRequest{
			Fence: endless, FileSystem: target, Kind: zfs.Filesystem, Stream: w.job.Stream,
		}, strings.NewReader("stream")),
	} {
		if err == nil || !strings.Contains(err.Error(), "each failover is one more") {
			t.Errorf("an endless generation, %s: %v", name, err)
		}
	}
	// Once it was promoted here, nobody makes a replica of it from there, or takes it away.
	_, err = replication.Promotion{Job: w.job, Receiver: w.b.local}.Run(ctx)
	w.must(err)
	to := last.FileSystems[0].Snapshots()[0].GUID
	for _, kind := range []replication.DecisionKind{replication.Adopt, replication.RollBack, replication.SetAside} {
		err = w.remote.Resolve(ctx, replication.ResolveRequest{
			Fence: replication.Fence{Job: jobID, Generation: 99}, Decision: replication.Decision{Kind: kind, Target: target, To: to, Name: target + ".aside-1"},
			Stream: w.job.Stream,
		})
		if !errors.Is(err, peer.ErrRefused) {
			t.Errorf("%s of what was promoted: %v", kind, err)
		}
	}
}

// TestDecideBelowAPlaceholder: a root without snapshots of its own has its generation from the start, where the role has gone over and back before, and was not promoted
// for that. What is below it is a replica, about which the other node decides as about any.
func TestDecideBelowAPlaceholder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	ctx := t.Context()
	const source, target = "alpha/src/x", "beta/from/alpha/src/x"
	snapshot := func(name string) {
		t.Helper()
		w.must(w.a.Write(ctx, source, name, make([]byte, 100_000)))
		w.must(w.a.Snapshot(ctx, []string{source + "@" + name}, nil))
	}
	w.must(w.a.Set(ctx, "alpha/src", map[string]string{replication.PropertyGeneration: "2"}))
	snapshot("1")
	w.must(w.run())
	roots, err := w.b.local.Roots(ctx, w.job.Targets())
	w.must(err)
	if root := roots[0]; root.Generation != 2 || root.Fenced || root.Replica != "" {
		t.Fatalf("the root %+v", root)
	}
	w.must(w.b.Model.Snapshot(ctx, []string{target + "@own"}, nil))
	snapshot("2")
	var c *replication.Conflict
	if err := w.run(); !errors.As(err, &c) || c.Kind != replication.Diverged {
		t.Fatalf("a replica with a snapshot of its own: %v", err)
	}
	i := slices.IndexFunc(c.Options, func(d replication.Decision) bool { return d.Kind == replication.SetAside })
	if i < 0 {
		t.Fatalf("options %v", c.Options)
	}
	w.must(w.run(c.Options[i]))
	// After a failover nobody decides about it from there.
	_, err = replication.Promotion{Job: w.job, Receiver: w.b.local}.Run(ctx)
	w.must(err)
	err = w.remote.Resolve(ctx, replication.ResolveRequest{
		Fence: replication.Fence{Job: jobID, Generation: 99}, Decision: replication.Decision{Kind: replication.SetAside, Target: target, Name: target + ".aside-2"},
		Stream: w.job.Stream,
	})
	if !errors.Is(err, peer.ErrRefused) {
		t.Errorf("when it was promoted: %v", err)
	}
}

// TestHostileStreams: a stream that is another than the one that was asked for makes, changes and destroys nothing, and a dataset that is no replica of the job
// stays where it is.
func TestHostileStreams(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	w.write("1")
	w.must(w.run())
	ctx := t.Context()
	w.must(w.a.Create(ctx, "alpha/other", zfs.CreateOptions{Properties: map[string]string{"atime": "off"}}))
	w.must(w.a.Snapshot(ctx, []string{"alpha/other@1"}, nil))
	const below, above = "beta/from/alpha/src/x", "beta/from/alpha/src/above"
	w.must(w.b.Create(ctx, "beta/from/alpha/src/own", zfs.CreateOptions{}))
	fence := replication.Fence{Job: jobID}
	w.must(w.remote.Placeholder(ctx, replication.PlaceholderRequest{Fence: fence, FileSystem: above}))
	found, err := w.a.List(ctx, zfs.Query{Roots: []string{"alpha/other"}, Kinds: []zfs.Kind{zfs.Snapshot}})
	w.must(err)
	to, before := found[0].GUID, w.b.String()
	receive := func(properties bool, change func(*replication.ReceiveRequest)) error {
		stream, err := w.a.Send(ctx, zfs.SendSpec{Snapshot: "alpha/other@1", Large: true, Properties: properties})
		w.must(err)
		defer stream.Close()
		q := replication.ReceiveRequest{Fence: fence, FileSystem: above, Kind: zfs.Filesystem, To: to, Over: true, Stream: w.job.Stream}
		change(&q)
		return w.remote.Receive(ctx, q, stream)
	}
	rename := func(name string, source zfs.GUID) error {
		d := replication.Decision{Kind: replication.FollowRename, Target: above + "/y", Name: name}
		return w.remote.Resolve(ctx, replication.ResolveRequest{Fence: fence, Decision: d, Source: source, Stream: w.job.Stream})
	}
	for what, c := range map[string]struct{ got, class error }{
		"a package":            {receive(true, func(*replication.ReceiveRequest) {}), zfs.ErrInvalid},
		"another snapshot":     {receive(false, func(q *replication.ReceiveRequest) { q.To++ }), zfs.ErrInvalid},
		"a step over all":      {receive(false, func(q *replication.ReceiveRequest) { q.From = 7 }), zfs.ErrInvalid},
		"a step that is none":  {receive(false, func(q *replication.ReceiveRequest) { q.FileSystem, q.From, q.Over = above+"/new", 7, false }), zfs.ErrInvalid},
		"no volume":            {receive(false, func(q *replication.ReceiveRequest) { q.FileSystem, q.Kind, q.Over = above+"/new", zfs.Volume, false }), zfs.ErrInvalid},
		"rename no replica":    {rename("beta/from/alpha/src/own", 1), replication.ErrChanged},
		"rename another's":     {rename(below, 1), replication.ErrChanged},
		"rename of no dataset": {rename(below, 0), replication.ErrChanged},
	} {
		if !errors.Is(c.got, c.class) {
			t.Errorf("%s: got %v, want an error that is: %v", what, c.got, c.class)
		}
	}
	if after := w.b.String(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	w.must(receive(false, func(*replication.ReceiveRequest) {})) // what was asked for
}

func second[T any](_ T, err error) error { return err }

// TestFailbackOverTheAPI: over and back, with what was written meanwhile.
func TestFailbackOverTheAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	ctx := t.Context()
	w.write("1")
	w.must(w.run())
	generation, err := replication.Promotion{Job: w.job, Receiver: w.b.local}.Run(ctx)
	w.must(err)
	w.must(w.b.Write(ctx, "beta/from/alpha/src", "meanwhile", []byte("written on b")))
	if err := w.run(); !errors.Is(err, replication.ErrFenced) {
		t.Errorf("the old primary: %v", err)
	}
	if err := w.a.Write(ctx, "alpha/src", "late", []byte("x")); !errors.Is(err, zfs.ErrReadOnly) {
		t.Errorf("a write to the old primary: %v", err)
	}
	back := replication.Failback{Job: w.job, Here: w.a.local, There: w.remote, With: *w.runner()}
	if _, _, err := back.Run(ctx); !errors.Is(err, peer.ErrRefused) {
		t.Errorf("a failback that the other side does not let: %v", err)
	}
	reverse := replication.ReverseID(jobID)
	w.mu.Lock()
	w.allowed[reverse] = peer.Allowed{Name: "job", Job: w.job.Reverse(reverse), Sends: true, Works: true, Back: true}
	w.mu.Unlock()
	got, _, err := back.Run(ctx)
	if err != nil || got != generation+1 {
		t.Fatalf("failback: generation %d, %v", got, err)
	}
	mine, err := w.a.Sum(ctx, "alpha/src")
	w.must(err)
	theirs, err := w.b.Sum(ctx, "beta/from/alpha/src")
	w.must(err)
	if mine != theirs {
		t.Error("what was written meanwhile did not come back")
	}
	if err := w.b.Write(ctx, "beta/from/alpha/src", "late", []byte("x")); !errors.Is(err, zfs.ErrReadOnly) {
		t.Errorf("a write to what was the primary meanwhile: %v", err)
	}
	w.must(w.a.Write(ctx, "alpha/src", "again", []byte("x")))
	w.write("3")
	w.must(w.run())
	w.same("3")
	if got, _, err := back.Run(ctx); err != nil || got != generation+1 {
		t.Errorf("once more: %d, %v", got, err)
	}
	w.must(w.run())
	w.same("3")
}

// suspended is a system of which the pool of one root does not answer.
type suspended struct {
	zfs.System
	root string
}

// List implements zfs.System.
func (s suspended) List(ctx context.Context, q zfs.Query) ([]zfs.Dataset, error) {
	if slices.Contains(q.Roots, s.root) {
		return nil, zfs.ErrSuspended
	}
	return s.System.List(ctx, q)
}

// TestFencedThoughAPoolOfThePrimaryHangs: a root whose replica cannot be looked at just now was promoted with the others, and is fenced with theirs. With their
// generation noted alone it would take writes for good.
func TestFencedThoughAPoolOfThePrimaryHangs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	ctx := t.Context()
	second := replication.Root{Source: "alpha/second", Target: "beta/from/alpha/second"}
	w.must(w.a.Create(ctx, second.Source, zfs.CreateOptions{}))
	w.must(w.a.Snapshot(ctx, []string{second.Source + "@1"}, nil))
	w.job.Roots = append(w.job.Roots, second)
	w.mu.Lock()
	w.allowed[jobID] = peer.Allowed{Name: "job", Job: w.job, Sends: true, Works: true}
	w.mu.Unlock()
	w.write("1")
	w.must(w.run())
	_, err := replication.Promotion{Job: w.job, Receiver: w.b.local}.Run(ctx)
	w.must(err)
	r := w.runner()
	r.Receiver = endpoint.New(suspended{w.b.Model, second.Target}, nil)
	report, err := r.Run(ctx)
	if err := errors.Join(err, report.Err()); !errors.Is(err, replication.ErrFenced) {
		t.Errorf("the old primary: %v", err)
	}
	for range 2 {
		roots, err := w.a.local.Roots(ctx, w.job.Sources())
		w.must(err)
		for _, root := range roots {
			if !root.Fenced || root.Generation != 1 {
				t.Errorf("the root %+v", root)
			}
			if err := w.a.Write(ctx, root.Name, "late", []byte("x")); !errors.Is(err, zfs.ErrReadOnly) {
				t.Errorf("a write to %s: %v", root.Name, err)
			}
		}
		if err := w.run(); !errors.Is(err, replication.ErrFenced) {
			t.Errorf("when the pool answers again: %v", err)
		}
	}
}

// TestFencedThoughAPoolOfTheOldPrimaryHangs: what the other node can tell of its roots is enough for those to be fenced. One that could not be looked at is fenced when
// it can be; that it knows of the generation before would keep it from being told.
func TestFencedThoughAPoolOfTheOldPrimaryHangs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	ctx := t.Context()
	second := replication.Root{Source: "alpha/second", Target: "beta/from/alpha/second"}
	w.must(w.a.Create(ctx, second.Source, zfs.CreateOptions{}))
	w.must(w.a.Snapshot(ctx, []string{second.Source + "@1"}, nil))
	w.job.Roots = append(w.job.Roots, second)
	w.mu.Lock()
	w.allowed[jobID] = peer.Allowed{Name: "job", Job: w.job, Sends: true, Works: true}
	w.mu.Unlock()
	w.write("1")
	w.must(w.run())
	_, err := replication.Promotion{Job: w.job, Receiver: w.b.local}.Run(ctx)
	w.must(err)
	check := func(name string, fenced bool) {
		t.Helper()
		roots, err := w.a.local.Roots(ctx, []string{name})
		w.must(err)
		if roots[0].Fenced != fenced || (roots[0].Generation > 0) != fenced {
			t.Errorf("the root %+v, want it fenced: %t", roots[0], fenced)
		}
		if err := w.a.Write(ctx, name, "late", []byte("x")); errors.Is(err, zfs.ErrReadOnly) != fenced {
			t.Errorf("a write to %s: %v", name, err)
		}
	}
	w.a.faulty.Order(zfstest.Fault{Method: "List", Err: zfs.ErrSuspended}) // of the first root
	if err := w.run(); !errors.Is(err, replication.ErrFenced) {
		t.Errorf("the old primary: %v", err)
	}
	check("alpha/src", false)
	check(second.Source, true)
	if err := w.run(); !errors.Is(err, replication.ErrFenced) {
		t.Errorf("when the pool answers again: %v", err)
	}
	check("alpha/src", true)
	check(second.Source, true)
}

// TestLongListing: what is more than a message comes whole.
func TestLongListing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	for i := range 2345 {
		w.must(w.a.Snapshot(t.Context(), []string{fmt.Sprintf("alpha/src@s%d", i)}, nil))
	}
	want, err := w.a.local.List(t.Context(), replication.ListRequest{Job: jobID, Roots: w.job.Sources()})
	w.must(err)
	got, err := w.remote.List(t.Context(), replication.ListRequest{Job: jobID, Roots: w.job.Sources()})
	w.must(err)
	if len(got.FileSystems) != 2 || len(got.FileSystems[0].Versions) != 2345 || got.FileSystems[0].Versions[2344].GUID != want.FileSystems[0].Versions[2344].GUID {
		t.Errorf("%d file systems, %+v", len(got.FileSystems), got.Roots)
	}
	var cursors []string
	for i := range 450 {
		name := "alpha/src#" + replication.CursorName(jobID, zfs.GUID(i+1))
		w.must(w.a.Bookmark(t.Context(), "alpha/src@s1", name))
		cursors = append(cursors, name)
	}
	w.must(w.remote.Clean(t.Context(), replication.CleanRequest{Job: jobID, Cursors: cursors, StepHolds: []string{"alpha/src@s1"}}))
	left, err := w.a.List(t.Context(), zfs.Query{Roots: []string{"alpha/src"}, Kinds: []zfs.Kind{zfs.Bookmark}})
	if err != nil || len(left) != 0 {
		t.Errorf("%d bookmarks are left, %v", len(left), err)
	}
}

// TestSlowStream: a stream that says nothing for a while is waited for.
func TestSlowStream(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits for longer than the API waits for a message")
	}
	w := newWorld(t, false)
	w.write("1")
	r := w.runner()
	r.Sender = slow{r.Sender, 25 * time.Second}
	report, err := r.Run(t.Context())
	w.must(errors.Join(err, report.Err()))
	w.same("1")
}

// slow is a sender whose streams pause before their first byte.
type slow struct {
	replication.Sender
	pause time.Duration
}

// Send implements replication.Sender.
func (s slow) Send(ctx context.Context, r replication.SendRequest) (io.ReadCloser, error) {
	stream, err := s.Sender.Send(ctx, r)
	if err != nil || !strings.HasSuffix(r.FileSystem, "/src") {
		return stream, err
	}
	return &slowStream{ReadCloser: stream, pause: s.pause}, nil
}

type slowStream struct {
	io.ReadCloser
	pause time.Duration
}

// Read implements io.Reader.
func (s *slowStream) Read(p []byte) (int, error) {
	time.Sleep(s.pause)
	s.pause = 0
	return s.ReadCloser.Read(p)
}
