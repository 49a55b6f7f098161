package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// takeOver answers at the socket of the plane's containerd, in its place, until the
// process is killed. It tells when it does, and when the node has asked the first time.
// Kinds are nonsense, silent and huge.
func takeOver(kind string) error {
	socket := host + "/run/containerd/containerd.sock"
	if err := os.Remove(socket); err != nil && !os.IsNotExist(err) {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	if kind == "huge" {
		// The node writes this file for each plane, and nothing can be put in the place of
		// a folder that is not empty. No more pods are started here afterwards.
		resolv := host + "/run/resolv.conf"
		if err := errors.Join(os.Remove(resolv), os.MkdirAll(resolv+"/x", 0o755)); err != nil {
			return err
		}
	}
	fmt.Println("taken over")
	l := &told{Listener: listener}
	switch kind {
	case "nonsense":
		for {
			conn, err := l.Accept()
			if err != nil {
				return err
			}
			_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("\xff\x00\x1b[31m", 1<<12)))
			_ = conn.Close()
		}
	case "silent":
		return serve(l, func(_ any, stream grpc.ServerStream) error {
			<-stream.Context().Done()
			return stream.Context().Err()
		})
	case "huge":
		return serve(l, (&giant{}).answer)
	}
	return fmt.Errorf("takeover %q is not known", kind)
}

// told is a listener that tells of the node's first connection.
type told struct {
	net.Listener
	once sync.Once
}

func (t *told) Accept() (net.Conn, error) {
	conn, err := t.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if pid, err := peer(conn); err == nil && pid == 0 {
		t.once.Do(func() { fmt.Println("asked") })
	}
	return conn, nil
}

func serve(l net.Listener, handler grpc.StreamHandler) error {
	return grpc.NewServer(grpc.UnknownServiceHandler(handler)).Serve(l)
}

// giant answers with more than anybody can keep: events and containers without an end, and
// tasks of two bytes each.
type giant struct{ lists atomic.Int64 }

func (g *giant) answer(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	if err := stream.RecvMsg(&emptypb.Empty{}); err != nil {
		return err
	}
	container := message(0x0a, 0x04, 0x0a, 0x02, 'x', 'x')
	switch path.Base(method) {
	case "Check": // of grpc.health.v1: it serves
		return stream.SendMsg(message(0x08, 0x01))
	case "Subscribe":
		return flood(stream, message())
	case "ListStream":
		if g.lists.Add(1)%2 == 0 {
			return flood(stream, container)
		}
		return stream.SendMsg(container)
	case "List":
		return stream.SendMsg(message(bytes.Repeat([]byte{0x0a, 0x00}, 7<<20)...))
	}
	return status.Error(codes.Unknown, strings.Repeat("\x1b[31m\n", 1000))
}

// message is one of these bytes, of whatever type the other side takes it for.
func message(data ...byte) *emptypb.Empty {
	m := &emptypb.Empty{}
	m.ProtoReflect().SetUnknown(data)
	return m
}

func flood(stream grpc.ServerStream, m *emptypb.Empty) error {
	for {
		if err := stream.SendMsg(m); err != nil {
			return err
		}
	}
}
