package stage1

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/internal/machined/boot/kmsg"
)

// TestHound: the watchdog is started when its driver is there, fed from then on,
// and handed on. A file stands for the device.
func TestHound(t *testing.T) {
	device := filepath.Join(t.TempDir(), "watchdog0")
	var log bytes.Buffer
	h := &hound{log: kmsg.New(&log).Logger("stage1")}
	h.look(device)
	if env, err := h.HandOn(); env != nil || err != nil || log.Len() > 0 {
		t.Errorf("without a device: hands on %q, %v, and says %s", env, err, &log)
	}
	if err := os.WriteFile(device, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		h.look(device)
	}
	if got, _ := os.ReadFile(device); string(got) != "\x00\x00" {
		t.Errorf("device got %q, want two pings", got)
	}
	if n := strings.Count(log.String(), "started the watchdog"); n != 1 {
		t.Errorf("said %d times that it started:\n%s", n, &log)
	}
	if env, err := h.HandOn(); len(env) != 1 || err != nil {
		t.Errorf("hands on %q, %v", env, err)
	}
	// One that cannot be opened is said once, and tried again.
	log.Reset()
	bad := &hound{log: h.log}
	for range 3 {
		bad.look(t.TempDir())
	}
	if n := strings.Count(log.String(), "watchdog"); n != 2 || bad.Dog != nil { // of the message, and of the error
		t.Errorf("log:\n%s", &log)
	}
}
