package audit

import (
	"fmt"
	"strconv"
	"strings"
)

// Head is one entry by number and hash. The newest is the head of the log.
type Head struct {
	Sequence uint64
	Hash     Hash
}

// String is the form that ParseHead reads.
func (h Head) String() string { return fmt.Sprintf("%d:%s", h.Sequence, h.Hash) }

// ParseHead reads SEQUENCE:HASH.
func ParseHead(s string) (Head, error) {
	number, hash, ok := strings.Cut(s, ":")
	var h Head
	var err error
	if !ok {
		return h, fmt.Errorf("head %.100q: expected SEQUENCE:HASH", s)
	}
	if h.Sequence, err = strconv.ParseUint(number, 10, 64); err != nil {
		return h, fmt.Errorf("head %.100q: expected a number before the colon", s)
	}
	return h, h.Hash.UnmarshalText([]byte(hash))
}

// BrokenError says where a chain is broken.
type BrokenError struct {
	Line  int    // from 1
	After uint64 // number of the last entry that is in order; 0 when there is none
	Cause error
}

// Error implements error.
func (e *BrokenError) Error() string {
	if e.After == 0 {
		return fmt.Sprintf("audit log is broken at line %d, its first entry: %v", e.Line, e.Cause)
	}
	return fmt.Sprintf("audit log is broken at line %d, after entry %d: %v", e.Line, e.After, e.Cause)
}

// Unwrap returns the cause.
func (e *BrokenError) Unwrap() error { return e.Cause }

// Verifier checks a chain, line by line. The zero Verifier takes any entry as the first, since the oldest may have been dropped.
type Verifier struct {
	lines int
	first Entry
	head  Head
}

// Add checks the next line, without its newline. Its error is a *BrokenError, after which the verifier must not be used.
func (v *Verifier) Add(line []byte) (Entry, error) {
	v.lines++
	e, hash, err := ParseLine(line)
	switch {
	case err != nil:
	case v.lines == 1:
		v.first = e
		if e.Sequence == 0 || e.Sequence == 1 && e.Previous != (Hash{}) {
			err = fmt.Errorf("entry %d cannot follow %s", e.Sequence, e.Previous)
		}
	case e.Sequence != v.head.Sequence+1:
		err = fmt.Errorf("expected entry %d, found entry %d", v.head.Sequence+1, e.Sequence)
	case e.Previous != v.head.Hash:
		err = fmt.Errorf("entry %d follows an entry with hash %s, and the one before it has %s", e.Sequence, e.Previous, v.head.Hash)
	}
	if err != nil {
		return e, &BrokenError{Line: v.lines, After: v.head.Sequence, Cause: err}
	}
	v.head = Head{e.Sequence, hash}
	return e, nil
}

// Head is the newest entry so far; its Sequence is 0 before the first.
func (v *Verifier) Head() Head { return v.head }

// Dropped is the newest of the entries that were dropped before the first line, as that line names it; its Sequence is 0 if there is none.
func (v *Verifier) Dropped() Head {
	if v.first.Sequence == 0 {
		return Head{}
	}
	return Head{v.first.Sequence - 1, v.first.Previous}
}
