package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/cyvive/cyvive/cmd/nodectl/output"
)

// receiver is the client's end of a stream.
type receiver[T any] interface {
	Recv() (T, error)
}

// streaming runs a call whose response is a stream on all nodes at once and
// writes each message as it comes; line is its form in a table. It ends when
// all streams have ended, or with the context, which is no error: it is how a
// followed log is left.
func streaming[T proto.Message](ctx context.Context, a *app, open func(context.Context, *connection) (receiver[T], error), line func(T) string) error {
	t, err := a.target()
	if err != nil {
		return err
	}
	several := len(t.nodes) > 1
	var mu sync.Mutex
	write := func(node string, m T) error {
		mu.Lock()
		defer mu.Unlock()
		if a.format != output.FormatTable {
			return output.WriteOne(a.stdout, a.format, output.Answer{Node: node, Message: m}, several)
		}
		text := output.Clean(line(m)) + "\n"
		if several {
			text = node + "  " + text
		}
		if _, err := io.WriteString(a.stdout, text); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
		return nil
	}
	results := each(ctx, t, func(ctx context.Context, node string, conn *connection) (struct{}, error) {
		return struct{}{}, receive(ctx, conn, open, func(m T) error { return write(node, m) })
	})
	return a.report(errorsOf(results))
}

// receive hands on what one stream brings until it ends.
func receive[T any](ctx context.Context, conn *connection, open func(context.Context, *connection) (receiver[T], error), handle func(T) error) error {
	// Ends the stream when handle fails.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := open(ctx, conn)
	if err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF), status.Code(err) == codes.Canceled && ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		if err := handle(m); err != nil {
			return err
		}
	}
}

// tailFlags are the flags of everything that reads a log.
type tailFlags struct {
	follow bool
	tail   int
}

// lines is the tail of a request: nil asks for all.
func (f tailFlags) lines() *uint32 {
	if f.tail < 0 {
		return nil
	}
	return proto.Uint32(uint32(f.tail))
}
