package label_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/zfs/label"
	"github.com/cyvive/cyvive/internal/storage/zfs/label/labeltest"
)

const (
	deviceBytes = 8<<20 + 4096 // not a multiple of a label
	labelBytes  = 256 << 10
	physOffset  = 16 << 10
)

// places are where the labels of that device lie.
func places() []int { return []int{0, labelBytes, 8<<20 - 2*labelBytes, 8<<20 - labelBytes} }

func sample(txg uint64) label.Label {
	return label.Label{Name: "node", PoolGUID: 1 << 63, GUID: 77, State: label.Exported, TXG: txg}
}

// withPeers is a label of a device of a mirror of four.
func withPeers(txg uint64) label.Label {
	l := sample(txg)
	l.Peers = []label.Peer{{GUID: 78}, {GUID: 79, Away: true}, {GUID: 1<<63 + 1, Away: true, Offline: true}}
	return l
}

func with(l label.Label, u label.Uberblock) label.Label {
	l.Latest = u
	return l
}

func uberblock(txg uint64) label.Uberblock {
	return label.Uberblock{TXG: txg, Time: time.Unix(1e9+int64(txg), 0).UTC()}
}

func TestRead(t *testing.T) {
	for name, c := range map[string]struct {
		device func(d []byte)
		want   label.Label
		err    error
	}{
		"blank": {func([]byte) {}, label.Label{}, label.ErrNone},
		"four": {func(d []byte) {
			for _, at := range places() {
				labeltest.Put(d, at, binary.LittleEndian, labeltest.Packed(sample(9)))
			}
		}, sample(9), nil},
		"of a machine with the other order": {func(d []byte) { labeltest.Put(d, places()[3], binary.BigEndian, labeltest.Packed(sample(3))) }, sample(3), nil},
		"half of a change is on the disk": {func(d []byte) {
			labeltest.Put(d, places()[0], binary.LittleEndian, labeltest.Packed(sample(12)))
			labeltest.Put(d, places()[1], binary.LittleEndian, labeltest.Packed(sample(11)))
			labeltest.Put(d, places()[2], binary.LittleEndian, labeltest.Packed(sample(12)))
			d[places()[2]+physOffset+40] ^= 1
		}, sample(12), nil},
		"none is whole": {func(d []byte) {
			labeltest.Put(d, 0, binary.LittleEndian, labeltest.Packed(sample(12)))
			d[physOffset+100] ^= 1
		}, label.Label{}, label.ErrDamaged},
		"moved to another place": {func(d []byte) {
			labeltest.Put(d, 0, binary.LittleEndian, labeltest.Packed(sample(12)))
			copy(d[labelBytes:2*labelBytes], d)
			clear(d[:labelBytes])
		}, label.Label{}, label.ErrDamaged},
		"with peers, and uberblocks": {func(d []byte) {
			for _, at := range places() {
				labeltest.Put(d, at, binary.LittleEndian, labeltest.Packed(withPeers(9)))
			}
			for txg := uint64(40); txg <= 90; txg++ { // once round, and on
				labeltest.PutUberblock(d, places()[0], binary.LittleEndian, uberblock(txg))
			}
			torn := places()[0] + 128<<10 + 90%32<<12 // the newest
			d[torn+40] ^= 1
		}, with(withPeers(9), uberblock(89)), nil},
		"with uberblocks of a machine with the other order": {func(d []byte) {
			labeltest.Put(d, places()[0], binary.BigEndian, labeltest.Packed(withPeers(9)))
			labeltest.PutUberblock(d, places()[0], binary.BigEndian, uberblock(12))
			labeltest.PutUberblock(d, places()[1], binary.BigEndian, uberblock(13)) // of a label that is none
		}, with(withPeers(9), uberblock(12)), nil},
		"a list without a state": {func(d []byte) {
			labeltest.Put(d, 0, binary.LittleEndian, append([]byte{1, 11: 0}, labeltest.Pair("guid", 8, labeltest.Number(1))...))
		}, label.Label{}, label.ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			d := make([]byte, deviceBytes)
			c.device(d)
			got, err := label.Read(bytes.NewReader(d), deviceBytes)
			if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("label (-want +got):\n%s", diff)
			}
		})
	}
	if _, err := label.Read(bytes.NewReader(nil), 100); !errors.Is(err, label.ErrNone) {
		t.Errorf("of a device that is too small: %v", err)
	}
	if _, err := label.Read(bytes.NewReader(nil), deviceBytes); err == nil || errors.Is(err, label.ErrNone) {
		t.Errorf("of a device that cannot be read: %v", err)
	}
}

// TestEveryCut cuts the list at each byte: it is an error, or what was there before the cut.
func TestEveryCut(t *testing.T) {
	whole := labeltest.Packed(withPeers(5))
	for i := range len(whole) - 4 {
		if l, err := label.ParseList(whole[:i]); err == nil {
			t.Errorf("cut at %d: %v", i, l)
		}
	}
	if _, err := label.ParseList(whole); err != nil {
		t.Error(err)
	}
}

func FuzzList(f *testing.F) {
	f.Add(labeltest.Packed(sample(1)))
	f.Add(labeltest.Packed(withPeers(1)))
	f.Add([]byte{})
	f.Add([]byte{1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if numbers, err := label.ParseList(b); err == nil && numbers*12 > len(b) {
			t.Errorf("%d numbers of %d bytes", numbers, len(b))
		}
	})
}

func TestState(t *testing.T) {
	for s, want := range map[label.State]string{label.Active: "active", label.Cache: "cache", 9: "state 9"} {
		if got := s.String(); got != want {
			t.Errorf("%d: %s, want %s", s, got, want)
		}
	}
}
