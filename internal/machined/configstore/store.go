package configstore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"
)

// Keep is how many revisions are kept. Those that still count are kept beyond it.
const Keep = 20

// Config is what a store needs to know of the running system.
type Config struct {
	Now func() time.Time
	// Boot is the kernel's boot_id, SinceBoot the time since its start.
	Boot      string
	SinceBoot func() time.Duration
}

// Store is the configurations of a node. Its methods may be called concurrently, but a Store must be the only one on its directory.
type Store struct {
	dir Dir
	cfg Config

	mu       sync.Mutex
	record   Record
	slot     int // of the next record
	next     uint64
	problems []string
	// damaged says that Open did not find what it should have.
	damaged bool
}

func (s *Store) problem(format string, args ...any) {
	s.problems = append(s.problems, fmt.Sprintf(format, args...))
}

// Problems are what was wrong with the store when it was opened, for a person.
func (s *Store) Problems() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.problems)
}

// Used says that the store has held a revision, or may have: it is damaged, so that this cannot be told. It is false where the power failed before anybody was
// told of the first one.
func (s *Store) Used() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.damaged || s.record.Newest != 0
}

// Record returns which revisions count now.
func (s *Store) Record() Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.record
}

// Read returns a revision. The error is ErrNotFound if it is not kept.
func (s *Store) Read(n uint64) (Revision, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read(n)
}

func (s *Store) read(n uint64) (Revision, error) {
	data, err := s.dir.Read(revisionName(n))
	if errors.Is(err, fs.ErrNotExist) {
		return Revision{}, fmt.Errorf("read revision %d: %w", n, ErrNotFound)
	}
	if err != nil {
		return Revision{}, fmt.Errorf("read revision %d: %w", n, err)
	}
	r, err := parseRevision(data)
	if err == nil && r.Number != n {
		err = fmt.Errorf("it is revision %d", r.Number)
	}
	if err != nil {
		return Revision{Number: n}, fmt.Errorf("read revision %d: %w", n, err)
	}
	return r, nil
}

// Entry is one line of the history.
type Entry struct {
	Revision
	// Problem says why it cannot be read; the rest is empty then but the number.
	Problem string
}

// History returns the revisions that are kept, the newest first.
func (s *Store) History() ([]Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	names, err := s.dir.List()
	if err != nil {
		return nil, fmt.Errorf("list revisions: %w", err)
	}
	var out []Entry
	for _, name := range names {
		n, ok := numberOf(name)
		if !ok {
			continue
		}
		e := Entry{}
		if e.Revision, err = s.read(n); err != nil {
			e = Entry{Revision: Revision{Number: n}, Problem: err.Error()}
		}
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b Entry) int { return int(b.Number) - int(a.Number) })
	return out, nil
}

// Add writes a revision, whose number and time the store gives, and the record that change makes of the one there is and the revision's number. An
// error of change comes back as it is, and nothing is written then.
func (s *Store) Add(r Revision, change func(Record, uint64) (Record, error)) (Revision, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Number, r.Time = s.next, s.cfg.Now().UTC()
	record, err := change(s.record, r.Number)
	if err != nil {
		return Revision{}, err
	}
	data, err := encodeRevision(r)
	if err != nil {
		return Revision{}, err
	}
	// The number is not given twice: after an error it is not known what is on the disk.
	s.next++
	if err := replace(s.dir, revisionName(r.Number), data); err != nil {
		return Revision{}, fmt.Errorf("store revision %d: %w", r.Number, err)
	}
	if err := s.write(record); err != nil {
		_ = s.dir.Remove(revisionName(r.Number)) // or the next start does
		return Revision{}, err
	}
	s.prune()
	return r, nil
}

// Change writes the record that change makes of the one there is. Its error comes back as it is, and nothing is written then.
func (s *Store) Change(change func(Record) (Record, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	record, err := change(s.record)
	if err != nil {
		return err
	}
	return s.write(record)
}

// Revert ends a trial. It does so also when that cannot be written, which the error says: the next start ends it too, since its time has passed or
// its boot has.
func (s *Store) Revert(reason string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	record, err := s.record.Reverted(reason, s.cfg.Now())
	if err != nil {
		return err
	}
	// The one before may have been spoilt meanwhile. One that the disk does not give out now is not: the agent has it in memory.
	if _, err := s.read(record.Current); errors.Is(err, errDamaged) || errors.Is(err, ErrNotFound) {
		record, _ = s.readable(record)
	}
	return s.keep(record)
}

// FallBack makes a revision of the past current again, since the running release cannot use the current one. It does so also when that cannot be written, which the
// error says: the next start comes to the same.
func (s *Store) FallBack(to uint64, reason string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	record, err := s.record.FallsBack(to, reason, s.cfg.Now())
	if err != nil {
		return err
	}
	return s.keep(record)
}

// keep is write for what counts also when it cannot be written.
func (s *Store) keep(record Record) error {
	err := s.write(record)
	if err != nil {
		record.Sequence, record.Newest = s.record.Sequence, s.record.Newest
		s.record = record
	}
	return err
}

// write puts a record in place of the older of the two.
func (s *Store) write(record Record) error {
	record.Sequence, record.Newest = s.record.Sequence+1, s.next-1
	data, err := encodeRecord(record)
	if err != nil {
		return err
	}
	if err := replace(s.dir, recordNames()[s.slot], data); err != nil {
		return fmt.Errorf("store the record of configurations: %w", err)
	}
	s.record, s.slot = record, 1-s.slot
	return nil
}

// prune removes the oldest revisions beyond Keep. What cannot be removed is tried again with the next one.
func (s *Store) prune() {
	names, err := s.dir.List()
	if err != nil {
		return
	}
	var numbers []uint64
	for _, name := range names {
		if n, ok := numberOf(name); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	excess := len(numbers) - Keep
	for _, n := range numbers {
		if excess <= 0 {
			return
		}
		if s.record.needs(n) {
			continue
		}
		_ = s.dir.Remove(revisionName(n))
		excess--
	}
}

// Current returns the current revision, or nil if there is none.
func (s *Store) Current() (*Revision, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.record.Current == 0 {
		return nil, nil
	}
	r, err := s.read(s.record.Current)
	if err != nil {
		return nil, err
	}
	return &r, nil
}

// Holds says that a revision has this document.
func (r Revision) Holds(document []byte) bool { return bytes.Equal(r.Document, document) }
