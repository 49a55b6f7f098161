package command

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// headOf is the first record of a stream.
func headOf(order binary.ByteOrder, h zfs.StreamHead, name string) []byte {
	data := make([]byte, headBytes)
	order.PutUint64(data[headMagicAt:], headMagic)
	version, kind, flags := uint64(headSubstream), uint32(headFilesystem), uint32(0)
	if h.Package {
		version, kind = headCompound, 0
	}
	if h.Kind == zfs.Volume {
		kind = headVolume
	}
	if h.Clone {
		flags = headClone
	}
	order.PutUint64(data[headVersionAt:], version|1<<19<<2) // DMU_BACKUP_FEATURE_LARGE_BLOCKS
	order.PutUint32(data[headKindAt:], kind)
	order.PutUint32(data[headFlagsAt:], flags|1<<2) // DRR_FLAG_FREERECORDS
	order.PutUint64(data[headToAt:], uint64(h.To))
	order.PutUint64(data[headFromAt:], uint64(h.From))
	copy(data[headNameAt:], name)
	return data
}

func byteOrders() []binary.ByteOrder {
	return []binary.ByteOrder{binary.LittleEndian, binary.BigEndian}
}

func TestParseStreamHead(t *testing.T) {
	for _, want := range []zfs.StreamHead{
		{Kind: zfs.Filesystem, To: 1<<63 + 5}, {Kind: zfs.Volume, From: 3, To: 4}, {Kind: zfs.Filesystem, From: 3, To: 4, Clone: true}, {Package: true},
	} {
		if !want.Package {
			want.Name = "tank/a@s"
		}
		for _, order := range byteOrders() {
			got, err := parseStreamHead(headOf(order, want, "tank/a@s"))
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("%s (-want +got): %v\n%s", order, err, diff)
			}
		}
	}
	whole := func(change func([]byte)) []byte {
		data := headOf(binary.LittleEndian, zfs.StreamHead{Kind: zfs.Filesystem, To: 4}, "tank/a@s")
		change(data)
		return data
	}
	for what, data := range map[string][]byte{
		"nothing":          nil,
		"short":            whole(func([]byte) {})[:headBytes-1],
		"magic":            whole(func(d []byte) { d[headMagicAt]++ }),
		"the end":          whole(func(d []byte) { d[0] = 5 }),
		"kind of header":   whole(func(d []byte) { d[headVersionAt] |= 3 }),
		"no kind":          whole(func(d []byte) { d[headVersionAt] &^= 3 }),
		"kind of dataset":  whole(func(d []byte) { d[headKindAt] = 4 }),
		"name without end": whole(func(d []byte) { copy(d[headNameAt:], "tank/a@"+strings.Repeat("s", 256)) }),
		"no snapshot":      whole(func(d []byte) { copy(d[headNameAt:], "tank/abc") }),
		"below a snapshot": whole(func(d []byte) { copy(d[headNameAt:], "tank@a/b") }),
	} {
		if got, err := parseStreamHead(data); !errors.Is(err, zfs.ErrBadStream) {
			t.Errorf("%s: got %+v, %v", what, got, err)
		}
	}
}

// TestReceiveWanted: what was asked for goes to zfs as a whole, and of anything else zfs is told nothing.
func TestReceiveWanted(t *testing.T) {
	found := ""
	want := zfs.StreamWanted{Kind: zfs.Filesystem, From: 1, To: 2, Found: func(h zfs.StreamHead) { found += h.Name }}
	right := zfs.StreamHead{Kind: zfs.Filesystem, From: 1, To: 2}
	whole := string(headOf(binary.LittleEndian, right, "tank/a@2")) + strings.Repeat("more", 1000)
	s, calls := fake(t, reply{Read: -1})
	if err := s.Receive(t.Context(), zfs.ReceiveSpec{Name: "tank/r", Want: &want}, slowly{strings.NewReader(whole)}); err != nil {
		t.Fatal(err)
	}
	if got := calls(); len(got) != 1 || got[0].Input != asKept(t, whole) {
		t.Errorf("calls: %+v", got)
	}
	other := func(h zfs.StreamHead) string { return string(headOf(binary.LittleEndian, h, "tank/a@2")) + "more" }
	cut := errors.New("connection is cut")
	for what, c := range map[string]struct {
		stream io.Reader
		class  error
	}{
		"package":          {strings.NewReader(other(zfs.StreamHead{Package: true})), zfs.ErrInvalid},
		"another snapshot": {strings.NewReader(other(zfs.StreamHead{Kind: zfs.Filesystem, From: 1, To: 3})), zfs.ErrInvalid},
		"full":             {strings.NewReader(other(zfs.StreamHead{Kind: zfs.Filesystem, To: 2})), zfs.ErrInvalid},
		"no stream":        {strings.NewReader(strings.Repeat("x", 400)), zfs.ErrBadStream},
		"nothing":          {strings.NewReader(""), zfs.ErrBadStream},
		"short":            {strings.NewReader(whole[:headBytes-1]), zfs.ErrBadStream},
		"cut":              {io.MultiReader(strings.NewReader(whole[:100]), failing{cut}), cut},
	} {
		s, calls := fake(t, reply{Read: -1})
		err := s.Receive(t.Context(), zfs.ReceiveSpec{Name: "tank/r", Force: true, Want: &want}, c.stream)
		if !errors.Is(err, c.class) {
			t.Errorf("%s: %v", what, err)
		}
		if got := commandLines(calls()); len(got) > 0 {
			t.Errorf("%s: zfs was called: %q", what, got)
		}
	}
	if found != "tank/a@2" {
		t.Errorf("told of %q, want the snapshot of the stream that was right", found)
	}
}

// slowly gives a byte at a time, as a connection may.
type slowly struct{ r io.Reader }

func (r slowly) Read(p []byte) (int, error) { return r.r.Read(p[:min(len(p), 1)]) }

// asKept is a text after the way through the file in which the fake program keeps it: what is no UTF-8 is lost there.
func asKept(t *testing.T, text string) (kept string) {
	t.Helper()
	data, err := json.Marshal(text)
	if err == nil {
		err = json.Unmarshal(data, &kept)
	}
	if err != nil {
		t.Fatal(err)
	}
	return kept
}

// TestReceiveWantedContext: the end of the context is enough, though the stream has not begun.
func TestReceiveWantedContext(t *testing.T) {
	s, calls := fake(t, reply{Read: -1})
	silent, end := io.Pipe()
	defer end.Close()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	want := zfs.StreamWanted{Kind: zfs.Filesystem, To: 2}
	if err := s.Receive(ctx, zfs.ReceiveSpec{Name: "tank/r", Want: &want}, silent); !errors.Is(err, context.Canceled) || len(calls()) > 0 {
		t.Errorf("got %v, and %d calls", err, len(calls()))
	}
}
