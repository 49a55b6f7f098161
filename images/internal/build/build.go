package build

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cyvive/cyvive/images/internal/cache"
	"github.com/cyvive/cyvive/images/internal/lock"
	"github.com/cyvive/cyvive/images/internal/mirror"
	"github.com/cyvive/cyvive/images/internal/sandbox"
	"github.com/cyvive/cyvive/images/internal/step"
	"github.com/cyvive/cyvive/images/internal/tree"
)

// Options say what to build.
type Options struct {
	// Arch is the Debian and Go name of the image's architecture.
	Arch string
	// Out is the directory that gets <arch>/ with the image's files.
	Out string
	// Bin is the directory that gets programs for the build machine.
	Bin string
	// Images is the images directory of the repository; the agent's module
	// is the directory above it.
	Images string
	// Until names the last step to run; empty means all of them.
	Until string
	// Replace maps a program's name to a file that stands in for it.
	Replace map[string]string
	// Keys is the file of the public keys whose releases a node of this image
	// takes. The steps from root on need it.
	Keys string
	// Owner is the file of the public key of whoever may configure nodes of this
	// image that have no configuration; empty names nobody.
	Owner string
	// PolicyKeys is the file of the public keys whose signatures open disks that
	// are sealed to a TPM. Without it, nodes of the image seal nothing.
	PolicyKeys string
	// ModuleSignatures is the directory with signatures of the kernel modules that
	// are compiled here, by which they load with Secure Boot on, and with the signed
	// boot loader. Empty is for modules and a boot loader without.
	ModuleSignatures string
	// ExtensionKeys is the file of the public keys of whoever may sign extensions
	// for nodes of the image, besides those of Keys; empty names nobody.
	ExtensionKeys string
	// Microcode names whose processors the kernel image has microcode for: amd,
	// intel. It is for amd64 only.
	Microcode []string
	Variant
	// Progress gets one line for each step's start and end.
	Progress io.Writer
}

type builder struct {
	Options
	pins    *lock.Pins
	lock    *lock.Lock
	cache   *cache.Cache
	run     *step.Runner
	version string
	floor   string // oldest version that a node may be taken to
	keys    []byte // release-keys.pem
	owner   []byte // owner.pem; nil if there is to be none
	// policyKeys is policy-keys.pem; it may be empty
	policyKeys []byte
	// extensionKeys is extension-keys.pem; nil if there is to be none
	extensionKeys []byte
	current       string // name of the step that runs
	results       results
}

// results are the steps' outputs, each set by its step and read by later ones.
type results struct {
	kernel     string              // directory: vmlinuz, modules/
	tree       sandbox.Tree        // the throw-away Debian tree
	zfs        string              // directory: zfs.ko, spl.ko
	modules    string              // directory: what goes to /usr/lib/modules/<release>
	firmware   string              // archive: firmware and its copyright files
	microcode  string              // directory: early.cpio, licenses.tar; empty if the architecture has none
	programs   map[string]string   // file of each program by its name
	components []component         // what release.json lists
	packages   []lock.Package      // those of Debian of which something is in the image
	licenses   map[string][]string // of packages that hold more than is taken, by name
	sbom       []byte              // sbom.spdx.json
	userland   string              // archive of the C programs
	bundle     string              // directory: <program>.tar
	// definitions are those of custom resources, as JSON, by the names of their files.
	definitions map[string][]byte
	initramfs   string
	layout      *tree.Tree // what is in the root
	root        string     // root.erofs
	verity      string     // root.verity
	rootHash    string     // 64 hex digits
	uki         []byte
}

// Run builds the image.
func Run(ctx context.Context, o Options) error {
	b, err := newBuilder(o)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(b.steps(), func(s namedStep) bool { return o.Until == "" || s.name == o.Until }) {
		return fmt.Errorf("build until %q: there is no such step", o.Until)
	}
	if b.reaches("root") {
		if b.keys, err = readKeys(o.Keys); err != nil {
			return err
		}
		if b.owner, err = readOwner(o.Owner); err != nil {
			return err
		}
		if b.policyKeys, err = readPolicyKeys(o.PolicyKeys); err != nil {
			return err
		}
		if b.extensionKeys, err = readExtensionKeys(o.ExtensionKeys); err != nil {
			return err
		}
	}
	return b.runSteps(ctx)
}

func (b *builder) runSteps(ctx context.Context) error {
	for _, s := range b.steps() {
		b.current = s.name
		if err := s.run(ctx); err != nil {
			return err
		}
		if s.name == b.Until {
			return nil
		}
	}
	return nil
}

type namedStep struct {
	name string
	run  func(context.Context) error
}

func (b *builder) steps() []namedStep {
	return []namedStep{
		{"fetch", b.fetch},
		{"kernel", b.kernel},
		{"tree", b.tree},
		{"zfs", b.zfs},
		{"modules", b.modules},
		{"firmware", b.firmware},
		{"microcode", b.microcode},
		{"userland", b.userland},
		{"programs", b.programs},
		{"initramfs", b.initramfs},
		{"bundle", b.bundle},
		{"sbom", b.sbom},
		{"root", b.root},
		{"transport", b.transport},
		{"verity", b.verity},
		{"uki", b.uki},
		{"disk", b.disk},
		{"report", b.report},
	}
}

// reaches reports whether a build goes as far as the named step.
func (b *builder) reaches(name string) bool {
	for _, s := range b.steps() {
		if s.name == name {
			return true
		}
		if s.name == b.Until {
			break
		}
	}
	return false
}

func newBuilder(o Options) (*builder, error) {
	l, err := lock.Load(filepath.Join(o.Images, "lock.json"))
	if err != nil {
		return nil, err
	}
	pins := l.Architectures[o.Arch]
	if pins == nil {
		return nil, fmt.Errorf("build for %s: the lock file has no pins for it", o.Arch)
	}
	version, floor, err := versions(o)
	if err != nil {
		return nil, err
	}
	c, err := cache.Open()
	if err != nil {
		return nil, err
	}
	c.Aside = o.Aside
	b := &builder{Options: o, lock: l, pins: pins, cache: c, version: version, floor: floor}
	b.results.programs, b.results.licenses = map[string]string{}, map[string][]string{}
	b.run = &step.Runner{Cache: c, Out: o.Progress, Now: time.Now, Repeat: b.repeat}
	return b, os.MkdirAll(b.out(""), 0o755)
}

// repeat is the command that runs the build again up to the present step; the
// steps before it come from the cache.
func (b *builder) repeat() string {
	out := b.Out
	if abs, err := filepath.Abs(out); err == nil {
		out = abs
	}
	if b.current == "baseline" {
		return fmt.Sprintf("go -C %s run ./cmd/mkimage baseline --arch %s --out %s", b.Images, b.Arch, out)
	}
	if b.current == "extension" {
		return fmt.Sprintf("go -C %s run ./cmd/mkimage extension --arch %s", b.Images, b.Arch)
	}
	words := []string{"go", "-C", b.Images, "run", "./cmd/mkimage", "build", "--arch", b.Arch, "--out", out, "--until", b.current}
	if b.Keys != "" {
		words = append(words, "--keys", b.Keys)
	}
	if b.Owner != "" {
		words = append(words, "--owner", b.Owner)
	}
	if b.PolicyKeys != "" {
		words = append(words, "--policy-keys", b.PolicyKeys)
	}
	if b.ModuleSignatures != "" {
		words = append(words, "--module-signatures", b.ModuleSignatures)
	}
	if b.ExtensionKeys != "" {
		words = append(words, "--extension-keys", b.ExtensionKeys)
	}
	words = append(words, "--microcode="+strings.Join(b.Microcode, ","))
	return strings.Join(append(words, b.Variant.flags()...), " ")
}

// out is the path of a file among the image's files.
func (b *builder) out(name string) string { return filepath.Join(b.Out, b.Arch, name) }

// epoch is the time that all files of the image carry.
func (b *builder) epoch() time.Time { return time.Unix(b.lock.Epoch, 0).UTC() }

// client returns the machine's mirror.
func client() (*mirror.Client, error) {
	a, err := mirror.Find("/", os.Getenv)
	if err != nil {
		return nil, err
	}
	return &mirror.Client{Addresses: a, HTTP: http.DefaultClient}, nil
}
