package main

import (
	"errors"
	"net"
	"testing"
)

// TestDialAddress: the form of an address says over what it is reached. Nobody listens here: the error says what was tried.
func TestDialAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{closed: "tcp", "vsock://4294967290:50000": "vsock"} {
		conn, err := dialAddress(t.Context(), address)
		if err == nil {
			conn.Close()
			t.Errorf("%s: somebody answers", address)
			continue
		}
		if tried, ok := errors.AsType[*net.OpError](err); !ok || tried.Net != want {
			t.Errorf("%s: got %v, want an error of %s", address, err, want)
		}
	}
}
