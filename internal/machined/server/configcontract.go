package server

import (
	"context"
	"net/netip"
	"time"
)

// ConfigMode is how a revision of the configuration came to be; see the protos.
type ConfigMode int

// The modes, in the order of the protos.
const (
	ConfigAuto ConfigMode = iota + 1
	ConfigNoReboot
	ConfigStaged
	ConfigTry
	ConfigSource
	ConfigRollback
)

// ConfigEffect is when a change takes effect.
type ConfigEffect int

// The effects, in the order of the protos.
const (
	ConfigLive ConfigEffect = iota + 1
	ConfigReboot
	ConfigNever
)

// ConfigRevision is one revision, without its document.
type ConfigRevision struct {
	Number                  uint64
	Time                    time.Time
	By                      string
	Mode                    ConfigMode
	Note                    string
	Current, Staged, Trying bool
	SizeBytes               int
	Problem                 string // why it cannot be read; empty if it can
}

// ConfigChange is a field that differs.
type ConfigChange struct {
	Field  string
	Effect ConfigEffect
	Reason string // why not at once
}

// ConfigDomain is what a part of the node does for a change.
type ConfigDomain struct {
	Name       string
	Operations []string
	Waits      string
}

// ConfigTrial is a revision that is tried.
type ConfigTrial struct {
	Revision, Back uint64
	Left           time.Duration
}

// ConfigOutcome is how a trial ended.
type ConfigOutcome struct {
	Revision  uint64
	Succeeded bool
	Reason    string
	At        time.Time
}

// ConfigState is a revision with its document, and where the node is.
type ConfigState struct {
	Revision ConfigRevision
	Document string       // without secrets
	Trial    *ConfigTrial // nil while none is
	Staged   uint64
	Pending  []ConfigChange
	Last     *ConfigOutcome
	Problems []string
	Settled  bool // it is in force, and the network is as it asks
}

// ConfigMistake is one thing that is wrong with documents.
type ConfigMistake struct {
	File           string
	Line           int // from 1; 0 is the file as a whole
	Field, Problem string
}

// ConfigDocument is what somebody wants the configuration to be.
type ConfigDocument struct {
	Name            string // the file's; may be empty
	Document, Patch string // YAML; one of them may be empty
	PatchName       string // the patch's file; may be empty
}

// ConfigCheck is what was found out about documents.
type ConfigCheck struct {
	Mistakes []ConfigMistake
	Changes  []ConfigChange
	Domains  []ConfigDomain
}

// ConfigRequest is a change of the configuration.
type ConfigRequest struct {
	ConfigDocument
	By         string // the caller's common name
	Mode       ConfigMode
	TryTimeout time.Duration // 0 is the default
	DryRun     bool
	Expected   uint64 // 0 does not look
	// Local is the node's address by which the call came, and Peer the caller's. Both
	// are the zero Addr where it did not come by TCP.
	Local, Peer netip.Addr
}

// ConfigResult is what became of a change, or would.
type ConfigResult struct {
	Revision uint64
	Changes  []ConfigChange
	Domains  []ConfigDomain
	Pending  []ConfigChange
	Trial    *ConfigTrial
	Notes    []string
}

// ConfigDiff is two revisions side by side.
type ConfigDiff struct {
	From, To uint64
	Text     string // unified, without secrets
	Secrets  []string
	Changes  []ConfigChange
}

// Configs reads and changes the node's configuration. Safe for concurrent use.
// Until the state volume is read, every method is ErrUnavailable. Documents with
// mistakes are ErrInvalid, save in ValidateConfig; what the node cannot do with good
// ones, or not now, is ErrPrecondition, and a revision that is not kept ErrNotFound.
// No answer and no error holds a secret.
type Configs interface {
	// GetConfig returns a revision; 0 is the current one.
	GetConfig(ctx context.Context, revision uint64) (ConfigState, error)
	// ValidateConfig changes nothing. Without secrets the caller is not to learn whether
	// one that is given is the node's: what has it counts as changed, and there are no
	// Domains.
	ValidateConfig(ctx context.Context, d ConfigDocument, secrets bool) (ConfigCheck, error)
	// ApplyConfig stores documents, and has them take effect by the mode.
	ApplyConfig(ctx context.Context, r ConfigRequest) (ConfigResult, error)
	// ConfirmConfig ends a trial and returns its revision; 0 is whichever is tried.
	ConfirmConfig(ctx context.Context, by string, revision uint64) (uint64, error)
	// ConfigHistory lists the revisions, newest first.
	ConfigHistory(ctx context.Context) ([]ConfigRevision, error)
	// DiffConfigs compares two revisions; see the protos for 0.
	DiffConfigs(ctx context.Context, from, to uint64) (ConfigDiff, error)
	// RollbackConfig applies an older revision; see the protos for 0. Of r, documents and
	// mode are not looked at.
	RollbackConfig(ctx context.Context, revision uint64, r ConfigRequest) (ConfigResult, error)
}
