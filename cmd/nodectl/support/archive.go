package support

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"sync"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
)

// Archive is one being written. Its methods may be called concurrently, but Close.
type Archive struct {
	root    string
	at      time.Time
	closers []io.Closer // in the order in which they are closed

	mu  sync.Mutex
	tar *tar.Writer
}

// New begins an archive on w, for the recipients; nil writes it as it is. Its files are
// in a folder of the name root, and of the time at.
func New(w io.Writer, recipients []age.Recipient, root string, at time.Time) (*Archive, error) {
	a := &Archive{root: root, at: at}
	if recipients != nil {
		sealed, err := age.Encrypt(w, recipients...)
		if err != nil {
			return nil, fmt.Errorf("encrypt the archive: %w", err)
		}
		w, a.closers = sealed, []io.Closer{sealed}
	}
	packed, err := zstd.NewWriter(w)
	if err != nil {
		return nil, fmt.Errorf("compress the archive: %w", err)
	}
	a.tar = tar.NewWriter(packed)
	a.closers = append([]io.Closer{a.tar, packed}, a.closers...)
	return a, nil
}

// Add writes a file, whose name is relative and plain.
func (a *Archive) Add(name string, data []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	header := &tar.Header{Typeflag: tar.TypeReg, Name: path.Join(a.root, name), Mode: 0o600, Size: int64(len(data)), ModTime: a.at.Truncate(time.Second)}
	if err := a.tar.WriteHeader(header); err != nil {
		return fmt.Errorf("write the archive: %w", err)
	}
	if _, err := a.tar.Write(data); err != nil {
		return fmt.Errorf("write the archive: %w", err)
	}
	return nil
}

// Close writes the manifest and ends the archive.
func (a *Archive) Close(m Manifest) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err == nil {
		err = a.Add("manifest.json", append(text, '\n'))
	}
	for _, c := range a.closers {
		err = errors.Join(err, c.Close())
	}
	if err != nil {
		return fmt.Errorf("end the archive: %w", err)
	}
	return nil
}

// Manifest lists what is in an archive, and what is not.
type Manifest struct {
	// Program is the version of nodectl, Time when it began.
	Program string    `json:"program"`
	Time    time.Time `json:"time"`
	Nodes   []Node    `json:"nodes"`
}

// Node is what was asked of one node.
type Node struct {
	Address string `json:"address"`
	// Folder is where its files are.
	Folder string `json:"folder"`
	Items  []Item `json:"items"`
}

// Item is one thing that was asked for.
type Item struct {
	Name string `json:"name"`
	// File is relative to the node's folder; empty where there is nothing.
	File  string `json:"file,omitempty"`
	Bytes int    `json:"bytes"`
	// Dropped is what was left out from the beginning of what is longer than the bound:
	// lines, or bytes of a file.
	Dropped int `json:"dropped,omitempty"`
	// Redactions is how many secrets were taken out.
	Redactions int     `json:"redactions,omitempty"`
	Seconds    float64 `json:"seconds"`
	// Failed says why it is missing or not whole; Skipped why there is none on such a
	// node, which is no failure.
	Failed  string `json:"failed,omitempty"`
	Skipped string `json:"skipped,omitempty"`
}

// Failures are the items that failed.
func (n Node) Failures() []Item {
	var out []Item
	for _, i := range n.Items {
		if i.Failed != "" {
			out = append(out, i)
		}
	}
	return out
}

// Taken tells whether anything came from the node.
func (n Node) Taken() bool {
	for _, i := range n.Items {
		if i.File != "" {
			return true
		}
	}
	return false
}
