package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"syscall"
	"time"
)

// Handler does what requests ask for. Its methods are called concurrently.
type Handler interface {
	Start(ctx context.Context, service string) error
	Stop(ctx context.Context, service string) error
	Restart(ctx context.Context, service string) error
	Status() []Service
	// OpenLog makes the FIFO that feeds the ring of name, or finds it.
	OpenLog(name string) (fifo string, err error)
	// Shutdown only begins it.
	Shutdown(a Action) error
	// Trial is what the agent says of a trial; see Client.
	Trial(on bool)
	// OnTrial tells whether the boot is a trial still.
	OnTrial() bool
}

// Limits of a connection.
const (
	maxConnections = 32
	idleTimeout    = 10 * time.Minute
	acceptPause    = time.Second // after an error
)

// Serve answers on a socket at path, mode 0600, until ctx ends. What lay at
// path before is replaced. Connections of others than uid allowUID are closed
// unanswered.
func Serve(ctx context.Context, path string, allowUID uint32, h Handler, log *slog.Logger) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("replace control socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return fmt.Errorf("listen for control: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return fmt.Errorf("protect control socket: %w", err)
	}
	slots := make(chan struct{}, maxConnections)
	for {
		c, err := l.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			// Out of descriptors, perhaps: init must be reachable again later.
			log.Warn("accept control connection", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
			continue
		}
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			defer c.Close()
			defer func() {
				if p := recover(); p != nil {
					log.Error("control request broke", "panic", fmt.Sprint(p))
				}
			}()
			if uid, err := peerUID(c); err != nil || uid != allowUID {
				log.Warn("refused control connection", "uid", uid, "err", err)
				return
			}
			serveConn(ctx, c, h)
		}()
	}
}

func peerUID(c *net.UnixConn) (uint32, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *syscall.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err = errors.Join(err, credErr); err != nil {
		return 0, fmt.Errorf("read peer credentials: %w", err)
	}
	return cred.Uid, nil
}

func serveConn(ctx context.Context, c net.Conn, h Handler) {
	lines := bufio.NewScanner(c)
	lines.Buffer(make([]byte, 1024), MaxLineBytes)
	out := json.NewEncoder(c)
	for {
		c.SetReadDeadline(time.Now().Add(idleTimeout))
		if !lines.Scan() {
			return
		}
		a := answer(ctx, lines.Bytes(), h)
		c.SetWriteDeadline(time.Now().Add(10 * time.Second))
		if out.Encode(a) != nil {
			return
		}
	}
}

func answer(ctx context.Context, line []byte, h Handler) response {
	q, err := parseRequest(line)
	if err != nil {
		return response{Error: err.Error()}
	}
	var a response
	switch q.Op {
	case "start":
		err = h.Start(ctx, q.Service)
	case "stop":
		err = h.Stop(ctx, q.Service)
	case "restart":
		err = h.Restart(ctx, q.Service)
	case "status":
		a.Services = h.Status()
	case "log":
		a.Path, err = h.OpenLog(q.Name)
	case "shutdown":
		err = h.Shutdown(q.Action)
	case "trial":
		h.Trial(*q.On)
	case "on-trial":
		a.OnTrial = h.OnTrial()
	}
	if err != nil {
		return response{Error: err.Error()}
	}
	return a
}
