package configstore

import (
	"errors"
	"fmt"
	"slices"
)

// Open reads the store, and does what the start of a boot asks for. The error is one of the directory itself, or of a record that the disk does not give
// out where there is no other: what is wrong with single files is stepped over, and a disk that takes nothing any more still says what the node is to be.
func Open(dir Dir, cfg Config) (*Store, error) {
	s := &Store{dir: dir, cfg: cfg, next: 1}
	names, err := dir.List()
	if err != nil {
		return nil, fmt.Errorf("open configuration store: %w", err)
	}
	var numbers []uint64
	for _, name := range names {
		if n, ok := numberOf(name); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	if err := s.readRecord(names, numbers); err != nil {
		return nil, fmt.Errorf("open configuration store: %w", err)
	}
	s.damaged = len(s.problems) > 0
	s.removeOrphans(numbers)
	record, changed := s.record.Started(cfg.Boot, cfg.SinceBoot(), cfg.Now())
	record, fell := s.readable(record)
	switch {
	case !changed && !fell:
		return s, nil
	case fell && record.Current == 0:
		s.record = record // nothing counts now in the place of what did: the next start may be able to read that
		return s, nil
	}
	if err := s.keep(record); err != nil {
		s.problem("what counts from this start on cannot be written: %v", err)
	}
	return s, nil
}

// readRecord finds the newest record that can be read. Where there is none, the newest revision that was neither tried nor staged counts.
func (s *Store) readRecord(names []string, numbers []uint64) error {
	var unread error
	for i, name := range recordNames() {
		if !slices.Contains(names, name) {
			continue
		}
		data, err := s.dir.Read(name)
		unread = errors.Join(unread, err)
		var r Record
		if err == nil {
			r, err = parseRecord(data)
		}
		if err != nil {
			s.problem("the record %s cannot be read: %v", name, err)
			continue
		}
		if r.Sequence > s.record.Sequence {
			s.record, s.slot = r, 1-i
		}
	}
	if s.record.Sequence > 0 {
		return nil
	}
	if unread != nil {
		return unread // it may be readable again one day, and would count then
	}
	if len(numbers) == 0 {
		return nil
	}
	if len(s.problems) == 0 && len(numbers) == 1 && numbers[0] == 1 {
		return nil // the power failed before the first record was written: nobody was told of the revision
	}
	for _, n := range numbers {
		r, err := s.read(n)
		if err != nil || r.Mode == Try || r.Mode == Stage {
			s.record.Owned = true // or it may be; what was applied is not to give way to what a source has
			continue
		}
		s.record = s.record.become(n)
		s.record.Owned = s.record.Owned || r.Mode != Source
	}
	s.problem("no record can be read: the newest revision that was neither tried nor staged counts, which is %d", s.record.Current)
	return nil
}

// removeOrphans removes revisions whose record was never written, because the power failed: nobody was told of them. While a record cannot be read,
// they may be its.
func (s *Store) removeOrphans(numbers []uint64) {
	s.next = s.record.Newest + 1
	for _, n := range numbers {
		if n <= s.record.Newest {
			continue
		}
		if len(s.problems) > 0 || s.dir.Remove(revisionName(n)) != nil {
			s.next = n + 1
		}
	}
}

// readable gives up current revisions that cannot be read, until one can. Whether this release can use what it says is not looked at: a release that
// cannot is to go, and not the configuration. What is to be done where such a release has gone is for who can take the documents apart ([Store.FallBack]).
func (s *Store) readable(record Record) (Record, bool) {
	fell := false
	for record.Current != 0 {
		_, err := s.read(record.Current)
		if err == nil {
			break
		}
		bad := record.Current
		record = record.Unusable(err.Error(), s.cfg.Now())
		s.problem("revision %d cannot be used, %s: %v", bad, goesBackTo(record.Current), err)
		fell = true
	}
	if record.Base != record.Current {
		if _, err := s.read(record.Base); err != nil {
			record.Base, fell = record.Current, true
		}
	}
	return record, fell
}

func goesBackTo(n uint64) string {
	if n == 0 {
		return "and there is none before it"
	}
	return fmt.Sprintf("the one before it counts, which is %d", n)
}
