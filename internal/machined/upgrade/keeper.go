package upgrade

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	"github.com/cyvive/cyvive/internal/machined/ledger"
	"github.com/cyvive/cyvive/internal/release"
)

// Slots are the two places of a system on the disk.
type Slots interface {
	// Slot tells of one of them.
	Slot(ctx context.Context, name string) (Slot, error)
	// Write writes a root and its tree into a slot, under the names that belong to the root hash.
	Write(ctx context.Context, name, rootHash string, root, tree io.Reader) error
}

// Slot is one place. The root hash is that of its partitions' names, whatever they hold.
type Slot struct {
	RootHash               string
	RootBytes, VerityBytes int64
}

// Entries are the boot loader's.
type Entries interface {
	Read() (map[string]Entry, error)
	// Put makes an entry that is tried before all others, for a new kernel image or, where that is nil, the slot's own.
	Put(slot, version string, tries int, kernel io.Reader) error
	// Kernel has read look at a slot's kernel image, as long as it runs.
	Kernel(slot string, read func(kernel *io.SectionReader) error) error
	Bless(slot string) error
	Spoil(slot string) error
	Forget(slot string) error
}

// Entry is what the boot loader has for a slot.
type Entry struct {
	// Version is empty where the slot has no entry.
	Version string
	// Counted says that it has a counter still, Untried that the boot loader has not counted a start with it.
	Counted, Untried bool
	// KernelBytes is how large the slot's kernel image can be.
	KernelBytes int64
}

// Config is what a Keeper is made of. All fields are needed but Crash, Floor, FreeBytes, Opens, Starts, Suits, Gates and Changed.
type Config struct {
	Log *slog.Logger
	Now func() time.Time
	// Record is the file of the record, on the state volume. Pushed is the directory for a release that was pushed, on the data volume; its
	// parent exists when that is mounted.
	Record, Pushed string
	// FreeBytes is what the file system of a directory has left for it; nil is enough.
	FreeBytes func(dir string) (int64, error)
	// Boot is the kernel's boot_id, SinceBoot the time since the kernel's start, Crash what is known of a bad end of the boot before.
	Boot      string
	SinceBoot func() time.Duration
	Crash     string
	Running   System
	// Architecture and Floor are those of the running release, Keys the ones that it trusts.
	Architecture, Floor string
	Keys                []ed25519.PublicKey
	Slots               Slots
	Entries             Entries
	// Opens says whether a kernel image, once it runs, opens what is encrypted on this node; nil is for a node on which nothing is.
	Opens func(kernel io.ReaderAt) error
	// Starts says whether the machine's firmware would start a kernel image; nil is for firmware that starts any.
	Starts func(kernel *io.SectionReader) error
	// Suits says whether the extensions that the next boot is to have are there for a kernel image and its version of the operating system; nil is for a
	// node that has none.
	Suits func(kernel io.ReaderAt, version string) error
	// Gates looks at the gates again once a slot is written, which takes long; nil leaves it at how they were before.
	Gates func(ctx context.Context) []Gate
	// Note writes the reason for the end of a boot into the ledger. An empty boot had no entry: it is made.
	Note func(boot string, s System, text string) error
	// Reboot starts the ordered end of this boot.
	Reboot func(ctx context.Context, reason string) error
	// Changed is called after each change of the status; nil tells nobody.
	Changed func()
}

// Keeper holds the record of a node and does what it says. Its methods may be called concurrently.
type Keeper struct {
	cfg Config
	// pushing is held by who writes or reads what was pushed, work by who changes the record and what is in a slot; who needs both takes pushing first. A push does not
	// hold work while it receives: that waits for the caller and for the data volume, whose pool may be suspended, and the way back does not need it.
	pushing, work sync.Mutex

	mu     sync.Mutex
	record Record
	// blessed says that this boot has taken the counter off its entry, whether or not the record could be stored after it.
	blessed bool
	// other is what the other slot holds, written what is in it of a release that is being written.
	other   System
	written Written
	changed chan struct{}
}

// Status is what a Keeper knows.
type Status struct {
	Record  Record
	Running System
	// Other is what the other slot holds, the zero System if nothing that can be started.
	Other System
	// Written is how far a release is that is being written.
	Written Written
}

// Open reads the record and does what the start of this boot asks for.
func Open(ctx context.Context, cfg Config) (*Keeper, error) {
	k := &Keeper{cfg: cfg, changed: make(chan struct{})}
	if err := readJSON(cfg.Record, &k.record); err != nil {
		cfg.Log.Error("the record of upgrades cannot be read; a new one is begun", "error", err)
		k.record = Record{}
	}
	entries, err := cfg.Entries.Read()
	if err != nil {
		return nil, err
	}
	if err := k.lookAtOther(ctx); err != nil {
		return nil, err
	}
	next, actions := k.record.Started(Start{
		Boot: cfg.Boot, Running: cfg.Running, Other: k.other, Counted: entries[cfg.Running.Slot].Counted,
		Untried: entries[k.record.Target.Slot].Untried, Crash: cfg.Crash,
	}, cfg.Now())
	return k, k.become(ctx, next, actions)
}

// lookAtOther finds out what the other slot holds.
func (k *Keeper) lookAtOther(ctx context.Context) error {
	name := other(k.cfg.Running.Slot)
	entries, err := k.cfg.Entries.Read()
	if err != nil {
		return err
	}
	var found System
	if e := entries[name]; e.Version != "" {
		slot, err := k.cfg.Slots.Slot(ctx, name)
		if err != nil {
			return err
		}
		found = System{Version: e.Version, RootHash: slot.RootHash, Slot: name}
	}
	k.change(func() { k.other = found })
	return nil
}

// other is the slot that does not run.
func other(slot string) string {
	if slot == "a" {
		return "b"
	}
	return "a"
}

// become does the actions, stores the record, and only then starts the machine again, if that is among them. Actions that fail leave the record as
// it was, so that they are asked for again.
func (k *Keeper) become(ctx context.Context, next Record, actions []Action) error {
	var reboot *Action
	for _, a := range actions {
		k.cfg.Log.Info("upgrade", "do", string(a.Do), "slot", a.Slot, "text", a.Text)
		var err error
		switch a.Do {
		case Bless:
			if err = k.cfg.Entries.Bless(a.Slot); err == nil {
				k.change(func() { k.blessed = true })
			}
		case Spoil:
			err = k.cfg.Entries.Spoil(a.Slot)
		case Forget:
			err = k.cfg.Entries.Forget(a.Slot)
		case Note:
			err = k.cfg.Note(a.Boot, a.System, a.Text)
		case Reboot:
			reboot = &a
		}
		if err != nil {
			return fmt.Errorf("upgrade: %s: %w", a.Do, err)
		}
	}
	if err := k.store(next); err != nil {
		return err
	}
	if reboot != nil {
		return k.cfg.Reboot(ctx, reboot.Text)
	}
	return nil
}

func (k *Keeper) store(next Record) error {
	k.mu.Lock()
	same := reflect.DeepEqual(k.record, next)
	k.mu.Unlock()
	if same {
		return nil
	}
	if err := writeJSON(k.cfg.Record, next); err != nil {
		return err
	}
	k.change(func() { k.record = next })
	return nil
}

// change changes the status and tells of it.
func (k *Keeper) change(do func()) {
	k.mu.Lock()
	do()
	close(k.changed)
	k.changed = make(chan struct{})
	k.mu.Unlock()
	if k.cfg.Changed != nil {
		k.cfg.Changed()
	}
}

// Status returns what is known, and a channel that is closed when that changes.
func (k *Keeper) Status() (Status, <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return Status{Record: k.record, Running: k.cfg.Running, Other: k.other, Written: k.written}, k.changed
}

// Blessed says that this boot has blessed the running release. The record may be behind it, where the disk took nothing more.
func (k *Keeper) Blessed() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.blessed
}

// Look takes the gates, and the deadline of a trial. It returns when to call it again at the latest; zero is never.
func (k *Keeper) Look(ctx context.Context, gates []Gate, deadline time.Duration) (time.Duration, error) {
	s, _ := k.Status()
	if s.Record.Stage != Trial {
		return 0, nil // another method may be changing the record
	}
	if k.Blessed() { // and only the record does not know it: what the gates say by now is no matter of a trial
		return 0, k.store(s.Record.ended(true, "", k.cfg.Now()))
	}
	next, actions, again := s.Record.Look(gates, k.cfg.Now(), k.cfg.SinceBoot(), deadline)
	return again, k.become(ctx, next, actions)
}

// Cancel gives up an upgrade that waits for the reboot, or one that failed and could not be given up then.
func (k *Keeper) Cancel(ctx context.Context) error {
	if !k.work.TryLock() {
		return fmt.Errorf("cancel: %w: an installation is at work", ErrBusy)
	}
	defer k.work.Unlock()
	s, _ := k.Status()
	if s.Record.Stage == Writing {
		return k.giveUpLeft(ctx)
	}
	next, actions, err := s.Record.Cancel(k.cfg.Now())
	if err != nil {
		return err
	}
	return k.become(ctx, next, actions)
}

func readJSON(path string, to any) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, to); err != nil {
		return fmt.Errorf("parse %s: %w", filepath.Base(path), err)
	}
	return nil
}

func writeJSON(path string, from any) error {
	data, err := json.MarshalIndent(from, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", filepath.Base(path), err)
	}
	return ledger.ReplaceFile(path, append(data, '\n'), 0o600)
}

// node is what a release is held against.
func (k *Keeper) node(ctx context.Context) (release.Node, error) {
	name := other(k.cfg.Running.Slot)
	slot, err := k.cfg.Slots.Slot(ctx, name)
	if err != nil {
		return release.Node{}, err
	}
	entries, err := k.cfg.Entries.Read()
	if err != nil {
		return release.Node{}, err
	}
	return release.Node{
		Version: k.cfg.Running.Version, Architecture: k.cfg.Architecture, RootHash: k.cfg.Running.RootHash, Floor: k.cfg.Floor,
		SlotBytes: slot.RootBytes, VerityBytes: slot.VerityBytes, KernelBytes: entries[name].KernelBytes,
	}, nil
}
