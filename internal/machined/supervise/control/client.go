package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"
)

// Client asks init. Each call has its own connection, so calls may run at
// once and a Client needs no closing.
type Client struct{ path string }

// Dial returns a client of the socket at path. It does not connect yet.
func Dial(path string) *Client { return &Client{path: path} }

// Start starts a service, and returns once it runs. A running service is left alone.
func (c *Client) Start(ctx context.Context, service string) error {
	_, err := c.call(ctx, request{Op: "start", Service: service})
	return err
}

// Stop stops a service, and returns once it is gone.
func (c *Client) Stop(ctx context.Context, service string) error {
	_, err := c.call(ctx, request{Op: "stop", Service: service})
	return err
}

// Restart stops a service and starts it again.
func (c *Client) Restart(ctx context.Context, service string) error {
	_, err := c.call(ctx, request{Op: "restart", Service: service})
	return err
}

// Status lists all services of init, in the order of its table.
func (c *Client) Status(ctx context.Context) ([]Service, error) {
	a, err := c.call(ctx, request{Op: "status"})
	return a.Services, err
}

// OpenLog returns the FIFO whose data init keeps in the ring log/NAME.log.
// init holds the FIFO open: a writer never blocks for want of a reader.
func (c *Client) OpenLog(ctx context.Context, name string) (fifo string, err error) {
	a, err := c.call(ctx, request{Op: "log", Name: name})
	return a.Path, err
}

// Shutdown begins the ordered shutdown and returns at once.
func (c *Client) Shutdown(ctx context.Context, a Action) error {
	_, err := c.call(ctx, request{Op: "shutdown", Action: a})
	return err
}

// Trial tells init about the trial of a new release (package boot/trial): that the
// agent is alive and still at it, or that this boot is no trial, or none any more,
// which is for good. It does not make a boot a trial.
func (c *Client) Trial(ctx context.Context, on bool) error {
	_, err := c.call(ctx, request{Op: "trial", On: &on})
	return err
}

// OnTrial asks whether the boot is a trial still: the boot loader has counted it, and
// no agent of this boot has said that it is none. It is no sign of life.
func (c *Client) OnTrial(ctx context.Context) (bool, error) {
	a, err := c.call(ctx, request{Op: "on-trial"})
	return a.OnTrial, err
}

func (c *Client) call(ctx context.Context, q request) (response, error) {
	var a response
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", c.path)
	if err != nil {
		return a, fmt.Errorf("ask init: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := json.NewEncoder(conn).Encode(q); err != nil {
		return a, fmt.Errorf("ask init: %w", errors.Join(err, ctx.Err()))
	}
	line, err := bufio.NewReader(conn).ReadBytes('\n')
	if err != nil {
		return a, fmt.Errorf("read answer of init: %w", errors.Join(err, ctx.Err()))
	}
	return parseResponse(line)
}
