package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Keep is how many boots the ledger holds.
const Keep = 50

// End is how a boot ended.
type End string

// The ends of a boot.
const (
	Running End = "running"
	Clean   End = "clean"
	Unclean End = "unclean"
)

// Boot is one entry.
type Boot struct {
	// ID is the kernel's boot_id, or stands for it; see KernelID.
	ID        string    `json:"id"`
	StartedAt time.Time `json:"startedAt"`
	Version   string    `json:"version,omitempty"`
	RootHash  string    `json:"rootHash,omitempty"`
	Slot      string    `json:"slot,omitempty"`
	End       End       `json:"end"`
	// Reason is what an ordered shutdown was for, or what is known of another end, for a person.
	Reason string `json:"reason,omitempty"`
	// LastSeen is when the entry was last written by its own boot.
	LastSeen   time.Time   `json:"lastSeen"`
	Milestones []Milestone `json:"milestones,omitempty"`
}

// lost begins the ID of a boot that left no entry of its own; the ID of the boot after it follows.
const lost = "before "

// KernelID is the kernel's boot_id, empty for a boot that left no entry of its own.
func (b Boot) KernelID() string {
	if strings.HasPrefix(b.ID, lost) {
		return ""
	}
	return b.ID
}

// Milestone is a point of the boot, by the time since the kernel's start (CLOCK_BOOTTIME).
type Milestone struct {
	Name  string        `json:"name"`
	Since time.Duration `json:"since"`
}

// Ledger is the history of boots in one file. Its methods may be called concurrently.
type Ledger struct {
	path string
	now  func() time.Time

	mu    sync.Mutex
	boots []Boot
}

// Open reads the ledger; a file that does not exist is an empty one. The number of lines that could not be read is returned for a log.
func Open(path string, now func() time.Time) (l *Ledger, dropped int, err error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("read boot ledger: %w", err)
	}
	boots, dropped := parse(data)
	return &Ledger{path: path, now: now, boots: boots}, dropped, nil
}

// parse reads as many entries as it can.
func parse(data []byte) (boots []Boot, dropped int) {
	for line := range bytes.Lines(data) {
		var b Boot
		if err := json.Unmarshal(line, &b); err != nil || b.ID == "" {
			dropped++
			continue
		}
		boots = append(boots, b)
	}
	return boots, dropped
}

// Begin adds the entry of the running boot, unless it is there already because an earlier agent of this boot added it. The end of the boot
// before is set by whether it left the file systems clean.
func (l *Ledger) Begin(boot Boot, previousClean bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.index(boot.ID) >= 0 {
		return nil
	}
	boots := slices.Clone(l.boots)
	for i := range boots {
		if boots[i].End != Running {
			continue
		}
		// Only the last entry can be of the boot before; an older one without an end lost its successor.
		boots[i].End = Unclean
		if i == len(boots)-1 && previousClean {
			boots[i].End = Clean
		}
	}
	boot.End, boot.LastSeen = Running, l.now()
	return l.store(append(boots, boot))
}

// Note sets the reason for the end of a boot. One that left no entry, whose ID may be empty, gets one, made of what b knows and placed before
// the running boot's. Noting the same again changes nothing.
func (l *Ledger) Note(running string, b Boot) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b.ID == "" {
		b.ID = lost + running
	}
	boots := slices.Clone(l.boots)
	switch i := l.index(b.ID); {
	case i < 0:
		b.End = Unclean
		at := l.index(running)
		if at < 0 {
			at = len(boots)
		}
		boots = slices.Insert(boots, at, b)
	case boots[i].Reason == b.Reason:
		return nil
	default:
		boots[i].Reason = b.Reason
	}
	return l.store(boots)
}

// Reached sets the milestones of a boot to those given, which include the earlier ones. It writes only if there is a change.
func (l *Ledger) Reached(id string, milestones []Milestone) error {
	return l.change(id, func(b *Boot) bool {
		if slices.Equal(b.Milestones, milestones) {
			return false
		}
		b.Milestones = slices.Clone(milestones)
		return true
	})
}

// Ending notes why the running boot is about to end.
func (l *Ledger) Ending(id, reason string) error {
	return l.change(id, func(b *Boot) bool {
		b.Reason = reason
		return true
	})
}

// Boots returns the entries, oldest first.
func (l *Ledger) Boots() []Boot {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.boots)
}

func (l *Ledger) index(id string) int {
	return slices.IndexFunc(l.boots, func(b Boot) bool { return b.ID == id })
}

// change applies do to a copy of the entry; false from it means that nothing is to be written.
func (l *Ledger) change(id string, do func(*Boot) bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := l.index(id)
	if i < 0 {
		return fmt.Errorf("change boot ledger: no entry for boot %s", id)
	}
	boots := slices.Clone(l.boots)
	if !do(&boots[i]) {
		return nil
	}
	boots[i].LastSeen = l.now()
	return l.store(boots)
}

// store writes the newest entries and, if that worked, keeps them.
func (l *Ledger) store(boots []Boot) error {
	if len(boots) > Keep {
		boots = boots[len(boots)-Keep:]
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, boot := range boots {
		if err := enc.Encode(boot); err != nil {
			return fmt.Errorf("encode boot ledger: %w", err)
		}
	}
	if err := ReplaceFile(l.path, b.Bytes(), 0o600); err != nil {
		return fmt.Errorf("write boot ledger: %w", err)
	}
	l.boots = boots
	return nil
}

// ReplaceFile puts data in the place of a file so that after a power cut either the old or the new content is there: it writes beside it,
// syncs, renames, and syncs the directory. What it writes beside has one name, so that what a power cut left there is gone with the next call. Callers
// see to it that there is one at a time for a file.
func ReplaceFile(path string, data []byte, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	beside := filepath.Join(dir, "."+filepath.Base(path)+".new")
	if err := os.Remove(beside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(beside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
