package loader

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Loader changes the entries of one EFI system partition. Its methods may be called concurrently.
type Loader struct {
	open func() (Volume, error)
	mu   sync.Mutex
}

// Volume is the EFI system partition while it is mounted.
type Volume struct {
	// Dir is where.
	Dir string
	// FreeBytes is what it has left.
	FreeBytes int64
	// Close puts everything on the disk and unmounts it.
	Close func() error
}

// New returns a Loader of the volume that open mounts. It is mounted only while a method runs: a FAT file system that is in use when the power fails
// counts as dirty.
func New(open func() (Volume, error)) *Loader { return &Loader{open: open} }

// with runs do on the mounted volume.
func (l *Loader) with(what string, do func(Volume) error) (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v, err := l.open()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := errors.Join(do(v), v.Close()); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// State is what the volume holds.
type State struct {
	// Entries are one for each slot that has one, the boot loader's first choice first.
	Entries []Entry
	// KernelBytes is how large a kernel image for a slot can be, by slot: what is free, and what the slot's present one takes.
	KernelBytes map[string]int64
}

// Entry returns the entry of a slot.
func (s State) Entry(slot string) (Entry, bool) {
	i := slices.IndexFunc(s.Entries, func(e Entry) bool { return e.Slot == slot })
	if i < 0 {
		return Entry{}, false
	}
	return s.Entries[i], true
}

// Read returns what the volume holds.
func (l *Loader) Read() (State, error) {
	s := State{KernelBytes: map[string]int64{}}
	err := l.with("read boot entries", func(v Volume) error {
		all, err := readAll(v.Dir)
		if err != nil {
			return err
		}
		s.Entries = onePerSlot(all)
		for _, slot := range []string{"a", "b"} {
			s.KernelBytes[slot] = max(v.FreeBytes-reserveBytes, 0)
			if info, err := os.Stat(filepath.Join(v.Dir, kernelPath(slot))); err == nil {
				s.KernelBytes[slot] += info.Size()
			}
		}
		return nil
	})
	return s, err
}

// Files hands out the folder of the volume while use runs. Nothing changes in it meanwhile.
func (l *Loader) Files(use func(dir string) error) error {
	return l.with("read boot partition", func(v Volume) error { return use(v.Dir) })
}

// ReadKernel has read look at the kernel image of a slot, as long as it runs.
func (l *Loader) ReadKernel(slot string, read func(*io.SectionReader) error) error {
	return l.with("read kernel image of slot "+slot, func(v Volume) error {
		f, err := os.Open(filepath.Join(v.Dir, kernelPath(slot)))
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		return read(io.NewSectionReader(f, 0, info.Size()))
	})
}

// reserveBytes are kept free for entries and directories.
const reserveBytes = 1 << 20

func entriesDir(dir string) string { return filepath.Join(dir, "loader/entries") }

// readAll returns the node's entries, which may be two for a slot after a power cut. A file that one left empty is no entry: it names no program, so the boot loader
// passes over it, and what is beside it is the slot's still.
func readAll(dir string) ([]Entry, error) {
	files, err := os.ReadDir(entriesDir(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Entry
	for _, f := range files {
		// FAT keeps the case of names and does not tell it apart.
		e, ok := parseName(strings.ToLower(f.Name()))
		if !ok {
			continue
		}
		text, err := os.ReadFile(filepath.Join(entriesDir(dir), f.Name()))
		if err != nil {
			return nil, err
		}
		if e = e.parseText(string(text)); e.Generation > 0 {
			all = append(all, e)
		}
	}
	return all, nil
}

// onePerSlot keeps of each slot the entry that was made last: what is beside it is what a power cut kept from being removed, also where the last one has no
// tries any more. Of two of the same making it is the one that the boot loader prefers: one with tries, one without a counter. They are in the order in which the boot loader takes them:
// those without tries last, the higher generation first.
func onePerSlot(all []Entry) []Entry {
	slices.SortStableFunc(all, func(a, b Entry) int {
		switch {
		case a.Generation != b.Generation:
			return order(a.Generation > b.Generation)
		case (a.Left == 0) != (b.Left == 0):
			return order(b.Left == 0)
		}
		return order(a.Left == Unlimited && b.Left != Unlimited)
	})
	var out []Entry
	for _, e := range all {
		if !slices.ContainsFunc(out, func(o Entry) bool { return o.Slot == e.Slot }) {
			out = append(out, e)
		}
	}
	slices.SortStableFunc(out, func(a, b Entry) int {
		if (a.Left == 0) == (b.Left == 0) {
			return 0
		}
		return order(b.Left == 0)
	})
	return out
}

// order puts the first of two first, or last.
func order(first bool) int {
	if first {
		return -1
	}
	return 1
}

// Put writes the kernel image of a slot, unless kernel is nil and the one that is there stays, and then an entry that is tried before all others.
// An entry that the slot had is removed first.
func (l *Loader) Put(slot, version string, tries int, kernel io.Reader) error {
	return l.with("put boot entry of slot "+slot, func(v Volume) error {
		all, err := readAll(v.Dir)
		if err != nil {
			return err
		}
		e := Entry{Slot: slot, Version: version, Left: tries, Generation: 1}
		for _, o := range all {
			e.Generation = max(e.Generation, o.Generation+1)
		}
		if err := tidy(v.Dir); err != nil {
			return err
		}
		if kernel != nil {
			if err := remove(v.Dir, slot, ""); err != nil {
				return err
			}
			// What nothing leads to makes room, as KernelBytes has it.
			if err := os.Remove(filepath.Join(v.Dir, kernelPath(slot))); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if err := replace(filepath.Join(v.Dir, kernelPath(slot)), kernel); err != nil {
				return err
			}
		} else if _, err := os.Stat(filepath.Join(v.Dir, kernelPath(slot))); err != nil {
			return err
		}
		return set(v.Dir, e)
	})
}

// Bless takes the counter off a slot's entry. A slot without an entry is fs.ErrNotExist.
func (l *Loader) Bless(slot string) error {
	return l.change("bless", slot, func(e Entry) Entry { e.Left, e.Done = Unlimited, 0; return e })
}

// Spoil leaves a slot's entry no tries. It does nothing to a slot without an entry.
func (l *Loader) Spoil(slot string) error {
	err := l.change("spoil", slot, func(e Entry) Entry { e.Left = 0; return e })
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// change makes a slot's entry another one. One that is as it should be is not written; what is beside it is removed.
func (l *Loader) change(what, slot string, change func(Entry) Entry) error {
	return l.with(what+" boot entry of slot "+slot, func(v Volume) error {
		all, err := readAll(v.Dir)
		if err != nil {
			return err
		}
		e, ok := State{Entries: onePerSlot(all)}.Entry(slot)
		if !ok {
			return fs.ErrNotExist
		}
		if next := change(e); next != e {
			_ = tidy(v.Dir) // what stays is of the next Put
			return set(v.Dir, next)
		}
		return remove(v.Dir, slot, e.name())
	})
}

// Forget removes a slot's entry; the kernel image stays.
func (l *Loader) Forget(slot string) error {
	return l.with("remove boot entry of slot "+slot, func(v Volume) error { return remove(v.Dir, slot, "") })
}

// set makes e the only entry of its slot.
func set(dir string, e Entry) error {
	if err := replace(filepath.Join(entriesDir(dir), e.name()), strings.NewReader(e.Text())); err != nil {
		return err
	}
	return remove(dir, e.Slot, e.name())
}

// remove removes the entries of a slot, but for one.
func remove(dir, slot, except string) error {
	files, err := os.ReadDir(entriesDir(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	some := false
	for _, f := range files {
		name := strings.ToLower(f.Name())
		if e, ok := parseName(name); !ok || e.Slot != slot || name == except {
			continue
		}
		if err := os.Remove(filepath.Join(entriesDir(dir), f.Name())); err != nil {
			return err
		}
		some = true
	}
	if !some {
		return nil
	}
	return syncDir(entriesDir(dir))
}

// newSuffix ends the name of a file while it is written: the boot loader reads no such entry.
const newSuffix = ".new"

// tidy removes what a power cut has left half written, of either slot. It comes before anything that takes up room: of a FAT file system the name of a file may
// have got to the disk and the table of what belongs to it not, so that its clusters count as free. Given to another file meanwhile, they would be taken from
// that one when the half is written to or removed.
func tidy(dir string) error {
	kernels := filepath.Join(dir, filepath.Dir(kernelPath("a")))
	for _, folder := range []string{entriesDir(dir), kernels} {
		files, err := os.ReadDir(folder)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, f := range files {
			name, half := strings.CutSuffix(strings.ToLower(f.Name()), newSuffix)
			_, ours := parseName(name)
			if !half || !ours && folder != kernels {
				continue
			}
			if err := os.Remove(filepath.Join(folder, f.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// replace makes a file, or takes the place of one, that firmware and boot loader may look for at any moment. Whenever the power fails, the one that was there is
// there whole, or the new one is; where none was, an empty one may be.
//
// FAT has no journal, and a rename is several writes in no order (vfat_rename, fs/fat/namei_vfat.c, Linux 6.12): the first name goes, and the second comes. Where
// the file's clusters are and how long it is belongs to its own record, which is written with the file and not with the directory: until then a name that is new
// leads to an empty file, and one that was there to the clusters of the old file. Those become free when nobody has that open any more. So the old one is held open
// until the others are on the disk, the first name's end before the second's record: else both names would lead to the same clusters, and whoever
// removed one would take them from the other.
func replace(path string, from io.Reader) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	old, err := os.Open(path)
	if err == nil {
		defer old.Close()
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	beside := path + newSuffix
	// A half that a power cut has left, or a whole that had not got its name yet.
	if err := os.Remove(beside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(beside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := copySynced(f, from); err != nil {
		return errors.Join(err, os.Remove(beside))
	}
	if err := errors.Join(f.Sync(), syncDir(dir)); err != nil {
		return errors.Join(err, os.Remove(beside))
	}
	if err := os.Rename(beside, path); err != nil {
		return errors.Join(err, os.Remove(beside))
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// syncBytes is how much is written until it is put on the disk.
const syncBytes = 1 << 20

// copySynced copies, and puts what was written on the disk again and again. Of a FAT file system the table of clusters may get to the disk before the name
// of whose they are, and one part of it before another: what was not on the disk when the power failed may stay taken and belong to no file, and nothing here
// looks for that. So it is a mebibyte, and not a kernel image.
func copySynced(to interface {
	io.Writer
	Sync() error
}, from io.Reader) error {
	for {
		n, err := io.CopyN(to, from, syncBytes)
		if n > 0 {
			if err := to.Sync(); err != nil {
				return err
			}
		}
		if err == io.EOF { // one that is wrapped is an error of who reads
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
