package keeper

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/cyvive/cyvive/internal/extension"
	"github.com/cyvive/cyvive/internal/release"
)

// Errors of extensions that are pushed or removed.
var (
	ErrNoRoom   = errors.New("no room for an extension")
	ErrBusy     = errors.New("another extension is being pushed")
	ErrThere    = errors.New("another build of it is there")
	ErrInUse    = errors.New("it is in use")
	ErrNotFound = errors.New("there is no such extension")
	// ErrMissing is for a release.
	ErrMissing = errors.New("extensions of the configuration are not there for it")
)

// Config is what a Keeper is made of. All fields are needed but FreeBytes.
type Config struct {
	Log *slog.Logger
	// Dir is where extensions lie, on the data volume. It exists when that is mounted.
	Dir string
	// Keys are those of whoever may sign extensions for this node.
	Keys []ed25519.PublicKey
	Node extension.Node
	// FreeBytes is what the file system of a directory has left for it; nil is enough.
	FreeBytes func(dir string) (int64, error)
	Kernel    Kernel
}

// Keeper has the extensions of a node. Its methods may be called concurrently.
type Keeper struct {
	cfg Config
	// pushing is held while an extension comes, which takes as long as who sends it does; work for what changes the list of those that are there, or
	// puts them to use, and not while somebody is waited for.
	pushing, work sync.Mutex
	// removeAll is os.RemoveAll, but for tests.
	removeAll func(path string) error
}

// New returns a keeper that has not looked at the disk yet.
func New(cfg Config) *Keeper { return &Keeper{cfg: cfg, removeAll: os.RemoveAll} }

// Stored is an extension on the disk.
type Stored struct {
	// Dir is the name of its directory.
	Dir string
	// Manifest is the zero Manifest where it cannot be used; Problem then says why.
	Manifest extension.Manifest
	Problem  string
	// Fits is why it cannot be used on the running system; nil if it can.
	Fits error
}

// maxStored bounds how many builds a node keeps: more than that is no use of it.
const maxStored = 64

// maxEnvelopeBytes is what is read of an envelope on the disk: that of one that was pushed has less.
const maxEnvelopeBytes = 2 * release.MaxManifestBytes

// dirName is the directory of a build. None of its parts has a comma or a slash in it.
func dirName(m extension.Manifest) string {
	return strings.Join([]string{m.Name, m.Version, m.Kernel}, ",")
}

// List returns what is on the disk, sorted by the names of the directories. It is empty where the data volume is not there.
func (k *Keeper) List() ([]Stored, error) {
	entries, err := os.ReadDir(k.cfg.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list extensions: %w", err)
	}
	var out []Stored
	for _, e := range entries {
		if !e.IsDir() || e.Name() == pushDir || e.Name() == goneDir {
			continue
		}
		s := Stored{Dir: e.Name()}
		m, err := k.manifest(e.Name())
		if err != nil {
			s.Problem = err.Error()
		} else {
			s.Manifest, s.Fits = m, m.Fits(k.cfg.Node)
		}
		out = append(out, s)
	}
	return out, nil
}

// manifest reads and verifies the manifest of a directory, whose name it must have.
func (k *Keeper) manifest(dir string) (extension.Manifest, error) {
	f, err := os.Open(filepath.Join(k.cfg.Dir, dir, extension.Envelope))
	if errors.Is(err, fs.ErrNotExist) {
		return extension.Manifest{}, errors.New("it was not pushed whole")
	}
	if err != nil {
		return extension.Manifest{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxEnvelopeBytes+1))
	if err != nil {
		return extension.Manifest{}, err
	}
	if len(data) > maxEnvelopeBytes {
		return extension.Manifest{}, fmt.Errorf("%w: its manifest has more than %d bytes", extension.ErrMalformed, maxEnvelopeBytes)
	}
	m, err := extension.Verify(data, k.cfg.Keys)
	if err != nil {
		return extension.Manifest{}, err
	}
	if name := dirName(m); name != dir {
		return extension.Manifest{}, fmt.Errorf("it is %s, and lies where another belongs", m)
	}
	return m, nil
}

// Suits says whether all extensions that are wanted are there for a release that is to run on this node. The error is ErrMissing and names each
// that is not.
func (k *Keeper) Suits(wanted []extension.Name, node extension.Node) error {
	if len(wanted) == 0 {
		return nil
	}
	stored, err := k.List()
	if err != nil {
		return err
	}
	var missing []string
	for _, name := range wanted {
		if _, err := choose(stored, name, node); err != nil {
			missing = append(missing, err.Error())
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w: %s", ErrMissing, strings.Join(missing, "; "))
	}
	return nil
}

// choose returns the build of an extension that fits a node.
func choose(stored []Stored, name extension.Name, node extension.Node) (Stored, error) {
	var reasons []string
	for _, s := range stored {
		of, _, _ := strings.Cut(strings.TrimPrefix(s.Dir, name.Name+","), ",")
		switch {
		case !strings.HasPrefix(s.Dir, name.Name+",") || of != name.Version:
			continue
		case s.Problem != "":
			reasons = append(reasons, s.Problem)
			continue
		}
		err := s.Manifest.Fits(node)
		if err == nil {
			return s, nil
		}
		reasons = append(reasons, err.Error())
	}
	if reasons == nil {
		return Stored{}, fmt.Errorf("%s is not on the node; push it", name)
	}
	return Stored{}, fmt.Errorf("%s: %s", name, strings.Join(reasons, "; "))
}

// uses says whether files of a directory are part of the running system. The kernel is asked: the agent before may have put them to use, and by a
// configuration that is no more.
func (k *Keeper) uses(dir string) (bool, error) {
	open, err := k.cfg.Kernel.Open()
	if err != nil {
		return false, err
	}
	below := filepath.Join(k.cfg.Dir, dir) + "/"
	return slices.ContainsFunc(open, func(file string) bool { return strings.HasPrefix(file, below) }), nil
}
