package main

import (
	"errors"
	"fmt"
)

// The exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	exitSome   = 3 // of several nodes, some failed and some did not; or an archive lacks something
)

// usageError is a mistake in the command line.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// nodesError says that calls failed whose errors have been printed, each with
// its node.
type nodesError struct{ failed, total int }

func (e nodesError) Error() string { return fmt.Sprintf("%d of %d nodes failed", e.failed, e.total) }

// exitCode is the exit status for what a command returned.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if e, ok := errors.AsType[nodesError](err); ok && e.failed < e.total {
		return exitSome
	}
	if _, ok := errors.AsType[incompleteError](err); ok {
		return exitSome
	}
	return exitFailed
}
