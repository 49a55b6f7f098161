package zfs

import (
	"errors"
	"testing"
)

func TestStreamWanted(t *testing.T) {
	w := StreamWanted{Kind: Filesystem, From: 1, To: 2}
	if err := w.Check(StreamHead{Kind: Filesystem, From: 1, To: 2}); err != nil {
		t.Errorf("what was asked for: %v", err)
	}
	for what, h := range map[string]StreamHead{
		"another snapshot": {Kind: Filesystem, From: 1, To: 3}, "another base": {Kind: Filesystem, From: 3, To: 2}, "full": {Kind: Filesystem, To: 2},
		"kind": {Kind: Volume, From: 1, To: 2}, "clone": {Kind: Filesystem, From: 1, To: 2, Clone: true}, "package": {Package: true},
		"package that says more": {Kind: Filesystem, From: 1, To: 2, Package: true},
	} {
		if err := w.Check(h); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	w.Package = true
	if err := w.Check(StreamHead{Package: true}); err != nil {
		t.Errorf("a package that was asked for: %v", err)
	}
	if err := w.Check(StreamHead{Kind: Filesystem, From: 1, To: 3}); !errors.Is(err, ErrInvalid) {
		t.Errorf("no package, and another snapshot: %v", err)
	}
}
