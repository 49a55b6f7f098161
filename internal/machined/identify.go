package machined

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cyvive/cyvive/internal/machined/ledger"
	"github.com/cyvive/cyvive/internal/storage"
)

// history is the boot ledger, once the state volume is mounted.
type history struct {
	mu     sync.Mutex
	ledger *ledger.Ledger
}

func (h *history) get() *ledger.Ledger {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ledger
}

func (h *history) set(l *ledger.Ledger) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ledger = l
}

// identify sets up what lives on the state volume, once that and the outcome of the last boot are known.
func (a *Agent) identify(ctx context.Context) error {
	return a.whenever(ctx, func(s snapshot) bool {
		return !s.identity && s.storage.Status.StateMounted && volumesKnown(s.storage.Status)
	},
		func(s snapshot) {
			crash, err := a.setUpState(ctx, s.storage.Status)
			if err != nil {
				a.log.Error("set up the state volume", "error", err)
				sleep(ctx, time.Second)
			}
			a.update(func(s *snapshot) {
				s.identity, s.identityProblem, s.crash = err == nil, "", first(crash, s.crash)
				if err != nil {
					s.identityProblem = err.Error()
				}
			})
		})
}

// volumesKnown says that this boot has looked at every volume, or refused one.
func volumesKnown(s storage.Status) bool {
	for _, v := range s.Volumes {
		if !v.Known && !v.Refused && v.Device != "" {
			return false
		}
	}
	return true
}

// allClean says that the boot before left every volume clean that this one has looked at: one that was refused tells nothing.
func allClean(s storage.Status) bool {
	for _, v := range s.Volumes {
		if v.Known && !v.Clean {
			return false
		}
	}
	return true
}

// setUpState returns what is known of a bad end of the boot before, with an error too.
func (a *Agent) setUpState(ctx context.Context, s storage.Status) (crash string, err error) {
	if err := machineID(filepath.Join(a.cfg.StateDir, "machine-id"), a.cfg.MachineID); err != nil {
		return "", err
	}
	l, dropped, err := ledger.Open(filepath.Join(a.cfg.StateDir, "boots.jsonl"), a.now)
	if err != nil {
		return "", err
	}
	if dropped > 0 {
		a.log.Warn("dropped lines of the boot ledger that cannot be read", "lines", dropped)
	}
	v := a.cfg.Boot.Version
	boot := ledger.Boot{ID: a.cfg.Boot.ID, StartedAt: a.cfg.Boot.StartedAt.UTC(), Version: v.OS, RootHash: v.RootHash, Slot: v.Slot}
	if err := l.Begin(boot, allClean(s)); err != nil {
		return "", err
	}
	a.history.set(l)
	crash = a.takeCrash(l)
	if a.cfg.Audit == nil {
		return crash, nil
	}
	return crash, a.cfg.Audit.Move(ctx, filepath.Join(a.cfg.StateDir, "audit"))
}

// takeCrash finds out how the boot before ended and, if that has no reason yet, notes it. A boot that ended in order is not meant: what crashed then
// was one that left no entry, of which the keeper of upgrades knows.
func (a *Agent) takeCrash(l *ledger.Ledger) string {
	defer a.crashTaken.Store(true)
	if a.cfg.Crash == nil {
		return ""
	}
	text, err := a.cfg.Crash()
	if err != nil {
		a.log.Warn("look for what the boot before left", "error", err)
	}
	if text == "" {
		return ""
	}
	a.log.Warn("the boot before ended badly", "reason", text)
	boots := l.Boots()
	i := slices.IndexFunc(boots, func(b ledger.Boot) bool { return b.ID == a.cfg.Boot.ID }) - 1
	if i < 0 || boots[i].End != ledger.Unclean || boots[i].Reason != "" {
		return text
	}
	if err := l.Note(a.cfg.Boot.ID, ledger.Boot{ID: boots[i].ID, Reason: text}); err != nil {
		a.log.Error("write the boot ledger", "error", err)
	}
	return text
}

// machineID copies the node's machine ID (machine-id(5)) from the state volume to where the running system reads it, and makes one on the
// first boot.
func machineID(stored, running string) error {
	data, err := os.ReadFile(stored)
	id := strings.TrimSpace(string(data))
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && !isMachineID(id):
		fresh := make([]byte, 16)
		if _, err := rand.Read(fresh); err != nil {
			return fmt.Errorf("make machine ID: %w", err)
		}
		// Version 4, variant DCE, as machine-id(5) suggests.
		fresh[6], fresh[8] = fresh[6]&0x0F|0x40, fresh[8]&0x3F|0x80
		id = hex.EncodeToString(fresh)
		if err := ledger.ReplaceFile(stored, []byte(id+"\n"), 0o444); err != nil {
			return fmt.Errorf("store machine ID: %w", err)
		}
	case err != nil:
		return fmt.Errorf("read machine ID: %w", err)
	}
	if err := os.WriteFile(running, []byte(id+"\n"), 0o644); err != nil {
		return fmt.Errorf("set machine ID: %w", err)
	}
	return nil
}

// isMachineID follows machine-id(5): 32 hexadecimal digits in lower case, not all zero.
func isMachineID(id string) bool {
	return len(id) == 32 && strings.Trim(id, "0123456789abcdef") == "" && strings.Trim(id, "0") != ""
}
