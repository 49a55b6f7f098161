package replication_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// replicated is a tree of which one snapshot has a replica.
func (p *pair) replicated(names ...string) {
	p.t.Helper()
	p.create(names...)
	p.write(append([]string{""}, names...)...)
	p.snapshot("1")
	p.ok()
}

// byHand writes to a replica as somebody does who insists on it.
func (p *pair) byHand(name string) {
	p.t.Helper()
	p.must(p.b.Set(p.ctx(), p.to(name), map[string]string{"readonly": "off"}))
	p.writeOn(p.b, p.to(name))
	p.must(p.b.Set(p.ctx(), p.to(name), map[string]string{"readonly": "on"}))
}

// option is the decision of a kind.
func (p *pair) option(c *replication.Conflict, kind replication.DecisionKind) replication.Decision {
	p.t.Helper()
	for _, d := range c.Options {
		if d.Kind == kind {
			return d
		}
	}
	p.t.Fatalf("no option %s: %v", kind, c)
	return replication.Decision{}
}

func conflictScenarios() []scenario {
	return []scenario{
		{"replicaWrittenTo", func(p *pair) {
			p.replicated()
			p.byHand("")
			p.write("")
			p.snapshot("2")
			c := p.conflict("", replication.Modified)
			p.conflict("", replication.Modified) // nothing is done about it
			p.ok(p.option(c, replication.RollBack))
		}},
		{"replicaWrittenToAfterThePlan", func(p *pair) {
			p.replicated()
			p.write("")
			p.snapshot("2")
			plan, err := p.runner().Preview(p.ctx())
			p.must(err)
			if len(plan.Steps) != 1 || plan.Steps[0].Bytes < uint64(2*p.bytes) {
				p.t.Errorf("plan %+v, want a step with its size", plan)
			}
			p.byHand("")
			p.conflict("", replication.Modified)
		}},
		{"replicaDiverged", func(p *pair) {
			p.replicated()
			p.byHand("")
			p.must(p.b.Snapshot(p.ctx(), []string{p.to("@own")}, nil))
			p.write("")
			p.snapshot("2")
			c := p.conflict("", replication.Diverged)
			d := p.option(c, replication.RollBack)
			if got := fmt.Sprint(d.Destroys); got != "[@own]" || !strings.Contains(c.Error(), "@own") {
				p.t.Errorf("decision %+v of %v does not name what it destroys", d, c)
			}
			p.ok(d)
		}},
		{"decisionOfWhatHasChanged", func(p *pair) {
			p.replicated()
			p.byHand("")
			p.must(p.b.Snapshot(p.ctx(), []string{p.to("@own")}, nil))
			d := p.option(p.conflict("", replication.Diverged), replication.RollBack)
			p.must(p.b.Snapshot(p.ctx(), []string{p.to("@precious")}, nil))
			_, err := p.run(d)
			if err == nil {
				p.t.Error("a decision was carried out that does not name all it destroys")
			}
			p.conflict("", replication.Diverged)
			if p.listing(p.b, p.dst).Find(p.dst).Versions[2].Name != "precious" {
				p.t.Error("a snapshot is gone")
			}
		}},
		{"decisionForAnother", func(p *pair) {
			p.replicated("x")
			p.byHand("x")
			d := p.option(p.conflict("x", replication.Modified), replication.RollBack)
			d.Target = p.to("")
			_, err := p.run(d)
			if err == nil {
				p.t.Error("the conflict is gone")
			}
		}},
		{"divergedSetAside", func(p *pair) {
			p.replicated("x")
			p.byHand("x")
			p.must(p.b.Snapshot(p.ctx(), []string{p.to("x@own")}, nil))
			d := p.option(p.conflict("x", replication.Diverged), replication.SetAside)
			p.ok(d)
			aside := p.listing(p.b, p.b.Root).Find(d.Name)
			if aside == nil || len(aside.Snapshots()) != 2 || aside.Replica != "" {
				p.t.Errorf("set aside is %+v\n%s", aside, p.states())
			}
			p.must(p.b.DestroySnapshots(p.ctx(), []string{d.Name + "@own", d.Name + "@1"})) // nothing holds it
		}},
		{"noCommonBase", func(p *pair) {
			p.job.Guarantee = replication.Nothing
			p.replicated("x")
			p.must(p.a.DestroySnapshots(p.ctx(), []string{p.from("x@1")}))
			p.write("x")
			p.snapshot("2")
			c := p.conflict("x", replication.NoCommonBase)
			p.ok(p.option(c, replication.SetAside))
		}},
		{"latestSnapshotGone", func(p *pair) {
			// Without a cursor the sender forgets what it has sent: the replica is ahead.
			p.job.Guarantee = replication.Nothing
			p.replicated()
			p.write("")
			p.snapshot("2")
			p.ok()
			p.must(p.a.Destroy(p.ctx(), p.from("@2")))
			p.snapshot("3")
			c := p.conflict("", replication.Diverged)
			p.ok(p.option(c, replication.RollBack))
		}},
		{"targetIsNotAReplica", func(p *pair) {
			p.must(p.b.Create(p.ctx(), p.dst, zfs.CreateOptions{}))
			p.writeOn(p.b, p.dst)
			p.write("")
			p.snapshot("1")
			c := p.conflict("", replication.NotReplica)
			p.ok(p.option(c, replication.SetAside))
		}},
		{"adoptReplicaOfAnotherJob", func(p *pair) {
			p.replicated("x")
			p.must(replication.Forget(p.ctx(), jobID, p.a.local, []string{p.src}))
			p.must(replication.Forget(p.ctx(), jobID, p.b.local, []string{p.dst}))
			p.job.ID = reverseID
			var decisions []replication.Decision
			for _, name := range []string{"", "x"} {
				decisions = append(decisions, p.option(p.conflict(name, replication.NotReplica), replication.Adopt))
			}
			p.write("x")
			p.snapshot("2")
			p.ok(decisions...)
		}},
		{"snapshotNameTaken", func(p *pair) {
			p.replicated()
			p.must(p.b.Rename(p.ctx(), p.to("@1"), p.to("@2")))
			p.write("")
			p.snapshot("2")
			p.conflict("", replication.SnapshotName)
			p.must(p.b.Rename(p.ctx(), p.to("@2"), p.to("@1")))
			p.ok()
		}},
		{"kindDiffers", func(p *pair) {
			p.replicated()
			p.must(p.b.Create(p.ctx(), p.to("v"), zfs.CreateOptions{SizeBytes: 16 << 20, Sparse: true}))
			p.create("v")
			p.snapshot("2")
			p.conflict("v", replication.KindDiffers)
		}},
		{"streamFlagsMustNotFlip", func(p *pair) {
			p.replicated()
			p.job.Stream.Large = false
			p.write("")
			p.snapshot("2")
			p.conflict("", replication.StreamDiffers)
			p.job.Stream.Large = true
			p.ok()
		}},
		{"encryptionAsserted", func(p *pair) {
			locked := map[string]string{"encryption": "on", "keyformat": "raw", "keylocation": p.b.Key, "mountpoint": "none"}
			p.must(p.b.Create(p.ctx(), p.b.Name("locked%d", p.many), zfs.CreateOptions{Properties: locked}))
			p.dst = p.b.Name("locked%d/dst", p.many)
			p.job.Roots[0].Target = p.dst
			p.write("")
			p.snapshot("1")
			p.conflict("", replication.EncryptionDiffers) // it would be encrypted
			p.job.Encryption, p.job.Stream.Large = replication.EncryptionParent, false
			p.ok()
		}},
		{"encryptionWanted", func(p *pair) {
			p.job.Encryption, p.job.Stream.Large = replication.EncryptionParent, false
			p.write("")
			p.snapshot("1")
			p.conflict("", replication.EncryptionDiffers) // it would not be
			if p.listing(p.b, p.dst).Find(p.dst) != nil {
				p.t.Error("something was received all the same")
			}
		}},
		{"encryptedSource", func(p *pair) {
			locked := map[string]string{"encryption": "on", "keyformat": "raw", "keylocation": p.a.Key, "mountpoint": "none"}
			p.must(p.a.Create(p.ctx(), p.from("e"), zfs.CreateOptions{Properties: locked}))
			p.write("e")
			p.snapshot("1")
			p.conflict("e", replication.EncryptionDiffers)
			if p.listing(p.b, p.dst).Find(p.to("e")) != nil {
				p.t.Error("something was received all the same")
			}
			p.job.Roots[0].Source, p.job.Roots[0].Target = p.from("e"), p.to("e")
			p.src, p.dst = p.from("e"), p.to("e")
			p.job.Encryption, p.job.Stream = replication.EncryptionRaw, replication.Stream{Raw: true}
			p.rawOnly()
		}},
		{"foreignPartialReceive", func(p *pair) {
			p.replicated()
			p.must(p.a.Create(p.ctx(), p.a.Name("other%d", p.many), zfs.CreateOptions{}))
			other := p.a.Name("other%d", p.many)
			p.writeOn(p.a, other)
			p.must(p.a.Snapshot(p.ctx(), []string{other + "@1"}, nil))
			p.partOf(other+"@1", p.to("x"))
			p.create("x")
			p.snapshot("2")
			c := p.conflict("x", replication.PartialForeign)
			p.ok(p.option(c, replication.AbortPartial))
		}},
		{"placeholderWrittenTo", func(p *pair) {
			p.create("x")
			p.only("x@1")
			p.ok()
			p.must(p.b.Set(p.ctx(), p.dst, map[string]string{"readonly": "off"}))
			p.snapshot("2")
			p.conflict("", replication.PlaceholderChanged)
			p.must(p.b.Set(p.ctx(), p.dst, map[string]string{"readonly": "on"}))
			p.ok()
		}},
		{"snapshotOrder", func(p *pair) {
			p.replicated()
			c := sameOrder(p)
			if c.Kind != replication.SnapshotOrder {
				p.t.Errorf("got %v", c)
			}
		}},
	}
}

// partOf leaves a partial receive of a snapshot.
func (p *pair) partOf(snapshot, target string) {
	p.t.Helper()
	stream, err := p.a.Send(p.ctx(), zfs.SendSpec{Snapshot: snapshot, Large: true})
	p.must(err)
	defer stream.Close()
	err = p.b.Receive(p.ctx(), zfs.ReceiveSpec{Name: target, Resumable: true}, &short{stream, int(p.late())})
	if !errors.Is(err, zfs.ErrBadStream) {
		p.t.Fatalf("partial receive: %v", err)
	}
}

// rawOnly replicates an encrypted tree raw; what it holds cannot be compared, since the key is not loaded on the other side.
func (p *pair) rawOnly() {
	p.t.Helper()
	p.job.Checksum = false
	p.must(p.b.Create(p.ctx(), p.b.Name("dst%d-above", p.many), zfs.CreateOptions{}))
	p.dst = p.b.Name("dst%d-above/e", p.many)
	p.job.Roots[0].Target = p.dst
	_, err := p.run()
	p.must(err)
	p.write("")
	p.snapshot("2")
	_, err = p.run()
	p.must(err)
	got := p.listing(p.b, p.dst).Find(p.dst)
	if got == nil || len(got.Snapshots()) != 2 || got.Encryption == "off" {
		p.t.Errorf("raw replica: %+v", got)
	}
	p.noneLeft()
}

// sameOrder asks the planner alone: real OpenZFS cannot be brought to receive in another order.
func sameOrder(p *pair) *replication.Conflict {
	p.t.Helper()
	v := func(name string, guid zfs.GUID, txg uint64) replication.Version {
		return replication.Version{Name: name, GUID: guid, CreateTXG: txg}
	}
	sender := replication.Listing{
		Roots:       []replication.RootState{{Name: p.src, Exists: true}},
		FileSystems: []replication.FileSystem{{Name: p.src, Kind: zfs.Filesystem, Versions: []replication.Version{v("1", 1, 10), v("2", 2, 20)}}},
	}
	receiver := replication.Listing{
		Roots: []replication.RootState{{Name: p.dst, Exists: true}},
		FileSystems: []replication.FileSystem{{
			Name: p.dst, Kind: zfs.Filesystem, Replica: jobID, ReadOnly: true, Versions: []replication.Version{v("2", 2, 5), v("1", 1, 6)},
		}},
	}
	plan := replication.MakePlan(p.job, sender, receiver, nil)
	if len(plan.Conflicts) != 1 {
		p.t.Fatalf("plan %+v", plan)
	}
	return plan.Conflicts[0]
}

// TestReceiverChecksItself: whatever a plan says, nothing is received into what is not the job's.
func TestReceiverChecksItself(t *testing.T) {
	p := newPair(t, models)
	p.replicated("x")
	request := func(name string) replication.ReceiveRequest {
		return replication.ReceiveRequest{
			Fence: replication.Fence{Job: jobID, Roots: []string{p.dst}}, FileSystem: p.to(name), Kind: zfs.Filesystem, To: 1, Encryption: replication.EncryptionOff,
		}
	}
	p.must(p.b.Create(p.ctx(), p.to("own"), zfs.CreateOptions{}))
	p.must(p.b.Set(p.ctx(), p.to("x"), map[string]string{replication.PropertyReplica: reverseID}))
	over := request("x")
	over.Over = true
	volume := request("")
	volume.Kind = zfs.Volume
	for name, r := range map[string]replication.ReceiveRequest{
		"another job's": request("x"), "nobody's": request("own"), "no placeholder": over, "kind": volume,
	} {
		var c *replication.Conflict
		if err := p.b.local.Receive(p.ctx(), r, strings.NewReader("")); !errors.As(err, &c) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := p.b.local.Receive(p.ctx(), request("no/such"), strings.NewReader("")); !errors.Is(err, zfs.ErrNotExist) {
		t.Errorf("nothing above: %v", err)
	}
	p.must(p.b.local.Placeholder(p.ctx(), replication.PlaceholderRequest{Fence: over.Fence, FileSystem: p.to("filled")}))
	p.must(p.b.Set(p.ctx(), p.to("filled"), map[string]string{"readonly": "off"}))
	p.must(p.b.Write(p.ctx(), p.to("filled"), "file", make([]byte, 3<<20)))
	p.must(p.b.Set(p.ctx(), p.to("filled"), map[string]string{"readonly": "on"}))
	filled := request("filled")
	filled.Over = true
	var c *replication.Conflict
	if err := p.b.local.Receive(p.ctx(), filled, strings.NewReader("")); !errors.As(err, &c) || c.Kind != replication.PlaceholderChanged {
		t.Errorf("over what somebody wrote: %v", err)
	}
	// A placeholder takes a whole stream, of the snapshot that was named.
	p.must(p.b.local.Placeholder(p.ctx(), replication.PlaceholderRequest{Fence: over.Fence, FileSystem: p.to("place")}))
	p.snapshot("2")
	to := p.listing(p.a, p.src).Find(p.from("x")).Snapshots()[1].GUID
	for _, c := range []struct {
		what     string
		from, to zfs.GUID
		want     error
	}{{"a step", 1, to, zfs.ErrInvalid}, {"another snapshot", 0, to + 1, zfs.ErrInvalid}, {"what was named", 0, to, nil}} {
		r := request("place")
		r.Over, r.From, r.To, r.Stream = true, c.from, c.to, p.job.Stream
		stream, err := p.a.Send(p.ctx(), zfs.SendSpec{Snapshot: p.from("x@2"), Large: true})
		p.must(err)
		before := p.states()
		err = p.b.local.Receive(p.ctx(), r, stream)
		p.must(stream.Close())
		if !errors.Is(err, c.want) {
			t.Errorf("over a placeholder, %s: %v", c.what, err)
		}
		if c.want != nil && p.states() != before {
			t.Errorf("over a placeholder, %s: it did something", c.what)
		}
	}
}
