package machined

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"github.com/cyvive/cyvive/internal/machined/ledger"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// PoolMemory keeps which pools were there in a file of the state volume, which is replaced as a whole. It implements pool.Memory. Only one may change it at a time.
type PoolMemory struct{ Path string }

var _ pool.Memory = PoolMemory{}

// poolMemory is the file. GUIDs are texts: they go up to 2^64, where programs that read JSON begin to round at 2^53.
type poolMemory struct {
	Pools map[string]string `json:"pools"`
}

// maxMemoryBytes is more than the file of any machine has.
const maxMemoryBytes = 1 << 20

// Remembered implements pool.Memory. A file that is not there is one of no pools; one that cannot be read is an error, since a pool would be made anew for it.
func (m PoolMemory) Remembered(context.Context) (map[string]zfs.GUID, error) {
	data, err := os.ReadFile(m.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]zfs.GUID{}, nil
	}
	if err != nil {
		return nil, err
	}
	out, err := parsePoolMemory(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; no pool is made or imported without it. A reset of the volume state (nodectl reset --volumes state) makes it anew, "+
			"of the pools that are on the disks then; it takes the configuration and the keys of encrypted disks of pools along, and where the node's own volumes are encrypted it needs "+
			"data too (--volumes state,data): note the recovery key first (nodectl disk recovery-key)", m.Path, err)
	}
	return out, nil
}

func parsePoolMemory(data []byte) (map[string]zfs.GUID, error) {
	if len(data) > maxMemoryBytes {
		return nil, fmt.Errorf("it has %d bytes, expected %d at most", len(data), maxMemoryBytes)
	}
	var file poolMemory
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("it is of another form than this release knows: %w", err)
	}
	out := map[string]zfs.GUID{}
	for name, text := range file.Pools {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil || n == 0 || name == "" {
			return nil, fmt.Errorf("pool %.80q has the GUID %.40q, expected a name and a number", name, text)
		}
		out[name] = zfs.GUID(n)
	}
	return out, nil
}

// Remember implements pool.Memory. It is on the disk when Remember returns nil.
func (m PoolMemory) Remember(ctx context.Context, name string, guid zfs.GUID) error {
	known, err := m.Remembered(ctx)
	if err != nil {
		return err
	}
	if guid == 0 {
		delete(known, name)
	} else {
		known[name] = guid
	}
	file := poolMemory{Pools: map[string]string{}}
	for name, guid := range known {
		file.Pools[name] = guid.String()
	}
	data, err := json.Marshal(file)
	if err != nil {
		return fmt.Errorf("encode which pools are there: %w", err)
	}
	if err := ledger.ReplaceFile(m.Path, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("note which pools are there: %w", err)
	}
	return nil
}
