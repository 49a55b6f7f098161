package label

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/pool"
)

// list builds a list as nvlist_pack does with NV_ENCODE_XDR.
type list struct{ bytes.Buffer }

func newList() *list {
	l := &list{}
	l.Write([]byte{1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1})
	return l
}

func (l *list) u32(n int) { _ = binary.Write(l, binary.BigEndian, uint32(n)) }

func (l *list) str(s string) {
	l.u32(len(s))
	l.WriteString(s)
	l.Write(make([]byte, (4-len(s)%4)%4))
}

// pair writes a pair with a value that is encoded already.
func (l *list) pair(name string, kind, count int, value []byte) *list {
	var encoded list
	encoded.str(name)
	l.u32(8 + encoded.Len() + 8 + len(value))
	l.u32(32) // of the decoded form
	l.Write(encoded.Bytes())
	l.u32(kind)
	l.u32(count)
	l.Write(value)
	return l
}

func (l *list) number(name string, n uint64) *list {
	return l.pair(name, typeUint64, 1, binary.BigEndian.AppendUint64(nil, n))
}

func (l *list) text(name, s string) *list {
	var v list
	v.str(s)
	return l.pair(name, typeString, 1, v.Bytes())
}

// finish returns the list with its end.
func (l *list) finish() []byte {
	l.Write(make([]byte, 8))
	return l.Bytes()
}

func member(txg uint64, state uint64) []byte {
	l := newList().number("version", 5000).text("name", "tank").number("state", state).number("txg", txg).number("pool_guid", 11)
	l.number("hostid", 7).text("hostname", "n1").number("top_guid", 12).number("guid", 13)
	return l.pair("vdev_tree", 19, 1, newList().number("guid", 99).finish()).finish()
}

func TestRead(t *testing.T) {
	const size = 8<<20 + 4096 // the end is no multiple of a label
	spare := newList().number("version", 5000).number("state", 3).number("guid", 21).finish()
	end := int64(size / labelBytes * labelBytes)
	for name, test := range map[string]struct {
		labels map[int64][]byte
		want   pool.Label
		err    error
	}{
		"none":        {nil, pool.Label{}, ErrNone},
		"in use":      {map[int64][]byte{0: member(5, 0)}, pool.Label{Pool: "tank", PoolGUID: 11, GUID: 13, State: pool.LabelActive, Host: "n1"}, nil},
		"the newest":  {map[int64][]byte{0: member(5, 0), end - labelBytes: member(9, 1)}, pool.Label{Pool: "tank", PoolGUID: 11, GUID: 13, State: pool.LabelExported, Host: "n1"}, nil},
		"the last":    {map[int64][]byte{end - labelBytes: member(5, 2)}, pool.Label{Pool: "tank", PoolGUID: 11, GUID: 13, State: pool.LabelDestroyed, Host: "n1"}, nil},
		"a spare":     {map[int64][]byte{labelBytes: spare}, pool.Label{GUID: 21, State: pool.LabelSpare}, nil},
		"no pool":     {map[int64][]byte{0: newList().number("state", 0).number("guid", 5).finish()}, pool.Label{}, ErrNone},
		"no state":    {map[int64][]byte{0: newList().number("guid", 5).number("pool_guid", 4).text("name", "x").finish()}, pool.Label{}, ErrNone},
		"cut short":   {map[int64][]byte{0: member(5, 0)[:60]}, pool.Label{}, ErrNone},
		"one is torn": {map[int64][]byte{0: member(9, 0)[:60], labelBytes: member(5, 0)}, pool.Label{Pool: "tank", PoolGUID: 11, GUID: 13, State: pool.LabelActive, Host: "n1"}, nil},
	} {
		device := make([]byte, size)
		for at, l := range test.labels {
			copy(device[at+listOffset:], l)
		}
		got, err := Read(bytes.NewReader(device), size)
		if !errors.Is(err, test.err) || cmp.Diff(test.want, got) != "" {
			t.Errorf("%s: %v\n%s", name, err, cmp.Diff(test.want, got))
		}
	}
	if _, err := Read(bytes.NewReader(make([]byte, 1000)), 1000); !errors.Is(err, ErrNone) {
		t.Errorf("a device of 1000 bytes: %v", err)
	}
	if _, err := Read(bytes.NewReader(nil), size); err == nil || errors.Is(err, ErrNone) {
		t.Errorf("a device that cannot be read: %v", err)
	}
}

// FuzzParse: any bytes are a label, or none, in the time that reading them takes.
func FuzzParse(f *testing.F) {
	f.Add(member(5, 0))
	f.Add(newList().number("state", 3).number("guid", 21).finish())
	f.Add([]byte{1, 1, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		l, _, err := parse(data)
		if (err == nil) != (l.GUID != 0) {
			t.Errorf("%+v, %v", l, err)
		}
	})
}
