package peer

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/replication/endpoint"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Allowed is what a job of this node's configuration lets the other node ask for.
type Allowed struct {
	// Name is for a person.
	Name string
	// Job is the job in the direction that was asked for.
	Job replication.Job
	// Sends says that this node is its sending side.
	Sends bool
	// Works says that the other node does the work. Where it does not, it may look, and tell of a generation.
	Works bool
	// Busy says that this node has the datasets to itself for a while, as for a failover or a failback: meanwhile the other one may look.
	Busy bool
	// Back says that it is the way back, on which the tree here may be frozen.
	Back bool
	// Tops are datasets from which on downwards what is missing above a replica is made.
	Tops []string
}

// roots are those of this node.
func (a Allowed) roots() []string {
	if a.Sends {
		return a.Job.Sources()
	}
	return a.Job.Targets()
}

// Guard implements server.PeerCalls.
type Guard struct {
	life   context.Context
	system zfs.System
	summer endpoint.Summer
	jobs   func(id string) (Allowed, bool)
	heard  func(id string)

	mu sync.Mutex
	// streams are those that are under way.
	streams map[*underway]bool
	// reading counts the looks and checksums that are under way, by job.
	reading map[string]int
	// memories are what the requests of a run have in common, by the job's UUID.
	memories map[string]*endpoint.Memory
}

// underway is a stream of a job, or another change. Done is closed when it has ended.
type underway struct {
	id     string
	cancel context.CancelCauseFunc
	done   chan struct{}
}

var _ server.PeerCalls = (*Guard)(nil)

// NewGuard returns what answers for the datasets of a system, until life ends. Jobs finds what a UUID lets the other node do, and heard is told of each
// request that is let through; both are called from many goroutines.
func NewGuard(life context.Context, system zfs.System, summer endpoint.Summer, jobs func(id string) (Allowed, bool), heard func(id string)) *Guard {
	return &Guard{
		life: life, system: system, summer: summer, jobs: jobs, heard: heard,
		streams: map[*underway]bool{}, reading: map[string]int{}, memories: map[string]*endpoint.Memory{},
	}
}

// maxReads is how many looks and checksums of a job go on at once. A look has all datasets and snapshots of the job in memory until they are sent, and a checksum reads
// whole file systems; who carries a job out has one of them, and one more for each person who has it verified.
const maxReads = 4

// read begins one, which ends when end is called.
func (g *Guard) read(id string) (end func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reading[id] >= maxReads {
		return nil, fmt.Errorf("%w: %d looks and checksums of the job are under way already: end one first", server.ErrUnavailable, maxReads)
	}
	g.reading[id]++
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.reading[id]--; g.reading[id] == 0 {
			delete(g.reading, id)
		}
	}, nil
}

// memory is that of a job which is known here.
func (g *Guard) memory(id string) *endpoint.Memory {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.memories[id] == nil {
		g.memories[id] = &endpoint.Memory{}
	}
	return g.memories[id]
}

// forget is for a job that is not known here, or no longer.
func (g *Guard) forget(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.memories, id)
}

// errInterrupted is why a stream ends that this node has to itself.
var errInterrupted = fmt.Errorf("%w: this node needs the datasets for itself now", server.ErrUnavailable)

// interruptTimeout is how long a stream may take to end: its program is killed, and lets its datasets go.
const interruptTimeout = 15 * time.Second

// Interrupt ends the streams of a job that are under way, and all else that changes its datasets, and waits for that for a while.
func (g *Guard) Interrupt(id string) {
	g.mu.Lock()
	var ended []chan struct{}
	for s := range g.streams {
		if s.id == id {
			s.cancel(errInterrupted)
			ended = append(ended, s.done)
		}
	}
	g.mu.Unlock()
	timer := time.NewTimer(interruptTimeout)
	defer timer.Stop()
	for _, done := range ended {
		select {
		case <-done:
		case <-timer.C:
			return
		}
	}
}

// stream is the context of a stream of a job, which ends when it is interrupted, and with the guard. The caller calls end when it is over. The job is
// asked for once more when the stream is among those that Interrupt ends: what became busy since it was let through has seen the stream, or is seen here.
func (g *Guard) stream(ctx context.Context, id string) (_ context.Context, end func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &underway{id: id, cancel: cancel, done: make(chan struct{})}
	stop := context.AfterFunc(g.life, func() { cancel(errInterrupted) })
	g.mu.Lock()
	g.streams[s] = true
	g.mu.Unlock()
	if a, ok := g.jobs(id); !ok || a.Busy {
		cancel(errInterrupted)
	}
	return ctx, func() {
		g.mu.Lock()
		delete(g.streams, s)
		g.mu.Unlock()
		stop()
		cancel(nil)
		close(s.done)
	}
}

// side is what a request needs of the job.
type side int

const (
	// either may always be asked for.
	either side = iota
	// cleaning is for the node that does the work; and where this one receives, for the way back, which takes away what the job kept.
	cleaning
	// working is for the node that does the work, sending and receiving for it where this node is that side.
	working
	sending
	receiving
	// back is for the way back.
	back
)

// errDenied is for what a job does not let the other node do.
func errDenied(format string, a ...any) error {
	return fmt.Errorf("%w: %s", server.ErrDenied, fmt.Sprintf(format, a...))
}

// let finds the job of a request, and checks that it lets the other node do what is asked for, of the datasets that are named.
func (g *Guard) let(id string, need side, datasets ...string) (Allowed, *endpoint.Local, error) {
	if g.life.Err() != nil {
		return Allowed{}, nil, fmt.Errorf("%w: the node is going down", server.ErrUnavailable)
	}
	a, ok := g.jobs(id)
	if !ok {
		g.forget(id)
		return a, nil, errDenied("no job of this node has the UUID %.80q", id)
	}
	switch {
	case need != either && !a.Works && (need != cleaning || a.Sends):
		return a, nil, errDenied("this node runs the job %s itself: only one of the two documents may say run: here", a.Name)
	case need != either && a.Busy:
		return a, nil, errInterrupted
	case need == sending && !a.Sends:
		return a, nil, errDenied("this node receives in the job %s, and sends nothing: direction has to differ in the two documents", a.Name)
	case need == receiving && a.Sends:
		return a, nil, errDenied("this node sends in the job %s, and receives nothing: direction has to differ in the two documents", a.Name)
	case need == back && (!a.Back || !a.Sends):
		return a, nil, errDenied("that is for the way back of a job, on the node that receives in it")
	}
	for _, name := range datasets {
		if err := a.covers(name, need == sending); err != nil {
			return a, nil, err
		}
	}
	g.heard(id)
	return a, endpoint.New(claimed{g.system, g, a.Job.ID}, g.summer).Under(a.Tops...).Remembering(g.memory(a.Job.ID)), nil
}

// covers is an error for a dataset that the job does not have here; with out, also for one that is left out of what is sent.
func (a Allowed) covers(name string, out bool) error {
	if _, err := zfs.ParseDataset(name); err != nil {
		return fmt.Errorf("%w: %w", server.ErrInvalid, err)
	}
	if !slices.ContainsFunc(a.roots(), func(root string) bool { return name == root || strings.HasPrefix(name, root+"/") }) {
		return errDenied("the document of the job %s on this node does not name %.300s: it names %s", a.Name, name, strings.Join(a.roots(), ", "))
	}
	if out && a.Sends && !a.Job.Includes(name) {
		return errDenied("the document of the job %s on this node leaves %.300s out", a.Name, name)
	}
	return nil
}

func (a Allowed) fence(generation uint64) replication.Fence {
	return replication.Fence{Job: a.Job.ID, Roots: a.roots(), Generation: generation}
}

// sameStream checks that both documents say the same of how streams are made.
func (a Allowed) sameStream(stream string) error {
	if own := a.Job.Stream.String(); own != stream {
		return toStatus(fmt.Errorf("streams %.20q: %w: the document of the job %s on this node has %q; compression has to be the same in both",
			stream, replication.ErrUnsupported, a.Name, own))
	}
	return nil
}

// versionsPerMessage keeps a message of a listing below the size that callers take.
const versionsPerMessage = 1000

// Look implements server.PeerCalls.
func (g *Guard) Look(ctx context.Context, r *replicationv1.LookRequest, send func(*replicationv1.LookResponse) error) error {
	var named []string
	if r.GetFileSystem() != "" {
		named = []string{r.GetFileSystem()}
	}
	a, local, err := g.let(r.GetJob(), either, named...)
	if err != nil {
		return err
	}
	if named == nil {
		named = a.roots()
	}
	if r.GetBegin() && a.Works {
		g.Interrupt(a.Job.ID)
	}
	end, err := g.read(a.Job.ID)
	if err != nil {
		return err
	}
	defer end()
	listing, failed := local.List(ctx, replication.ListRequest{Job: a.Job.ID, Roots: named})
	first := &replicationv1.LookResponse{}
	for _, root := range listing.Roots {
		first.Roots = append(first.Roots, rootToProto(root))
	}
	if failed != nil && len(first.Roots) == 0 {
		return toStatus(failed)
	}
	if err := send(first); err != nil {
		return err
	}
	if failed != nil {
		return toStatus(failed) // what there is of the roots counts all the same, as for a fence
	}
	for i := range listing.FileSystems {
		f := &listing.FileSystems[i]
		one := fileSystemToProto(f)
		for chunk := range slices.Chunk(f.Versions, versionsPerMessage) {
			for _, v := range chunk {
				one.Versions = append(one.Versions, versionToProto(v))
			}
			if err := send(&replicationv1.LookResponse{FileSystems: []*replicationv1.FileSystem{one}}); err != nil {
				return err
			}
			one = &replicationv1.FileSystem{Name: one.GetName()}
		}
		if len(f.Versions) == 0 {
			if err := send(&replicationv1.LookResponse{FileSystems: []*replicationv1.FileSystem{one}}); err != nil {
				return err
			}
		}
	}
	return nil
}

// learnTimeout is how long a tree may take to be fenced: each of its datasets that has a value of its own waits for a transaction.
const learnTimeout = 10 * time.Minute

// Learn implements server.PeerCalls. Once it has begun it goes on though the caller hangs up, who tells of it for a short time only: a tree that is half fenced
// takes writes. A root that is not there is not fenced: its pool may be imported later, and who is told that all went well tells of it no more.
func (g *Guard) Learn(ctx context.Context, r *replicationv1.LearnRequest) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), learnTimeout)
	defer cancel()
	stop := context.AfterFunc(g.life, cancel)
	defer stop()
	a, local, err := g.let(r.GetJob(), either, r.GetPrimaries()...)
	if err == nil {
		err = a.noted(ctx, local, r)
	}
	if err != nil {
		return err
	}
	if err := local.Learn(ctx, replication.LearnRequest{Fence: a.fence(r.GetGeneration()), Primaries: r.GetPrimaries()}); err != nil {
		return toStatus(err)
	}
	states, err := local.Roots(ctx, r.GetPrimaries())
	if err != nil {
		return toStatus(err)
	}
	for _, root := range states {
		if !root.Exists || root.Generation < r.GetGeneration() {
			return fmt.Errorf("%w: the root %s is not there, and not fenced: its pool may not be imported yet", server.ErrUnavailable, root.Name)
		}
	}
	return nil
}

// Clean implements server.PeerCalls.
func (g *Guard) Clean(ctx context.Context, r *replicationv1.CleanRequest) error {
	var datasets []string
	for _, list := range [][]string{r.GetStepHolds(), r.GetLastHolds()} {
		for _, name := range list {
			n, err := zfs.ParseSnapshot(name)
			if err != nil {
				return fmt.Errorf("%w: %w", server.ErrInvalid, err)
			}
			datasets = append(datasets, strings.TrimSuffix(name, "@"+n.Snapshot))
		}
	}
	for _, name := range r.GetCursors() {
		n, err := zfs.ParseBookmark(name)
		if err != nil {
			return fmt.Errorf("%w: %w", server.ErrInvalid, err)
		}
		datasets = append(datasets, strings.TrimSuffix(name, "#"+n.Bookmark))
	}
	a, local, err := g.let(r.GetJob(), cleaning, datasets...)
	if err != nil {
		return err
	}
	return toStatus(local.Clean(ctx, replication.CleanRequest{
		Job: a.Job.ID, StepHolds: r.GetStepHolds(), LastHolds: r.GetLastHolds(), Cursors: r.GetCursors(),
	}))
}

// Checksum implements server.PeerCalls.
func (g *Guard) Checksum(ctx context.Context, r *replicationv1.ChecksumRequest) ([]byte, error) {
	a, local, err := g.let(r.GetJob(), working, r.GetFileSystem())
	if err == nil {
		err = a.covers(r.GetFileSystem(), true)
	}
	if err != nil {
		return nil, err
	}
	end, err := g.read(a.Job.ID)
	if err != nil {
		return nil, err
	}
	defer end()
	sum, err := local.Checksum(ctx, replication.ChecksumRequest{Job: a.Job.ID, FileSystem: r.GetFileSystem(), To: zfs.GUID(r.GetGuid())})
	return sum, toStatus(err)
}
