package volumes

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/cyvive/cyvive/internal/storage/luks"
	"github.com/cyvive/cyvive/internal/trust/recovery"
)

// A node has one recovery key at a time, which opens all its encrypted volumes. A further one is made when a volume needs one and the node has forgotten the one
// before, and then all get it, so that what is shown is what opens the disk. The one before opens what it opened until the next Rotate: the person who
// has it is to have the other one first.

const (
	// recoveryFile is the file, beside the keys of volumes, of a recovery key that nobody has shown to have yet.
	recoveryFile = "recovery"
	// recoveryIDFile has the ID of the one that somebody has.
	recoveryIDFile = "recovery.id"
)

var (
	// ErrNoRecoveryKey says that there is no recovery key to be shown: it was shown and forgotten, or never made.
	ErrNoRecoveryKey = errors.New("there is no recovery key that was not shown yet")
	// ErrNotNoted says that there is a recovery key that nobody has shown to have, in the place of one that somebody has.
	ErrNotNoted = errors.New("another recovery key waits to be noted")
	// ErrNotEnrolled says that a volume is still to get the recovery key.
	ErrNotEnrolled = errors.New("a volume does not have this recovery key yet")
)

// RecoveryKey returns the node's recovery key for a person to write down, as often as that takes: it is there until ForgetRecoveryKey. The state volume
// is mounted. The error is ErrNoRecoveryKey where there is none.
func (v *Volumes) RecoveryKey() (recovery.Key, error) {
	data, err := os.ReadFile(v.keyFile(recoveryFile))
	if errors.Is(err, fs.ErrNotExist) {
		return recovery.Key{}, ErrNoRecoveryKey
	}
	if err != nil {
		return recovery.Key{}, fmt.Errorf("read recovery key: %w", err)
	}
	return recovery.FromBytes(data)
}

// ForgetRecoveryKey removes the recovery key from the node. Who asks for it shows that he has it, by giving it. It has to open all encrypted volumes, of which
// these are the devices by name: the error is ErrNotEnrolled where one is still to get it, and ErrOther where another disk of a pool has come to the place of one.
func (v *Volumes) ForgetRecoveryKey(k recovery.Key, devices map[string]string) error {
	v.changing.Lock()
	defer v.changing.Unlock()
	kept, err := v.RecoveryKey()
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(kept.Bytes(), k.Bytes()) != 1 {
		return fmt.Errorf("forget recovery key: %w", ErrOtherRecoveryKey)
	}
	for _, volume := range slices.Sorted(maps.Keys(devices)) {
		h, err := luks.Inspect(devices[volume])
		if err != nil {
			return fmt.Errorf("forget recovery key: %w", err)
		}
		if luks.IsDiskName(volume) {
			if err := isOf(h, volume); err != nil {
				return fmt.Errorf("forget recovery key: disk %s (%s): %w", volume, devices[volume], err)
			}
		}
		if id, _ := recoveryID(h); id != k.ID() {
			return fmt.Errorf("forget recovery key: %w: %s", ErrNotEnrolled, volume)
		}
	}
	// The ID first: a volume that is made later is to have the next key, and those that are there with it.
	if err := writeFile(v.keyFile(recoveryIDFile), []byte(k.ID())); err != nil {
		return fmt.Errorf("forget recovery key: %w", err)
	}
	return removeFile(v.keyFile(recoveryFile))
}

// unnoted says that a recovery key waits to be noted in the place of one that somebody has. That none has been noted yet is no such wait: who sets up the node is told to.
func (v *Volumes) unnoted() bool {
	for _, name := range []string{recoveryIDFile, recoveryFile} {
		if _, err := os.Stat(v.keyFile(name)); err != nil {
			return false // not while state is not mounted either, and it cannot be read
		}
	}
	return true
}

// noted is ErrNotNoted where a volume's token names a recovery key that nobody has shown to have, and somebody has the one before: by no token that stays.
func (v *Volumes) noted(device string) error {
	if _, err := os.Stat(v.keyFile(recoveryIDFile)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	k, err := v.RecoveryKey()
	if errors.Is(err, ErrNoRecoveryKey) {
		return nil
	}
	if err != nil {
		return err
	}
	h, err := luks.Inspect(device)
	if err != nil {
		return err
	}
	if id, _ := recoveryID(h); id != k.ID() {
		return nil
	}
	return fmt.Errorf("%w, and the one before would open nothing any more: show it, keep it, and have the node forget it first", ErrNotNoted)
}

// recovery returns the recovery key that nobody has shown to have yet, or a new one.
func (v *Volumes) recovery() (recovery.Key, error) {
	k, err := v.RecoveryKey()
	if !errors.Is(err, ErrNoRecoveryKey) {
		return k, err
	}
	k = recovery.New()
	return k, writeFile(v.keyFile(recoveryFile), k.Bytes())
}

// enrolled says whether a header names a slot of the node's recovery key. While that is not known, as before state is mounted, any will do.
func (v *Volumes) enrolled(h luks.Header) bool {
	id, ok := recoveryID(h)
	if !ok {
		return false
	}
	want := ""
	if k, err := v.RecoveryKey(); err == nil {
		want = k.ID()
	} else if data, err := os.ReadFile(v.keyFile(recoveryIDFile)); err == nil {
		want = string(data)
	}
	return want == "" || id == want
}

// recoveryID returns the ID of the recovery key that opens a volume; ok is false where its header names no slot of one.
func recoveryID(h luks.Header) (id string, ok bool) {
	for _, t := range h.Tokens {
		var text struct {
			ID string `json:"id"`
		}
		if t.Type == RecoveryType && len(t.Keyslots) > 0 && json.Unmarshal(t.JSON, &text) == nil {
			return text.ID, true
		}
	}
	return "", false
}
