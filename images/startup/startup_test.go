package startup

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"runtime/metrics"
	"strings"
	"testing"
	"time"
)

// The test's own program is what starts: a runtime reads its environment once.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_STARTS") == "" {
		os.Exit(m.Run())
	}
	EaseGC()
	var stats runtime.MemStats
	var kept [][]byte
	for range 40 { // MiB
		b := make([]byte, 1<<20)
		b[0] = 1
		kept = append(kept, b)
	}
	runtime.ReadMemStats(&stats)
	fmt.Println("started with", stats.NumGC)
	settings := []metrics.Sample{{Name: "/gc/gogc:percent"}, {Name: "/gc/gomemlimit:bytes"}}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		kept = append(kept, make([]byte, 1<<20))[1:]
		metrics.Read(settings)
		// Without a percentage it is the highest number there is.
		if percent := settings[0].Value.Uint64(); percent < math.MaxInt32 && settings[1].Value.Uint64() == math.MaxInt64 {
			fmt.Println("then", percent)
			break
		}
		time.Sleep(time.Millisecond)
	}
	fmt.Printf("child GOGC=%s GOMEMLIMIT=%q %s=%q\n", os.Getenv("GOGC"), os.Getenv("GOMEMLIMIT"), after, os.Getenv(after))
	runtime.KeepAlive(kept)
}

func TestEaseGC(t *testing.T) {
	for given, want := range map[string]string{
		"50":  "then 50\nchild GOGC=50",
		"100": "then 100\nchild GOGC=100",
		"x":   "GOGC_AFTER_START is \"x\", expected a percentage above 0: 100 is taken\nstarted with 0\nthen 100\nchild GOGC=100",
	} {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), "TEST_STARTS=1", "GOGC=off", "GOMEMLIMIT=64MiB", after+"="+given)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s: %v: %s", given, err, &out)
		}
		want += " GOMEMLIMIT=\"\" GOGC_AFTER_START=\"\"\n"
		if !strings.Contains(out.String(), "started with 0\n") || !strings.HasSuffix(out.String(), want) {
			t.Errorf("%s: got\n%s\nwant no collection at its start, and\n%s", given, &out, want)
		}
	}
}

func TestWithoutTheVariable(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "TEST_STARTS=1", "GOGC=30")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if text := string(out); strings.Contains(text, "started with 0\n") || !strings.Contains(text, "then 30\nchild GOGC=30 ") {
		t.Errorf("got\n%s\nwant GOGC to hold from the start", text)
	}
}
