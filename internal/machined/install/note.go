package install

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/google/uuid"

	"github.com/cyvive/cyvive/internal/storage/notes"
	"github.com/cyvive/cyvive/internal/storage/signature"
)

// Step is one part of an installation.
type Step string

// The steps, in their order.
const (
	Begun    Step = "begun"
	Clear    Step = "clear"
	Root     Step = "root"
	Verity   Step = "verity"
	ESP      Step = "esp"
	State    Step = "state"
	Table    Step = "table"
	Complete Step = "complete"
)

// order is that of the steps.
var order = []Step{Begun, Clear, Root, Verity, ESP, State, Table, Complete}

// done reports whether a step is among those up to and with s.
func (s Step) done(step Step) bool { return slices.Index(order, s) >= slices.Index(order, step) }

// Note is what an installation leaves on its disk.
type Note struct {
	// ID is the GUID of the disk's partition table.
	ID uuid.UUID `json:"id"`
	// Plan is the digest of what was to be installed.
	Plan string `json:"plan"`
	// Step is the last one that was done.
	Step Step `json:"step"`
	// Version is that of the release, for a person.
	Version string `json:"version"`
}

// parseNote reads a note; what is none of this release's is an error.
func parseNote(data []byte) (*Note, error) {
	var n Note
	if err := json.Unmarshal(data, &n); err != nil {
		return nil, fmt.Errorf("parse note of an installation: %w", err)
	}
	if !slices.Contains(order, n.Step) || n.ID == uuid.Nil {
		return nil, errors.New("parse note of an installation: it is of another form than this release knows")
	}
	return &n, nil
}

// maxVersion is how much of a version is kept: the note is one sector.
const maxVersion = 64

func (n Note) write(d notes.Device) error {
	n.Version = n.Version[:min(len(n.Version), maxVersion)]
	data, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("encode note of an installation: %w", err)
	}
	return notes.Write(d, notes.Installation, data)
}

// Look fills in what is on a disk: its contents, and what an earlier installation left. What only that has written counts as nothing: the disk is
// taken as if it were blank, or finished.
func Look(r io.ReaderAt, d *Disk) error {
	d.Note = nil
	except := []signature.Range{{Offset: notes.Begin, Bytes: notes.Bytes}}
	var n *Note
	var err error
	if d.SizeBytes >= notes.Begin+notes.Bytes { // a smaller one, such as a volume with a configuration, has no place for it
		if n, err = readNote(r); err != nil {
			return err
		}
	}
	if n != nil && n.Step == State {
		// The table is being written, whose parts have no form by themselves.
		except = append(except, signature.Range{Bytes: sectorBytes + tableCopyBytes}, signature.Range{Offset: d.SizeBytes - tableCopyBytes, Bytes: tableCopyBytes})
	}
	if d.Contents, err = signature.Find(r, d.SizeBytes, except...); err != nil || n == nil {
		return err
	}
	guids, err := tableGUIDs(r, d.SizeBytes)
	if err != nil {
		return err
	}
	d.Note = n
	switch {
	case n.Step == Complete:
		if len(guids) != 2 || !n.owns(d.Contents, guids) {
			d.Note = nil
		}
	case n.owns(d.Contents, guids):
		d.Contents = nil
	}
	return nil
}

// Started notes that the node has started from a disk. What an installation that was cut at its end has left there is a node's data from now on, and another
// installation asks before it takes its place. Without such a note nothing is written.
func Started(d notes.Device) error {
	n, err := readNote(d)
	if err != nil {
		return fmt.Errorf("end the installation of this disk: %w", err)
	}
	if n == nil || n.Step == Complete {
		return nil
	}
	n.Step = Complete
	if err := n.write(d); err != nil {
		return fmt.Errorf("end the installation of this disk: %w", err)
	}
	return nil
}

// readNote returns the note on a disk, nil if there is none. One that was cut off was the first: nothing else was done. One of another release counts
// for nothing: what the disk holds decides.
func readNote(r io.ReaderAt) (*Note, error) {
	data, err := notes.Read(r, notes.Installation)
	if err != nil && !errors.Is(err, notes.ErrDamaged) {
		return nil, err
	}
	n, err := parseNote(data)
	if err != nil {
		return nil, nil
	}
	return n, nil
}

// owns says whether what was found on a disk can be what an installation with this note has left. Only its partition table can: what is on the disk before
// that is written lies where nothing looks for it.
func (n Note) owns(found []signature.Found, guids []uuid.UUID) bool {
	for _, id := range guids {
		if id != n.ID {
			return false
		}
	}
	for _, f := range found {
		table := f.Name == "GPT" || f.Name == "MBR"
		if !table || !n.Step.done(State) || len(guids) == 0 {
			return false
		}
	}
	return true
}
