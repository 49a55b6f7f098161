package label

import (
	"errors"
	"fmt"
	"io"

	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

const (
	labelBytes = 256 << 10
	listOffset = 16 << 10
	listBytes  = 112<<10 - 40 // without the checksum at its end, zio_eck_t
)

// ErrNone says that there is no label of ZFS on a device.
var ErrNone = errors.New("no label of ZFS")

// Read returns what the newest label of a device of a size says. It is ErrNone where there is none that can be read; other errors are of reading.
func Read(r io.ReaderAt, sizeBytes int64) (pool.Label, error) {
	end := sizeBytes / labelBytes * labelBytes
	var best pool.Label
	var newest uint64
	found := false
	for _, at := range []int64{0, labelBytes, end - 2*labelBytes, end - labelBytes} {
		if at < 0 || at+labelBytes > sizeBytes {
			continue
		}
		data := make([]byte, listBytes)
		if n, err := r.ReadAt(data, at+listOffset); err != nil && n < len(data) {
			return pool.Label{}, fmt.Errorf("read a label at byte %d: %w", at, err)
		}
		l, txg, err := parse(data)
		if err == nil && (!found || txg > newest) {
			best, newest, found = l, txg, true
		}
	}
	if !found {
		return pool.Label{}, ErrNone
	}
	return best, nil
}

// parse reads one label, and the transaction that wrote it.
func parse(data []byte) (pool.Label, uint64, error) {
	values, err := parseList(data)
	if err != nil {
		return pool.Label{}, 0, err
	}
	states := map[uint64]pool.LabelState{
		0: pool.LabelActive, 1: pool.LabelExported, 2: pool.LabelDestroyed, 3: pool.LabelSpare, 4: pool.LabelCache, // pool_state_t
	}
	state, known := states[values.number("state")]
	l := pool.Label{
		Pool: values.text("name"), PoolGUID: zfs.GUID(values.number("pool_guid")), GUID: zfs.GUID(values.number("guid")), State: state, Host: values.text("hostname"),
	}
	shared := state == pool.LabelSpare || state == pool.LabelCache
	if _, there := values["state"]; !there || !known || l.GUID == 0 || !shared && (l.PoolGUID == 0 || l.Pool == "") {
		return pool.Label{}, 0, ErrNone
	}
	return l, values.number("txg"), nil
}
