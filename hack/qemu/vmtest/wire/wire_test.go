package wire

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

func TestFrames(t *testing.T) {
	var stream []byte
	stream = Append(stream, Stdout, []byte("out"))
	stream = Append(stream, Stderr, nil)
	stream = Append(stream, Exit, []byte(`{"code": 2, "reason": "x"}`))
	r := bytes.NewReader(stream)
	for _, want := range []struct {
		kind    Kind
		payload string
	}{{Stdout, "out"}, {Stderr, ""}, {Exit, `{"code": 2, "reason": "x"}`}} {
		kind, payload, err := Read(r)
		if err != nil || kind != want.kind || string(payload) != want.payload {
			t.Errorf("got %d %q %v, want %d %q", kind, payload, err, want.kind, want.payload)
		}
	}
	if _, _, err := Read(r); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: got %v, want EOF", err)
	}
	for cut := 1; cut < headerBytes+3; cut++ {
		if _, _, err := Read(bytes.NewReader(stream[:cut])); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut at %d: got %v, want %v", cut, err, io.ErrUnexpectedEOF)
		}
	}
	for _, bad := range [][]byte{{9, 0, 0, 0, 0}, {0, 0, 0, 0, 0}, {1, 0xff, 0, 0, 0}} {
		if _, _, err := Read(bytes.NewReader(bad)); !errors.Is(err, ErrFrame) {
			t.Errorf("%v: got %v, want %v", bad, err, ErrFrame)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(Append(nil, Stdout, []byte("text")))
	f.Fuzz(func(t *testing.T, data []byte) {
		kind, payload, err := Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		if again := Append(nil, kind, payload); !bytes.Equal(again, data[:len(again)]) {
			t.Errorf("%q reads as %d %q, which writes as %q", data, kind, payload, again)
		}
	})
}

func FuzzParseResult(f *testing.F) {
	f.Add([]byte(`{"code": -1, "reason": "killed"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if result, err := ParseResult(data); err != nil && result != (Result{}) {
			t.Errorf("%q: got %v together with %v", data, result, err)
		}
	})
}
