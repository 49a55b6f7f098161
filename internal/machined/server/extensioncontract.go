package server

import (
	"context"
	"io"
)

// ExtensionState is what became of an extension.
type ExtensionState int

// The states; see the protos for what they mean.
const (
	ExtensionStored ExtensionState = iota + 1
	ExtensionActive
	ExtensionFailed
)

// ExtensionName is a build of an extension. An empty Version or Kernel is for the
// one that is meant where there is but one.
type ExtensionName struct{ Name, Version, Kernel string }

// Extension is one build of an extension.
type Extension struct {
	ExtensionName
	Modules []string
	// Service is its service's name among the node's; empty without one.
	Service          string
	OSFrom, OSBefore string
	RootHash         string // 64 hexadecimal digits
	SizeBytes        int64
	State            ExtensionState
	Reason           string // why it is not in use, or could not be; else empty
}

// Extensions are a node's. Safe for concurrent use. On a node that keeps none every
// method is ErrPrecondition.
type Extensions interface {
	// Push keeps the extension that r brings. It is ErrInvalid where that is no whole
	// one, ErrDenied where nobody that the node trusts has signed it, ErrPrecondition
	// where this node cannot keep it. It reads no further than it must to refuse, and
	// returns an error of r's as it is, wrapped.
	Push(ctx context.Context, r io.Reader) (Extension, error)
	// Extensions returns those that are there, and those that the configuration names.
	Extensions(ctx context.Context) ([]Extension, error)
	// Remove removes a build, and returns its root hash: ErrNotFound, ErrInvalid where
	// several are meant, ErrPrecondition where it is in use or the configuration names
	// it.
	Remove(ctx context.Context, name ExtensionName) (string, error)
	// SBOM opens the bill of materials of a build: ErrNotFound, ErrInvalid where
	// several are meant.
	SBOM(ctx context.Context, name ExtensionName) (io.ReadCloser, error)
}
