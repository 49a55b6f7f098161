package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fake records what is asked of it.
type fake struct {
	calls chan string
	block chan struct{}
	trial atomic.Bool
}

func (f *fake) Start(_ context.Context, s string) error {
	f.calls <- "start " + s
	if s == "absent" {
		return errors.New("no such service")
	}
	return nil
}
func (f *fake) Stop(ctx context.Context, s string) error {
	f.calls <- "stop " + s
	if s == "slow" {
		<-f.block
	}
	return nil
}
func (f *fake) Restart(_ context.Context, s string) error { f.calls <- "restart " + s; return nil }
func (f *fake) Status() []Service {
	return []Service{{Name: "machined", State: "running", PID: 7, Since: time.Unix(5, 0).UTC()}}
}
func (f *fake) OpenLog(n string) (string, error) { return "/log/" + n + ".fifo", nil }
func (f *fake) Shutdown(a Action) error {
	f.calls <- "shutdown " + string(a)
	if a == PowerOff {
		panic("broken handler")
	}
	return nil
}

func (f *fake) Trial(on bool) {
	f.calls <- fmt.Sprint("trial ", on)
	f.trial.Store(on)
}
func (f *fake) OnTrial() bool { return f.trial.Load() }

func serve(t *testing.T, uid uint32) (*Client, *fake) {
	t.Helper()
	f := &fake{calls: make(chan string, 32), block: make(chan struct{})}
	path := filepath.Join(t.TempDir(), "init.sock")
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { done <- Serve(ctx, path, uid, f, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	for {
		if info, err := os.Stat(path); err == nil && info.Mode().Perm() == 0o600 {
			return Dial(path), f
		}
		time.Sleep(time.Millisecond)
	}
}

func TestCalls(t *testing.T) {
	c, f := serve(t, uint32(os.Getuid()))
	ctx := t.Context()
	if err := errors.Join(c.Start(ctx, "containerd"), c.Stop(ctx, "containerd"), c.Restart(ctx, "machined"), c.Shutdown(ctx, Reboot),
		c.Trial(ctx, true), c.Trial(ctx, false)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"start containerd", "stop containerd", "restart machined", "shutdown reboot", "trial true", "trial false"} {
		if got := <-f.calls; got != want {
			t.Errorf("call = %q, want %q", got, want)
		}
	}
	list, err := c.Status(ctx)
	if d := cmp.Diff(f.Status(), list); d != "" || err != nil {
		t.Errorf("status: %v\n%s", err, d)
	}
	for _, on := range []bool{true, false} {
		if err := c.Trial(ctx, on); err != nil {
			t.Fatal(err)
		}
		if got, err := c.OnTrial(ctx); got != on || err != nil {
			t.Errorf("on trial: %t, %v, want %t", got, err, on)
		}
	}
	if path, err := c.OpenLog(ctx, "etcd"); path != "/log/etcd.fifo" || err != nil {
		t.Errorf("log = %q, %v", path, err)
	}
}

func TestErrors(t *testing.T) {
	c, f := serve(t, uint32(os.Getuid()))
	tests := map[string]struct {
		err  error
		want string
	}{
		"handler's":    {c.Start(t.Context(), "absent"), "init: no such service"},
		"no service":   {c.Stop(t.Context(), ""), "init: stop: no service named"},
		"bad action":   {c.Shutdown(t.Context(), "explode"), `init: shutdown: action "explode" is neither "reboot" nor "poweroff"`},
		"broken":       {c.Shutdown(t.Context(), PowerOff), "read answer of init: EOF"},
		"no socket":    {Dial("/nowhere/sock").Start(t.Context(), "x"), "ask init: dial unix /nowhere/sock: connect: no such file or directory"},
		"no log name":  {second(c.OpenLog(t.Context(), "../x")), `init: log: name "../x" is not of the form [a-z0-9-]{1,63}`},
		"long request": {c.Start(t.Context(), strings.Repeat("x", MaxLineBytes)), "init: "},
	}
	for name, test := range tests {
		if name == "long request" {
			if test.err == nil {
				t.Errorf("%s: no error", name)
			}
			continue
		}
		if test.err == nil || test.err.Error() != test.want {
			t.Errorf("%s: %v, want %s", name, test.err, test.want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Stop(ctx, "slow"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("call with a deadline: %v, want %v", err, context.DeadlineExceeded)
	}
	close(f.block)
}

func second(_ string, err error) error { return err }

// TestOthersAreRefused: a peer of another uid gets no answer at all.
func TestOthersAreRefused(t *testing.T) {
	c, f := serve(t, uint32(os.Getuid())+1)
	if err := c.Start(t.Context(), "containerd"); err == nil {
		t.Error("another uid was served")
	}
	if len(f.calls) != 0 {
		t.Errorf("handler was called: %s", <-f.calls)
	}
}

func TestSeveralRequestsOnOneConnection(t *testing.T) {
	c, _ := serve(t, uint32(os.Getuid()))
	conn, err := net.Dial("unix", c.path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	buf := make([]byte, 256)
	for range 3 {
		fmt.Fprintln(conn, `{"op":"log","name":"a"}`)
		n, err := conn.Read(buf)
		if got, want := string(buf[:n]), `{"path":"/log/a.fifo"}`+"\n"; got != want || err != nil {
			t.Fatalf("answer = %q, %v; want %q", got, err, want)
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	for _, s := range []string{
		`{"op":"start","service":"containerd"}`, `{"op":"status"}`, `{"op":"log","name":"etcd"}`,
		`{"op":"shutdown","action":"reboot"}`, `{"op":"trial","on":false}`, `{"op":"trial"}`, `{"op":"on-trial"}`, `{"op":"status"}{}`, `{"op":"x"}`, `{"no":1}`, `[`, ``,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		q, err := parseRequest(line)
		if err != nil {
			return
		}
		if q.Op == "log" && filepath.Base(q.Name) != q.Name {
			t.Errorf("name %q is not a plain file name", q.Name)
		}
		if q.Op == "trial" && q.On == nil {
			t.Error("a trial that is neither on nor off was let through")
		}
		if q.Op == "shutdown" && q.Action != Reboot && q.Action != PowerOff {
			t.Errorf("action %q was let through", q.Action)
		}
	})
}

func FuzzParseResponse(f *testing.F) {
	for _, s := range []string{
		`{"services":[{"name":"etcd","state":"running","pid":71,"restarts":2,"since":"2026-11-23T04:00:00Z"}]}`,
		`{"path":"/run/cyvive/log/etcd"}`, `{"onTrial":true}`, `{"error":"no such service"}`, `{"error":7}`, `{}`, `null`, ``,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		a, err := parseResponse(line)
		if err != nil && !cmp.Equal(a, response{}) {
			t.Errorf("%q: got %+v together with %v", line, a, err)
		}
		if err == nil && a.Error != "" {
			t.Errorf("%q: the error %q was passed over", line, a.Error)
		}
	})
}
