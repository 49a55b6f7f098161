package install

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/cyvive/cyvive/internal/storage/signature"
)

// Request is what is asked for.
type Request struct {
	Disk Selector
	// Wipe is a name of the disk whose data may be destroyed, its serial number or WWN; empty destroys none.
	Wipe string
	// Configuration are the documents that the installed node is to have; nil gives it none, and it looks for some itself.
	Configuration []byte
	// SealingKey opens the sealed secrets of the configuration, and is the installed node's from then on; nil where there are none.
	SealingKey []byte
	// Encrypted says that by the configuration the disk is encrypted, with a key that this machine comes by, and Sealer is what makes it so; nil is that of
	// the Config.
	Encrypted bool
	Sealer    Sealer
	// OpenedBy names what opens it, for people; empty is the TPM.
	OpenedBy string
	// By is who asks, for the history of configurations.
	By string
}

// Release is what is installed.
type Release struct {
	Version string
	// Architecture is amd64 or arm64, RootHash 64 hexadecimal digits.
	Architecture, RootHash string
	// RootBytes and VerityBytes are the root and its hash tree, KernelBytes the kernel image.
	RootBytes, VerityBytes, KernelBytes int64
	// Pushed says that it is the one that was pushed, and not the running one.
	Pushed bool
}

// Task is one step that is to be done.
type Task struct {
	Step Step
	// What says it for a person. Bytes is how much is written, about.
	What  string
	Bytes int64
}

// Plan is what an installation does.
type Plan struct {
	Disk    Disk
	Release Release
	Layout  Layout
	// Tasks are what is to be done, in order; none if the disk has all of it.
	Tasks []Task
	// Destroys is what is lost.
	Destroys []signature.Found
	// After is the step behind which an installation that was begun goes on; empty for a new one.
	After Step
	// digest tells plans apart.
	digest string
}

// behind is the step behind which an installation goes on whose last one is done. An encrypted state volume is made anew: what it was sealed to may be another by
// now (a TPM that was cleared, another machine, another passphrase), and the TPM gives out nothing in this boot by which that could be tried. Until the disk has
// started, which [Started] notes, the volume holds no more than what the request brings again.
func (req Request) behind(done Step) Step {
	if req.Encrypted && done.done(State) && done != Complete {
		return ESP
	}
	return done
}

// does says whether a step is still to be done.
func (p Plan) does(s Step) bool {
	return slices.ContainsFunc(p.Tasks, func(t Task) bool { return t.Step == s })
}

// Build makes the plan. It is pure. The error is ErrRequest, ErrDisk or ErrData.
func Build(req Request, disks []Disk, r Release, sizes Sizes) (Plan, error) {
	d, err := Choose(disks, req.Disk)
	if err != nil {
		return Plan{}, err
	}
	if err := d.usable(); err != nil {
		return Plan{}, err
	}
	p := Plan{Disk: d, Release: r, digest: digest(req, r, sizes)}
	guid := uuid.Nil
	if n := d.Note; n != nil && n.Plan == p.digest && d.goesOn(req.Wipe) {
		guid, p.After = n.ID, req.behind(n.Step)
	}
	if p.Layout, err = newLayout(d.SizeBytes, sizes, r, guid); err != nil {
		return Plan{}, err
	}
	if err := r.fits(sizes); err != nil {
		return Plan{}, err
	}
	if p.After == Complete {
		return p, nil
	}
	if err := d.giveUp(req.Wipe); err != nil {
		return Plan{}, err
	}
	p.Destroys = d.Contents
	for _, t := range tasks(req, d, r, sizes) {
		if p.After == "" || !p.After.done(t.Step) {
			p.Tasks = append(p.Tasks, t)
		}
	}
	return p, nil
}

// fits says whether the release has room in its partitions: a kernel image besides in two more copies, as an upgrade needs.
func (r Release) fits(sizes Sizes) error {
	for _, part := range []struct {
		what       string
		bytes, has int64
	}{
		{"root", r.RootBytes, sizes.Root},
		{"hash tree", r.VerityBytes, sizes.Verity},
		{"kernel image, three times,", 3 * r.KernelBytes, sizes.ESP - espSpareBytes},
	} {
		if part.bytes > part.has {
			return fmt.Errorf("%w: the %s of version %s has %d bytes, its partition room for %d", ErrDisk, part.what, r.Version, part.bytes, part.has)
		}
	}
	return nil
}

// digest is the same for requests that make the same disk.
func digest(req Request, r Release, sizes Sizes) string {
	data, err := json.Marshal(struct {
		Hash, Architecture string
		Kernel             int64
		Sizes              Sizes
		Configuration      []byte
	}{r.RootHash, r.Architecture, r.KernelBytes, sizes, req.Configuration})
	if err != nil {
		panic(fmt.Sprintf("install: encode digest: %v", err)) // strings and numbers only
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}

// tasks are all that a new installation does.
func tasks(req Request, d Disk, r Release, sizes Sizes) []Task {
	from := "the running release"
	if r.Pushed {
		from = "the release that was pushed"
	}
	clears := "overwrite both ends of the disk and of its partitions"
	if req.Wipe != "" {
		clears = "discard what is on the disk, and " + clears
	}
	state := "leave it blank: the node makes it when it has a configuration"
	switch {
	case req.Encrypted:
		state = fmt.Sprintf("make encrypted file system, which %s opens, with the configuration in it", cmp.Or(req.OpenedBy, "the TPM of this machine"))
	case req.Configuration != nil:
		state = "make file system, with the configuration in it"
	}
	return []Task{
		{Begun, "note the installation on " + d.Name, 0},
		{Clear, clears, clearBytes},
		{Root, fmt.Sprintf("copy the root of %s, version %s, and check it against %s", from, r.Version, r.RootHash), r.RootBytes},
		{Verity, "copy its hash tree", r.VerityBytes},
		{ESP, "make file system, with boot loader, boot entry and kernel image", r.KernelBytes},
		{State, state, sizes.State},
		{Table, "write the partition table: from now on the disk starts", 0},
		{Complete, "note that all is done", 0},
	}
}

// bytes is what is written in all.
func (p Plan) bytes() int64 {
	var n int64
	for _, t := range p.Tasks {
		n += t.Bytes
	}
	return n
}

// String prints the plan, for logs and tests.
func (p Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "install version %s on %s\n", p.Release.Version, p.Disk)
	if len(p.Destroys) > 0 {
		fmt.Fprintf(&b, "destroys: %s\n", signature.Names(p.Destroys))
	}
	if p.After != "" {
		fmt.Fprintf(&b, "goes on behind: %s\n", p.After)
	}
	for i, part := range p.Layout.Partitions {
		fmt.Fprintf(&b, "partition %d: %s, %d MiB at %d MiB\n", i+1, part.Name, part.Bytes/mib, part.Start/mib)
	}
	for _, t := range p.Tasks {
		fmt.Fprintf(&b, "%s: %s\n", t.Step, t.What)
	}
	return b.String()
}
