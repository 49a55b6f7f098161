package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"google.golang.org/protobuf/types/known/durationpb"

	eventv1 "github.com/cyvive/cyvive/api/proto/event/v1"
	kernelv1 "github.com/cyvive/cyvive/api/proto/kernel/v1"
	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	servicev1 "github.com/cyvive/cyvive/api/proto/service/v1"
)

const (
	// frameTime is the least time between two frames.
	frameTime = 200 * time.Millisecond
	// retryTime is between two attempts at a stream that ended; it doubles up to
	// maxRetryTime, since each attempt is in the node's audit log.
	retryTime    = 2 * time.Second
	maxRetryTime = time.Minute
	// keptLines is how many events and lines of a log are kept.
	keptLines = 200
	// plainWidth and plainHeight are of the one frame that is written where
	// there is no terminal.
	plainWidth, plainHeight = 120, 48
)

// The sequences of ECMA-48 and xterm that the dashboard uses.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l" // the alternate screen, without cursor
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	toTop       = "\x1b[H"
	clearLine   = "\x1b[K"
	clearBelow  = "\x1b[J"
)

func (a *app) dashboardCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "dashboard",
		Short: "Watch one node: services, load, memory, events and logs",
		Long:  "Watch one node: services, load, memory, events, and the log of the service that the arrow keys pick. q ends it. Where standard output is no terminal, one picture is written.",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.dashboard(cmd.Context()) },
	}
}

func (a *app) dashboard(ctx context.Context) error {
	t, err := a.target()
	if err != nil {
		return err
	}
	if len(t.nodes) != 1 {
		return usagef("the dashboard shows one node, and the context has %s: pick one with --nodes", strings.Join(t.nodes, ", "))
	}
	conn, err := t.dial(t.nodes[0])
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	screen, ok := a.stdout.(*os.File)
	terminal := ok && term.IsTerminal(int(screen.Fd())) && term.IsTerminal(int(os.Stdin.Fd()))
	b := newBoard(t.nodes[0])
	b.once = !terminal
	var streams sync.WaitGroup
	defer streams.Wait()
	defer cancel()
	b.follow(ctx, &streams, t, conn)
	if !terminal {
		return a.onePicture(ctx, b)
	}
	return b.show(ctx, os.Stdin, screen, a.now)
}

// onePicture waits until the board is whole, and writes it.
func (a *app) onePicture(ctx context.Context, b *board) error {
	timeout := time.NewTimer(a.timeout)
	defer timeout.Stop()
	for !b.whole() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout.C:
			return a.report([]failure{{b.node, b.problem()}})
		case <-b.changed:
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, line := range b.picture(plainWidth, plainHeight, a.now()) {
		if _, err := fmt.Fprintln(a.stdout, strings.TrimRight(line, " ")); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
	}
	return nil
}

// board is what the dashboard knows. Streams fill it, each in its goroutine.
type board struct {
	node    string
	once    bool          // events and logs end with what there is now
	changed chan struct{} // of capacity one

	mu       sync.Mutex
	info     *machinev1.GetNodeResponse
	health   *machinev1.GetHealthResponse
	services []*servicev1.Service
	now, was *kernelv1.Stats
	events   []string
	logs     []string
	selected int
	relog    context.CancelFunc
	problems map[string]error // by stream
	ended    map[string]bool  // streams that came to their end, with once
}

func newBoard(node string) *board {
	return &board{node: node, changed: make(chan struct{}, 1), problems: map[string]error{}, ended: map[string]bool{}, relog: func() {}}
}

// update changes the board and asks for a frame.
func (b *board) update(change func()) {
	b.mu.Lock()
	change()
	b.mu.Unlock()
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// whole tells whether everything has come that one picture shows: one status of
// each kind, all events, and the log that is selected, if it can be had.
func (b *board) whole() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	logs := len(b.services) == 0 || b.ended["logs"] || b.problems["logs"] != nil
	return b.info != nil && b.health != nil && b.services != nil && b.now != nil && b.ended["events"] && logs
}

// problem is why not everything has come.
func (b *board) problem() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, err := range b.problems {
		if err != nil {
			return err
		}
	}
	return errors.New("no answer in time: the node is slow or cannot be reached; --timeout gives it longer")
}

// follow begins all streams.
func (b *board) follow(ctx context.Context, all *sync.WaitGroup, t *target, conn *connection) {
	keep := func(name string, run func(context.Context) error) {
		all.Go(func() {
			delay := retryTime
			for {
				started := time.Now()
				err := run(ctx)
				if ctx.Err() != nil {
					return
				}
				if errors.Is(err, errAnother) || time.Since(started) > maxRetryTime {
					delay = retryTime
				}
				if errors.Is(err, errAnother) {
					continue
				}
				if err == nil && b.once {
					b.update(func() { b.ended[name] = true })
					return
				}
				if err != nil {
					err = t.explain(err, conn.lastCause())
				}
				b.update(func() { b.problems[name] = err })
				select {
				case <-ctx.Done():
					return
				case <-time.After(delay):
					delay = min(2*delay, maxRetryTime)
				}
			}
		})
	}
	keep("node", func(ctx context.Context) error {
		return receive(ctx, conn, func(ctx context.Context, c *connection) (receiver[*machinev1.WatchNodeResponse], error) {
			return machinev1.NewMachineServiceClient(c).WatchNode(ctx, &machinev1.WatchNodeRequest{})
		}, func(m *machinev1.WatchNodeResponse) error {
			b.update(func() { b.info, b.problems["node"] = m.GetNode(), nil })
			return nil
		})
	})
	keep("health", func(ctx context.Context) error {
		return receive(ctx, conn, func(ctx context.Context, c *connection) (receiver[*machinev1.WatchHealthResponse], error) {
			return machinev1.NewMachineServiceClient(c).WatchHealth(ctx, &machinev1.WatchHealthRequest{})
		}, func(m *machinev1.WatchHealthResponse) error {
			b.update(func() { b.health, b.problems["health"] = m.GetHealth(), nil })
			return nil
		})
	})
	keep("services", func(ctx context.Context) error {
		return receive(ctx, conn, watchServices, func(m *servicev1.WatchServicesResponse) error {
			b.update(func() { b.services, b.problems["services"] = m.GetServices(), nil })
			return nil
		})
	})
	keep("stats", func(ctx context.Context) error {
		return receive(ctx, conn, func(ctx context.Context, c *connection) (receiver[*kernelv1.WatchStatsResponse], error) {
			return kernelv1.NewKernelServiceClient(c).WatchStats(ctx, &kernelv1.WatchStatsRequest{Interval: durationpb.New(time.Second)})
		}, func(m *kernelv1.WatchStatsResponse) error {
			b.update(func() { b.was, b.now, b.problems["stats"] = b.now, m.GetStats(), nil })
			return nil
		})
	})
	keep("events", func(ctx context.Context) error {
		b.update(func() { b.events = nil })
		return receive(ctx, conn, streamEvents(tailFlags{follow: !b.once, tail: keptLines}), func(m *eventv1.StreamEventsResponse) error {
			b.update(func() { b.events, b.problems["events"] = keepNewest(b.events, eventLine(m)), nil })
			return nil
		})
	})
	keep("logs", func(ctx context.Context) error { return b.followLog(ctx, conn) })
}

// errAnother ends the log of a service because another was selected.
var errAnother = errors.New("another service was selected")

// followLog follows the log of the service that is selected until another is.
func (b *board) followLog(ctx context.Context, conn *connection) error {
	outer := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var service string
	b.update(func() {
		b.logs, b.relog = nil, cancel
		if b.selected < len(b.services) {
			service = b.services[b.selected].GetName()
		}
	})
	if service == "" {
		// They come soon.
		select {
		case <-outer.Done():
		case <-time.After(frameTime):
		}
		return errAnother
	}
	err := receive(ctx, conn, func(ctx context.Context, c *connection) (receiver[*servicev1.StreamLogsResponse], error) {
		tail := uint32(keptLines)
		return servicev1.NewServiceServiceClient(c).StreamLogs(ctx, &servicev1.StreamLogsRequest{Service: service, Follow: !b.once, Tail: &tail})
	}, func(m *servicev1.StreamLogsResponse) error {
		b.update(func() { b.logs, b.problems["logs"] = keepNewest(b.logs, m.GetLine()), nil })
		return nil
	})
	if ctx.Err() != nil && outer.Err() == nil {
		return errAnother
	}
	return err
}

func keepNewest(lines []string, line string) []string {
	lines = append(lines, line)
	return lines[max(0, len(lines)-keptLines):]
}

// key is what a key of the keyboard means.
type key int

const (
	keyNone key = iota
	keyUp
	keyDown
	keyQuit
)

// keys reads what a terminal in raw mode sends.
func keys(data []byte) []key {
	var out []key
	for text := string(data); text != ""; {
		switch {
		case strings.HasPrefix(text, "\x1b[A"), strings.HasPrefix(text, "\x1bOA"):
			out, text = append(out, keyUp), text[3:]
		case strings.HasPrefix(text, "\x1b[B"), strings.HasPrefix(text, "\x1bOB"):
			out, text = append(out, keyDown), text[3:]
		default:
			switch text[0] {
			case 'k':
				out = append(out, keyUp)
			case 'j':
				out = append(out, keyDown)
			case 'q', 0x03, 0x04: // and ctrl-c, ctrl-d
				out = append(out, keyQuit)
			}
			text = text[1:]
		}
	}
	return out
}

// press does what a key means, and tells whether to go on.
func (b *board) press(k key) bool {
	step := map[key]int{keyUp: -1, keyDown: 1}[k]
	b.update(func() {
		selected := min(max(b.selected+step, 0), max(len(b.services)-1, 0))
		if selected != b.selected {
			b.selected = selected
			b.relog()
		}
	})
	return k != keyQuit
}

// show draws on a terminal until a key or the context ends it.
func (b *board) show(ctx context.Context, keyboard, screen *os.File, now func() time.Time) (err error) {
	before, err := term.MakeRaw(int(keyboard.Fd()))
	if err != nil {
		return fmt.Errorf("set the terminal up: %w", err)
	}
	if _, err := io.WriteString(screen, enterScreen); err != nil {
		return fmt.Errorf("write to the terminal: %w", err)
	}
	defer func() {
		_, e := io.WriteString(screen, leaveScreen)
		err = errors.Join(err, e, term.Restore(int(keyboard.Fd()), before))
	}()
	pressed := make(chan []byte)
	go readKeys(ctx, keyboard, pressed) // it ends with the program: a read of a terminal cannot be ended
	tick := time.NewTicker(time.Second) // the clock goes on
	defer tick.Stop()
	for {
		if err := b.draw(screen, now()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case data, ok := <-pressed:
			if !ok {
				return nil
			}
			for _, k := range keys(data) {
				if !b.press(k) {
					return nil
				}
			}
		case <-tick.C:
		case <-b.changed:
			select {
			case <-ctx.Done():
			case <-time.After(frameTime):
			}
		}
	}
}

func readKeys(ctx context.Context, in io.Reader, pressed chan<- []byte) {
	defer close(pressed)
	for {
		buffer := make([]byte, 64)
		n, err := in.Read(buffer)
		if err != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case pressed <- buffer[:n]:
		}
	}
}

// draw writes one frame.
func (b *board) draw(screen *os.File, now time.Time) error {
	width, height, err := term.GetSize(int(screen.Fd()))
	if err != nil {
		width, height = 80, 24
	}
	b.mu.Lock()
	lines := b.picture(width, height, now)
	b.mu.Unlock()
	var frame strings.Builder
	frame.WriteString(toTop)
	for i, line := range lines {
		frame.WriteString(line + clearLine)
		if i < len(lines)-1 {
			frame.WriteString("\r\n")
		}
	}
	frame.WriteString(clearBelow)
	if _, err := io.WriteString(screen, frame.String()); err != nil {
		return fmt.Errorf("write to the terminal: %w", err)
	}
	return nil
}
