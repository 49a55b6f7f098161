package configstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Mode is how a revision came to be. The store attaches no meaning to it but that one tried or staged is not taken for the current one when
// the record is lost.
type Mode string

// The modes.
const (
	Auto     Mode = "auto"
	NoReboot Mode = "no-reboot"
	Stage    Mode = "staged"
	Try      Mode = "try"
	Source   Mode = "source"
	Rollback Mode = "rollback"
)

// Revision is one configuration.
type Revision struct {
	Number uint64    `json:"number"`
	Time   time.Time `json:"time"`
	// By is the common name of the caller's certificate, or the place where it was found.
	By   string `json:"by"`
	Mode Mode   `json:"mode"`
	Note string `json:"note,omitempty"`
	// Document is the YAML documents, with their secrets.
	Document []byte `json:"-"`
}

// Dir is the directory of a store. What was written or renamed is on the disk only after Sync and SyncDir.
type Dir interface {
	List() ([]string, error)
	Read(name string) ([]byte, error)
	// Write makes a file with mode 0600, or replaces its content.
	Write(name string, data []byte) error
	Sync(name string) error
	Rename(from, to string) error
	Remove(name string) error
	SyncDir() error
}

// OSDir is a directory of the file system, which is made with mode 0700 when it is not there; that in which it lies has to be.
type OSDir string

// List implements Dir.
func (d OSDir) List() ([]string, error) {
	if err := os.Mkdir(string(d), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	entries, err := os.ReadDir(string(d))
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// Read implements Dir.
func (d OSDir) Read(name string) ([]byte, error) { return os.ReadFile(filepath.Join(string(d), name)) }

// Write implements Dir.
func (d OSDir) Write(name string, data []byte) error {
	return os.WriteFile(filepath.Join(string(d), name), data, 0o600)
}

// Sync implements Dir.
func (d OSDir) Sync(name string) error {
	f, err := os.Open(filepath.Join(string(d), name))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Rename implements Dir.
func (d OSDir) Rename(from, to string) error {
	return os.Rename(filepath.Join(string(d), from), filepath.Join(string(d), to))
}

// Remove implements Dir.
func (d OSDir) Remove(name string) error { return os.Remove(filepath.Join(string(d), name)) }

// SyncDir implements Dir. The directory above is synced too, for the first revision of a node.
func (d OSDir) SyncDir() error {
	return errors.Join(OSDir(filepath.Dir(string(d))).Sync(filepath.Base(string(d))), OSDir(filepath.Dir(string(d))).Sync("."))
}

// temporary is the name of a file that is being written.
const temporary = "new"

// replace puts a file in its place so that after a power cut it is there whole, or what was there before.
func replace(d Dir, name string, data []byte) error {
	err := d.Write(temporary, data)
	if err == nil {
		err = d.Sync(temporary)
	}
	if err != nil {
		_ = d.Remove(temporary) // others have a use for its room on a full disk
		return err
	}
	if err := d.Rename(temporary, name); err != nil {
		return err
	}
	return d.SyncDir()
}

// recordNames are the files that records are written to in turn.
func recordNames() [2]string { return [2]string{"record-0", "record-1"} }

const revisionPrefix = "revision-"

func revisionName(n uint64) string { return fmt.Sprintf("%s%08d", revisionPrefix, n) }

// numberOf reads the name of a revision's file.
func numberOf(name string) (uint64, bool) {
	text, ok := strings.CutPrefix(name, revisionPrefix)
	n, err := strconv.ParseUint(text, 10, 63)
	return n, ok && err == nil && n > 0 && revisionName(n) == name
}

// maxNumber is more than any node counts to.
const maxNumber = 1 << 60

// sealed is data with its sum before it.
func sealed(data []byte) []byte {
	sum := sha256.Sum256(data)
	return append([]byte(hex.EncodeToString(sum[:])+"\n"), data...)
}

var errDamaged = errors.New("it is damaged: its content has another sum than it begins with")

func unsealed(data []byte) ([]byte, error) {
	head, rest, ok := bytes.Cut(data, []byte("\n"))
	sum := sha256.Sum256(rest)
	if !ok || string(head) != hex.EncodeToString(sum[:]) {
		return nil, errDamaged
	}
	return rest, nil
}

// encodeRevision writes what is known of a revision in one line, and then its documents as they are.
func encodeRevision(r Revision) ([]byte, error) {
	head, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode revision: %w", err)
	}
	return sealed(append(append(head, '\n'), r.Document...)), nil
}

func parseRevision(data []byte) (Revision, error) {
	data, err := unsealed(data)
	if err != nil {
		return Revision{}, err
	}
	head, document, ok := bytes.Cut(data, []byte("\n"))
	var r Revision
	if err := json.Unmarshal(head, &r); err != nil || !ok || r.Number == 0 {
		return Revision{}, errors.New("it is of another form than this release knows")
	}
	r.Document = document
	return r, nil
}

func encodeRecord(r Record) ([]byte, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	return sealed(data), nil
}

func parseRecord(data []byte) (Record, error) {
	data, err := unsealed(data)
	if err != nil {
		return Record{}, err
	}
	var r Record
	if err := json.Unmarshal(data, &r); err != nil || r.Sequence == 0 || r.Sequence > maxNumber || r.Newest > maxNumber {
		return Record{}, errors.New("it is of another form than this release knows")
	}
	return r, nil
}
