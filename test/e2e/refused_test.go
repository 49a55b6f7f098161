package e2e

import (
	"crypto/ed25519"
	"crypto/rand"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/hack/release/bundle"
	"github.com/cyvive/cyvive/hack/release/releasetest"
	"github.com/cyvive/cyvive/hack/release/variant"
	"github.com/cyvive/cyvive/internal/release"
)

// The words of the four kinds of refusals (internal/release).
const (
	malformed = `not a whole release`
	altered   = `altered after it was signed`
	untrusted = `not signed by a key that this node trusts`
	unwanted  = `not a release for this node`
)

// refusal is a release that the node must not take, and what it says.
type refusal struct {
	name string
	// make writes it to a file.
	make func(t *testing.T, u *upgrades, path string)
	says string
}

// refusals are made of the good release: damaged, of another's, or not for this node. internal/machined/upgrade has the same as a unit test.
func refusals() []refusal {
	return []refusal{
		{"truncated in the envelope", truncated(envelopeFile, 100), malformed},
		{"truncated in the kernel", truncated(release.Kernel, 12345), malformed},
		{"truncated in the tree", truncated(release.Verity, 12345), malformed},
		{"truncated before the last byte", truncated(release.Root, -1), malformed},
		// What the bit makes of the text decides which of the two it is.
		{"bit of the envelope", flipped(envelopeFile), malformed + "|" + untrusted},
		{"bit of the kernel", flipped(release.Kernel), altered},
		{"bit of the tree", flipped(release.Verity), altered},
		{"bit of the root", flipped(release.Root), altered},
		{"swapped parts", assembled(nil, same, release.Verity, release.Kernel, release.Root), malformed},
		{"wrong size", assembled(func(m *release.Manifest) { m.Files[0].Bytes++ }, same, release.Kernel, release.Verity, release.Root), altered},
		{"wrong architecture", assembled(otherArchitecture, same, release.Kernel, release.Verity, release.Root), unwanted},
		{"older than the floor", assembled(func(m *release.Manifest) { m.Version = "0.0.9" }, same, release.Kernel, release.Verity, release.Root), unwanted},
		{"larger than the slot", assembled(func(m *release.Manifest) { m.RootBytes = 1<<30 + 1 }, same, release.Kernel, release.Verity, release.Root), unwanted},
		{"unsigned", assembled(nil, withoutSignature, release.Kernel, release.Verity, release.Root), untrusted},
		{"unknown key", assembled(nil, byAnother, release.Kernel, release.Verity, release.Root), untrusted},
	}
}

// writeBack is how long a node keeps what it has written to a file in its memory at most (vm.dirty_expire_centisecs and the interval of the writer,
// Documentation/admin-guide/sysctl/vm.rst), and a little more.
const writeBack = 40 * time.Second

// testRefused pushes them all, downgrades being allowed. Slots, partition table and boot entries are looked at from outside of the machine.
func testRefused(t *testing.T, u *upgrades) {
	ctx := testContext(t, 45*time.Minute)
	boot, before := currentBoot(t, ctx, u.suite), u.system(t, ctx)
	all := refusals()
	if len(all) < 12 {
		t.Fatalf("%d kinds, want twelve at least", len(all))
	}
	for _, r := range all {
		t.Run(r.name, func(t *testing.T) {
			path := filepath.Join(u.Dir(), "bad.cyvive")
			defer os.Remove(path)
			r.make(t, u, path)
			_, err := u.Tools().Nodectl(ctx, "upgrade", "--image", path, "--allow-downgrade")
			if err == nil || !regexp.MustCompile(r.says).MatchString(err.Error()) {
				t.Errorf("got %v, want a refusal with %q", err, r.says)
			}
			status, err := u.upgradeStatus(ctx)
			if err != nil || status.Stage != "STAGE_IDLE" || status.Last.Target.Version != "" {
				t.Errorf("upgrade status: %+v, %v; want idle, and no upgrade before", status, err)
			}
		})
	}
	time.Sleep(writeBack)
	if d := cmp.Diff(before, u.system(t, ctx)); d != "" {
		t.Errorf("the disk changed (-before +after):\n%s", d)
	}
	if got := currentBoot(t, ctx, u.suite); got != boot {
		t.Errorf("boot %s runs, want %s still", got, boot)
	}
}

// readAsNode opens a release as a node does that runs the image's version, and takes all of it.
func readAsNode(path string, keys []ed25519.PublicKey, node release.Node) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := release.Open(f, keys)
	if err != nil {
		return err
	}
	if err := b.Manifest.Check(node, true); err != nil {
		return err
	}
	return b.Extract(func(release.File) (io.WriteCloser, error) { return discard{io.Discard}, nil })
}

type discard struct{ io.Writer }

func (discard) Close() error { return nil }

// TestRefusals holds what is pushed to a node against the package that reads it there, without a node: each is bad in the way that its name says, and
// the good one that it was made of is not.
func TestRefusals(t *testing.T) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	u := &upgrades{releases: &releases{Builder: variant.Signer(t.TempDir(), bundle.Keys{Release: key})}}
	u.good = releasetest.Folder(t, nil)
	u.file = u.sign(t, u.good, "good")
	node := release.Node{
		Version: "0.1.0", Architecture: "amd64", RootHash: "other", Floor: "0.1.0",
		SlotBytes: 1 << 30, VerityBytes: 16 << 20, KernelBytes: 168 << 20,
	}
	keys := []ed25519.PublicKey{public}
	if err := readAsNode(u.file, keys, node); err != nil {
		t.Fatalf("the good release: %v", err)
	}
	for _, r := range refusals() {
		path := filepath.Join(u.Dir(), "bad")
		r.make(t, u, path)
		if err := readAsNode(path, keys, node); err == nil || !regexp.MustCompile(r.says).MatchString(err.Error()) {
			t.Errorf("%s: got %v, want %q", r.name, err, r.says)
		}
	}
}
