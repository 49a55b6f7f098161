package replication_test

import (
	"errors"
	"io"

	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

// short ends a stream early.
type short struct {
	r    io.Reader
	left int
}

// Read implements io.Reader.
func (s *short) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	n, err := s.r.Read(p[:min(len(p), s.left)])
	s.left -= n
	return n, err
}

// level runs two steps of a job with a level, and tells what is held in the middle of the second.
func level(initial, later replication.Guarantee, wantFirst, wantSecond int) func(*pair) {
	return func(p *pair) {
		p.job.InitialGuarantee, p.job.Guarantee = initial, later
		count := 0
		held := func() {
			count = 0
			for _, v := range p.listing(p.a, p.src).Find(p.src).Versions {
				if v.Step {
					count++
				}
			}
		}
		for i, want := range []int{wantFirst, wantSecond} {
			p.write("")
			p.snapshot([]string{"1", "2"}[i])
			p.b.faulty.Order(zfstest.Fault{Method: "Receive", Do: held})
			p.ok()
			if count != want {
				p.t.Errorf("step %d: %d step holds in its middle, want %d", i+1, count, want)
			}
		}
	}
}

func guaranteeScenarios() []scenario {
	return []scenario{
		{"levelResumability", level(replication.Resumable, replication.Resumable, 1, 2)},
		{"levelIncremental", level(replication.Incremental, replication.Incremental, 0, 0)},
		{"levelNone", level(replication.Nothing, replication.Nothing, 0, 0)},
		{"levelResumabilityThenIncremental", level(replication.Resumable, replication.Incremental, 1, 0)},
		{"levelNoneThenResumability", level(replication.Nothing, replication.Resumable, 0, 2)},
		{"levelLoweredWithHoldsLeft", func(p *pair) {
			p.replicated()
			p.write("")
			p.snapshot("2")
			p.cut("")
			p.job.Guarantee = replication.Incremental
			p.b.faulty.Order(zfstest.Fault{Method: "Receive", Do: func() {
				// The level does without step holds, so those of the earlier run are gone before anything is sent.
				p.must(p.a.Destroy(p.ctx(), p.from("@1")))
			}})
			p.ok()
		}},
		{"levelNoneForgetsCursors", func(p *pair) {
			p.replicated()
			p.job.Guarantee = replication.Nothing
			p.write("")
			p.snapshot("2")
			p.ok()
		}},
		{"forget", func(p *pair) {
			p.replicated("x")
			p.must(replication.Forget(p.ctx(), jobID, p.a.local, []string{p.src}))
			p.must(replication.Forget(p.ctx(), jobID, p.b.local, []string{p.dst}))
			for _, s := range []struct {
				side side
				root string
			}{{p.a, p.src}, {p.b, p.dst}} {
				for _, f := range p.listing(s.side, s.root).FileSystems {
					for _, v := range f.Versions {
						if v.Bookmark || v.Step || v.Last {
							p.t.Errorf("left: %s %+v", f.Name, v)
						}
					}
				}
			}
		}},
		{"checksumDiffers", func(p *pair) {
			p.write("")
			p.snapshot("1")
			r := p.runner()
			r.Receiver = lying{r.Receiver}
			report, err := r.Run(p.ctx())
			p.must(err)
			if err := report.Err(); err == nil {
				p.t.Error("contents differ, and nobody said so")
			}
			p.ok()
		}},
		{"foreignHoldsStay", func(p *pair) {
			p.write("")
			p.snapshot("1")
			p.must(p.a.Hold(p.ctx(), "mine", p.from("@1")))
			p.must(p.a.Bookmark(p.ctx(), p.from("@1"), p.from("#mine")))
			p.ok()
			holds, err := p.a.Holds(p.ctx(), p.from("@1"))
			p.must(err)
			if len(holds[p.from("@1")]) != 1 {
				p.t.Errorf("holds %v\n%s", holds, p.states())
			}
			p.must(p.a.Destroy(p.ctx(), p.from("#mine"))) // it is there still
		}},
		{"fromForeignBookmark", func(p *pair) {
			// The common snapshot is known by somebody's bookmark alone.
			p.job.Guarantee = replication.Nothing
			p.replicated()
			p.must(p.a.Bookmark(p.ctx(), p.from("@1"), p.from("#mine")))
			p.must(p.a.Destroy(p.ctx(), p.from("@1")))
			p.job.Guarantee = replication.Resumable
			p.write("")
			p.snapshot("2")
			p.ok()
			if err := p.a.Destroy(p.ctx(), p.from("#mine")); err != nil {
				p.t.Errorf("the bookmark is gone: %v", err)
			}
		}},
		{"tokenIsNotTrusted", func(p *pair) {
			// The other side's token is of a file system that the job does not send.
			p.replicated()
			other := p.a.Name("secret%d", p.many)
			p.must(p.a.Create(p.ctx(), other, zfs.CreateOptions{}))
			p.writeOn(p.a, other)
			p.must(p.a.Snapshot(p.ctx(), []string{other + "@1"}, nil))
			p.partOf(other+"@1", p.b.Name("stolen%d", p.many))
			stolen := p.listing(p.b, p.b.Root).Find(p.b.Name("stolen%d", p.many))
			f := p.listing(p.a, p.src).Find(p.src)
			_, err := p.a.local.Send(p.ctx(), replication.SendRequest{
				Fence: replication.Fence{Job: jobID, Roots: []string{p.src}}, FileSystem: p.src, To: f.Snapshots()[0].GUID, Token: stolen.Token, Stream: p.job.Stream,
			})
			if !errors.Is(err, zfs.ErrBadToken) {
				p.t.Errorf("send by another's token: %v", err)
			}
		}},
	}
}
