package main

import (
	"io"
	"net"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		asked, _ := io.ReadAll(conn)
		_, _ = io.WriteString(conn, "you said "+string(asked))
	}()
	var out strings.Builder
	if err := run([]string{l.Addr().String()}, strings.NewReader("hello"), &out); err != nil || out.String() != "you said hello" {
		t.Errorf("got %q, %v", out.String(), err)
	}
	for _, args := range [][]string{nil, {"127.0.0.1:1", "127.0.0.1:2"}, {"192.0.2.1:80"}, {"localhost:80"}, {"127.0.0.1"}} {
		if err := run(args, strings.NewReader(""), io.Discard); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}
