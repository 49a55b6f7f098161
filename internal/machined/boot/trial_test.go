package boot

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/machined/boot/kmsg"
	"github.com/cyvive/cyvive/internal/machined/boot/trial"
	"github.com/cyvive/cyvive/internal/machined/supervise/control"
)

// trialMachine is as much of init as decides about a trial; nothing of it can reach
// the real machine.
func trialMachine(t *testing.T, counted bool) (m *machine, log *bytes.Buffer, keep string) {
	t.Helper()
	log = &bytes.Buffer{}
	k := kmsg.New(log)
	m = &machine{log: k.Logger("init"), kmsg: k, slot: "b", requests: make(chan control.Action, 1)}
	variable := filepath.Join(t.TempDir(), "variable")
	if counted {
		raw := []byte{6, 0, 0, 0}
		for _, c := range `\loader\entries\cyvive-b+1-1.conf` + "\x00" {
			raw = binary.LittleEndian.AppendUint16(raw, uint16(c))
		}
		if err := os.WriteFile(variable, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m.watchTrial(variable)
	return m, log, filepath.Join(t.TempDir(), "always_kmsg_dump")
}

// asked is what init was asked for, without taking it.
func (m *machine) asked() control.Action {
	select {
	case a := <-m.requests:
		return a
	default:
		return ""
	}
}

// TestSilentTrialEnds: the machine starts again, in order, once, and the reason is
// the last thing in the kernel's log.
func TestSilentTrialEnds(t *testing.T) {
	m, log, keep := trialMachine(t, true)
	now := time.Now()
	m.checkTrial(now.Add(trial.Silence-time.Second), keep)
	if a := m.asked(); a != "" {
		t.Fatalf("before its time: %s", a)
	}
	handler{m}.Trial(true) // a sign of life, now
	m.checkTrial(now.Add(trial.Silence-time.Second), keep)
	if a := m.asked(); a != "" {
		t.Fatalf("alive: %s", a)
	}
	later := time.Now().Add(trial.Silence)
	m.checkTrial(later, keep)
	m.checkTrial(later.Add(time.Minute), keep)
	if a := m.asked(); a != control.Reboot {
		t.Fatalf("silent: asked for %q, want a reboot", a)
	}
	want := "<27>" + trial.Mark + "its agent has given no sign of life for 3m0s\n"
	if got := strings.Count(log.String(), want); got != 1 {
		t.Errorf("the reason is in the log %d times:\n%s", got, log)
	}
	if data, err := os.ReadFile(keep); string(data) != "Y" || err != nil {
		t.Errorf("the kernel was told %q, %v", data, err)
	}
	m.log.Info("down")
	m.sayFarewell()
	if !strings.HasSuffix(log.String(), want) {
		t.Errorf("the reason is not at the end of the log:\n%s", log)
	}
}

// TestNoTrialGoesOn: neither a boot that the boot loader did not count nor one that
// was blessed ends by itself, however silent its agent is.
func TestNoTrialGoesOn(t *testing.T) {
	plain, plainLog, keep := trialMachine(t, false)
	said, _, _ := trialMachine(t, false)
	handler{said}.Trial(true)
	blessed, _, _ := trialMachine(t, true)
	handler{blessed}.Trial(true)
	handler{blessed}.Trial(false)
	counted, _, _ := trialMachine(t, true)
	if !(handler{counted}).OnTrial() {
		t.Error("a counted boot is no trial by what the agent is told")
	}
	for name, m := range map[string]*machine{"not counted": plain, "the agent takes it for one": said, "blessed": blessed} {
		for d := time.Duration(0); d < 48*time.Hour; d += 10 * time.Minute {
			m.checkTrial(time.Now().Add(d), keep)
		}
		if a := m.asked(); a != "" {
			t.Errorf("%s: asked for %q", name, a)
		}
		if (handler{m}).OnTrial() {
			t.Errorf("%s: it is a trial by what the agent is told", name)
		}
		m.sayFarewell()
	}
	if strings.Contains(plainLog.String(), "trial") {
		t.Errorf("log:\n%s", plainLog)
	}
	if _, err := os.Stat(keep); !os.IsNotExist(err) {
		t.Errorf("the kernel was told to keep its log: %v", err)
	}
}
