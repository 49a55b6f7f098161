// Package marker holds what stage 1 leaves for those after it: the proof that
// this is a machine it booted, and from which slot. It also holds the checks
// by which stage 1 and init refuse to run anywhere else.
package marker

import (
	"encoding/json"
	"fmt"
	"os"
)

// DefaultPath is where stage 1 writes it.
const DefaultPath = "/run/cyvive/stage1.json"

// Marker says what was booted.
type Marker struct {
	RootHash string `json:"roothash"` // 64 lower-case hex digits
	Slot     string `json:"slot"`     // "a" or "b"; empty when the partition's name tells neither
	// RootPartition and Disk are kernel names, such as vda2 and vda.
	RootPartition string `json:"rootPartition"`
	Disk          string `json:"disk"`
}

// Write stores m at path.
func Write(path string, m Marker) error {
	raw, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode marker: %w", err)
	}
	if err := os.WriteFile(path, append(raw, '\n'), 0o444); err != nil {
		return fmt.Errorf("write marker: %w", err)
	}
	return nil
}

// Read returns the marker at path.
func Read(path string) (Marker, error) {
	var m Marker
	raw, err := os.ReadFile(path)
	if err != nil {
		return m, fmt.Errorf("read marker: %w", err)
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, fmt.Errorf("read marker %s: %w", path, err)
	}
	if len(m.RootHash) != 64 {
		return m, fmt.Errorf("read marker %s: root hash %q is not 64 digits long", path, m.RootHash)
	}
	return m, nil
}
