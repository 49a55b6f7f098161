package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	filev1 "github.com/cyvive/cyvive/api/proto/file/v1"
	"github.com/cyvive/cyvive/cmd/nodectl/output"
	"github.com/cyvive/cyvive/cmd/nodectl/redact"
	"github.com/cyvive/cyvive/cmd/nodectl/support"
)

// content is what an item brought; with an error, what came before it.
type content struct {
	text                string
	dropped, redactions int
}

// take asks for one item.
type take func(ctx context.Context, conn *connection) (content, error)

// message takes the answer of one call, as JSON.
func message[T proto.Message](call func(context.Context, *connection) (T, error)) take {
	return func(ctx context.Context, conn *connection) (content, error) {
		answer, err := call(ctx, conn)
		if err != nil {
			return content{}, err
		}
		n := redact.Message(answer)
		var text bytes.Buffer
		if err := output.WriteAll(&text, output.FormatJSON, []output.Answer{{Message: answer}}, false); err != nil {
			return content{}, err
		}
		if text.Len() > maxItemBytes {
			return content{}, fmt.Errorf("it is %d bytes long, and %d is the most that is taken", text.Len(), maxItemBytes)
		}
		return content{text: text.String(), redactions: n}, nil
	}
}

// lines takes the end of a stream, as lines.
func lines[T any](open func(context.Context, *connection) (receiver[T], error), line func(T) string) take {
	return func(ctx context.Context, conn *connection) (content, error) {
		kept := support.Lines{MaxBytes: maxItemBytes}
		err := receive(ctx, conn, open, func(m T) error {
			kept.Add(strings.TrimRight(line(m), "\n"))
			return nil
		})
		if err == nil && ctx.Err() != nil { // receive takes its end for the caller's wish
			err = status.FromContextError(ctx.Err()).Err()
		}
		text, dropped := kept.Text()
		text, n := redact.Text(text)
		return content{text, dropped, n}, err
	}
}

var errLong = errors.New("the file is longer than what is taken")

// fileText takes a file of the node, the beginning of one that is long.
func fileText(p string) take {
	return func(ctx context.Context, conn *connection) (content, error) {
		var data bytes.Buffer
		err := receive(ctx, conn, func(ctx context.Context, conn *connection) (receiver[*filev1.ReadFileResponse], error) {
			return filev1.NewFileServiceClient(conn).ReadFile(ctx, &filev1.ReadFileRequest{Path: p, LimitBytes: maxReadBytes})
		}, func(m *filev1.ReadFileResponse) error {
			if data.Len()+len(m.GetData()) > maxReadBytes {
				return errLong
			}
			data.Write(m.GetData())
			return nil
		})
		text, n := redact.Text(strings.ToValidUTF8(data.String(), "\uFFFD"))
		return content{text: text, redactions: n}, err
	}
}

// timelineText is the milestones of the running boot.
func timelineText(ctx context.Context, conn *connection) (content, error) {
	boots, err := listBoots(ctx, conn)
	if err != nil {
		return content{}, err
	}
	c := timelineColumns()
	var text bytes.Buffer
	if err := (output.Table{Header: c.header, Rows: c.rows(boots)}).Write(&text); err != nil {
		return content{}, err
	}
	return content{text: text.String()}, nil
}
