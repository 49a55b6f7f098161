package probe

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// Client asks the probe of one machine. It is safe for one goroutine.
type Client struct {
	conn  net.Conn
	lines *bufio.Reader
}

// NewClient returns a client on the port's connection, which it owns.
func NewClient(conn net.Conn) *Client {
	return &Client{conn: conn, lines: bufio.NewReader(conn)}
}

// Close ends the connection; the probe waits for the next.
func (c *Client) Close() error { return c.conn.Close() }

// Processes lists all processes of the machine, kernel threads too.
func (c *Client) Processes(ctx context.Context) ([]Process, error) {
	r, err := c.ask(ctx, Request{Op: OpProcesses})
	return r.Processes, err
}

// Read returns the content of a file of a pseudo file system.
func (c *Client) Read(ctx context.Context, path string) (string, error) {
	r, err := c.ask(ctx, Request{Op: OpRead, Path: path})
	return string(r.Data), err
}

// Walk returns the folders below a path of a pseudo file system, in order.
func (c *Client) Walk(ctx context.Context, path string) ([]string, error) {
	r, err := c.ask(ctx, Request{Op: OpWalk, Path: path})
	return r.Names, err
}

// Kill sends a signal to a process of the machine.
func (c *Client) Kill(ctx context.Context, pid int, signal syscall.Signal) error {
	_, err := c.ask(ctx, Request{Op: OpKill, PID: pid, Signal: int(signal)})
	return err
}

// Write writes an executable file. /proc/PID/root leads to the files of a process.
func (c *Client) Write(ctx context.Context, path string, data []byte) error {
	_, err := c.ask(ctx, Request{Op: OpWrite, Path: path, Data: data})
	return err
}

// Run runs a program and returns its standard output; a status other than 0 is an
// error that has its standard error.
func (c *Client) Run(ctx context.Context, path string, args ...string) (string, error) {
	r, err := c.ask(ctx, Request{Op: OpRun, Path: path, Args: args})
	return string(r.Data), err
}

// Measure is as Run, and tells the most memory that the program took, or that the probe
// has where that is more: what was there before execve(2) counts (exec_mmap in fs/exec.c).
func (c *Client) Measure(ctx context.Context, path string, args ...string) (out string, peakBytes int64, err error) {
	r, err := c.ask(ctx, Request{Op: OpRun, Path: path, Args: args})
	return string(r.Data), r.PeakBytes, err
}

// Beneath lists all that is in the mount on a folder but folders, by paths from there, in
// order: what lies beneath the mounts that there are in it, too.
func (c *Client) Beneath(ctx context.Context, dir string) ([]string, error) {
	r, err := c.ask(ctx, Request{Op: OpBeneath, Path: dir})
	return r.Names, err
}

// ask sends one request and reads its answer. After an error of the connection
// the client is of no more use: the next answer might be this one's.
func (c *Client) ask(ctx context.Context, request Request) (response Response, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("ask probe for %s %s: %w", request.Op, request.Path, err)
		}
	}()
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	line, err := json.Marshal(request)
	if err != nil {
		return Response{}, err
	}
	if _, err := c.conn.Write(append(line, '\n')); err != nil {
		return Response{}, errors.Join(context.Cause(ctx), err)
	}
	if line, err = c.lines.ReadBytes('\n'); err != nil {
		return Response{}, errors.Join(context.Cause(ctx), err)
	}
	if err := json.Unmarshal(line, &response); err != nil {
		return Response{}, err
	}
	if response.Error != "" {
		return Response{}, errors.New(response.Error)
	}
	return response, nil
}
