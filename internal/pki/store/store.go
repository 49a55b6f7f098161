// Package store keeps sets of secret files in directories of a memory file
// system, for containers that bind them read-only.
//
// Files are replaced one at a time, each at once; the stamp, which says what the
// set was made from and when to renew it, is written last. A set that was
// interrupted has no current stamp and is made again. The directory itself stays,
// so containers that have it bound see a renewed certificate without a restart.
//
// One container, the workload plane, can write in its directory, whatever its mount
// says. No link that lies there is followed, and no pipe waited for.
package store

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// stampName is not a name that a set may use.
const stampName = ".stamp"

// maxStampBytes is far above the length of a stamp.
const maxStampBytes = 4 << 10

// Stamp says what a set of files was made from.
type Stamp struct {
	// Inputs is a Fingerprint of everything that the files depend on.
	Inputs string `json:"inputs"`
	// RenewAt is when to make the set again though the inputs are the same.
	RenewAt time.Time `json:"renewAt"`
	// MadeAt is when it was made, by the clock of then.
	MadeAt time.Time `json:"madeAt,omitzero"`
}

// maxBack is how far the clock may go back behind the making of a set: certificates hold from an hour before they were issued (package pki).
const maxBack = time.Hour

// Current reports whether a set with this stamp serves for the inputs. One that was made in what is the future now, since the clock was set meanwhile,
// does not.
func (s Stamp) Current(inputs string, now time.Time) bool {
	return s.Inputs == inputs && now.Before(s.RenewAt) && now.After(s.MadeAt.Add(-maxBack))
}

// Fingerprint identifies inputs by their JSON form; secrets among them do not
// show.
func Fingerprint(inputs any) string {
	data, err := json.Marshal(inputs)
	if err != nil {
		panic(fmt.Sprintf("store: encode inputs: %v", err)) // callers pass plain values
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}

// Read returns the stamp of dir. A directory without a readable one has the zero
// Stamp, which is never current.
func Read(dir string) (Stamp, error) {
	f, err := os.OpenFile(filepath.Join(dir, stampName), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENXIO) {
		return Stamp{}, nil // nothing, a link, a socket
	}
	if err != nil {
		return Stamp{}, fmt.Errorf("read stamp: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Stamp{}, fmt.Errorf("read stamp: %w", err)
	}
	if !info.Mode().IsRegular() {
		return Stamp{}, nil
	}
	data, err := io.ReadAll(io.LimitReader(f, maxStampBytes))
	if err != nil {
		return Stamp{}, fmt.Errorf("read stamp: %w", err)
	}
	var s Stamp
	if json.Unmarshal(data, &s) != nil {
		return Stamp{}, nil
	}
	return s, nil
}

// Write puts the files into dir, which it makes with mode 0700, each with mode
// 0600 and owned by uid and the group of the same number, and then the stamp. Only
// root gives files away; for others uid is ignored.
func Write(dir string, uid int, files map[string][]byte, stamp Stamp) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make secrets directory: %w", err)
	}
	if err := ownDir(dir, uid); err != nil {
		return err
	}
	for name, data := range files {
		if err := Replace(filepath.Join(dir, name), data, 0o600, uid); err != nil {
			return err
		}
	}
	data, err := json.Marshal(stamp)
	if err != nil {
		return fmt.Errorf("encode stamp: %w", err)
	}
	if len(data) > maxStampBytes {
		return fmt.Errorf("encode stamp: it has %d bytes, expected %d at most", len(data), maxStampBytes)
	}
	return Replace(filepath.Join(dir, stampName), data, 0o600, uid)
}

// Replace writes data to path in one step: readers see the old content or the
// new. It does not sync; the files live in memory.
func Replace(path string, data []byte, mode fs.FileMode, uid int) error {
	temp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	defer os.Remove(temp.Name()) // fails after the rename, as it should
	_, err = temp.Write(data)
	err = errors.Join(err, temp.Chmod(mode), own(temp, uid), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	return nil
}

func ownDir(dir string, uid int) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("give away %s: %w", dir, err)
	}
	return errors.Join(own(f, uid), f.Close())
}

// own gives an open file to uid where the caller may do so: its name may be another's by now.
func own(f *os.File, uid int) error {
	if os.Geteuid() != 0 {
		return nil
	}
	if err := f.Chown(uid, uid); err != nil {
		return fmt.Errorf("give away: %w", err)
	}
	return nil
}
