// Package marker holds what stage 1 leaves for those after it: the proof that
// this is a machine it booted, and from which slot. It also holds the checks
// by which stage 1 and init refuse to run anywhere else.
package marker

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
)

// DefaultPath is where stage 1 writes it.
const DefaultPath = "/run/cyvive/stage1.json"

// Marker says what was booted.
type Marker struct {
	RootHash string `json:"roothash"` // 64 lower-case hex digits
	Slot     string `json:"slot"`     // "a" or "b"; empty when the partition's name tells neither, and on a Medium
	// RootPartition and Disk are kernel names, such as vda2 and vda.
	RootPartition string `json:"rootPartition"`
	Disk          string `json:"disk"`
	// Medium says that the disk is that of an installation medium, in memory (package medium).
	Medium bool `json:"medium,omitempty"`
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
	raw, err := os.ReadFile(path)
	if err != nil {
		return Marker{}, fmt.Errorf("read marker: %w", err)
	}
	m, err := parse(raw)
	if err != nil {
		return Marker{}, fmt.Errorf("read marker %s: %w", path, err)
	}
	return m, nil
}

func parse(raw []byte) (Marker, error) {
	var m Marker
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, err
	}
	if hash, err := hex.DecodeString(m.RootHash); err != nil || len(hash) != 32 {
		return m, fmt.Errorf("root hash %q is not 64 hexadecimal digits", m.RootHash)
	}
	return m, nil
}
