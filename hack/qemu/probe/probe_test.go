package probe

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseStat(t *testing.T) {
	const stat = "71 (a) b (c) S 1 71 71 0 -1 4194560 1 0 0 0 10 20 0 0 20 0 9 0 4711 1000 25 18446744073709551615 1"
	var got Process
	if err := got.ParseStat(stat, 4096); err != nil {
		t.Fatal(err)
	}
	want := Process{PID: 71, Parent: 1, Started: 4711, State: "S", ResidentBytes: 25 * 4096}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, bad := range []string{"", "71", "71 (a", "71 (a) S 1 2", strings.Replace(stat, "4711", "x", 1), "x" + stat} {
		if err := new(Process).ParseStat(bad, 4096); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("1 (init) S 0 1 1 0 -1 1 1 0 0 0 1 2 0 0 20 0 9 0 3 1000 25 1")
	f.Fuzz(func(t *testing.T, stat string) {
		var p Process
		if err := p.ParseStat(stat, 4096); err == nil && p.State == "" {
			t.Errorf("%q: no state and no error", stat)
		}
	})
}

func TestClient(t *testing.T) {
	host, guest := net.Pipe()
	c := NewClient(host)
	defer c.Close()
	go func() {
		defer guest.Close()
		lines := bufio.NewReader(guest)
		for {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				return
			}
			var q Request
			answer := Response{}
			switch json.Unmarshal(line, &q); q.Op {
			case OpRead:
				answer.Data = []byte(q.Path)
			case OpKill:
				answer.Error = "no such process"
			case OpWalk:
				continue // no answer
			}
			out, _ := json.Marshal(answer)
			_, _ = guest.Write(append(out, '\n'))
		}
	}()
	if got, err := c.Read(t.Context(), "/proc/1/stat"); got != "/proc/1/stat" || err != nil {
		t.Errorf("read: got %q, %v", got, err)
	}
	if err := c.Kill(t.Context(), 7, syscall.SIGKILL); err == nil || !strings.Contains(err.Error(), "no such process") {
		t.Errorf("kill: got %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("too long")
	cancel(cause)
	if _, err := c.Walk(ctx, "/sys"); !errors.Is(err, cause) {
		t.Errorf("walk: got %v, want the context's cause", err)
	}
}

// FuzzClient answers one question with any bytes.
func FuzzClient(f *testing.F) {
	f.Add([]byte(`{"processes":[{"pid":1,"parent":0,"started":3,"state":"S","cgroup":"/init","resident_bytes":4096}]}` + "\n"))
	f.Add([]byte(`{"error":"no such process"}` + "\n"))
	f.Add([]byte("{"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		host, guest := net.Pipe()
		c := NewClient(host)
		defer c.Close()
		go func() {
			defer guest.Close()
			if _, err := bufio.NewReader(guest).ReadBytes('\n'); err == nil {
				_, _ = guest.Write(answer)
			}
		}()
		list, err := c.Processes(t.Context())
		if err != nil && list != nil {
			t.Errorf("%q: got %v together with %v", answer, list, err)
		}
	})
}
