package e2e

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	"github.com/cyvive/cyvive/hack/qemu/cluster"
)

// shutdownDeadline is what the phases of an ordered shutdown may take together
// (120 s, internal/machined/boot), and a little for the console.
const shutdownDeadline = 2*time.Minute + 10*time.Second

// awaitBoot waits for the API of another boot than before, and returns the
// ledger.
func awaitBoot(t *testing.T, ctx context.Context, s *suite, before string) (boots []*machinev1.Boot) {
	t.Helper()
	eventually(t, ctx, "wait for the next boot", func(ctx context.Context) (err error) {
		if boots, err = listBoots(ctx, s); err != nil {
			return err
		}
		if boots[0].GetBootId() == before {
			return fmt.Errorf("boot %s still runs", before)
		}
		if len(boots) < 2 {
			return fmt.Errorf("the ledger has one boot, want the one before too")
		}
		return nil
	})
	return boots
}

// currentBoot returns the identity of the boot that runs.
func currentBoot(t *testing.T, ctx context.Context, s *suite) string {
	t.Helper()
	boots, err := listBoots(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	return boots[0].GetBootId()
}

// checkEnd compares how the boot before this one ended.
func checkEnd(t *testing.T, boots []*machinev1.Boot, before string, want machinev1.BootEnd) {
	t.Helper()
	if got := boots[1]; got.GetBootId() != before || got.GetEnd() != want {
		t.Errorf("boot before this one: got %s %s (%s), want %s %s",
			got.GetBootId(), got.GetEnd(), got.GetReason(), before, want)
	}
}

// recover waits until the node and, where it has a cluster, the pod that ran before are in order again.
func (s *suite) recover(t *testing.T, ctx context.Context) {
	t.Helper()
	if err := s.AwaitHealthy(ctx); err != nil {
		t.Fatal(err)
	}
	if s.alone {
		return
	}
	if err := s.AwaitPod(ctx, "demo"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Fetch(ctx, "/api/v1/namespaces/default/pods/demo:8080/proxy/"); err != nil {
		t.Fatal(err)
	}
}

// keptAfter is when a line of a log is on the disk: the node looks each ten seconds, the pool writes after five more, and emulated processors take their time.
const keptAfter = 30 * time.Second

// keptService is one whose log is looked at over the end of a boot.
const keptService = "etcd"

// newestLine returns that of its log, as soon as this boot has one.
func (s *suite) newestLine(t *testing.T, ctx context.Context) (line string) {
	t.Helper()
	eventually(t, ctx, "wait for a line of "+keptService, func(ctx context.Context) error {
		out, err := s.Tools().Nodectl(ctx, "logs", keptService, "--tail", "1")
		if line = strings.TrimSpace(out); err == nil && line == "" {
			return errors.New("it has written nothing")
		}
		return err
	})
	return line
}

// checkKept looks for the line in the log of the boot before, and for it alone there: this boot's log begins anew.
func (s *suite) checkKept(t *testing.T, ctx context.Context, line string) {
	t.Helper()
	var kept string
	eventually(t, ctx, "read the log of the boot before", func(ctx context.Context) (err error) {
		kept, err = s.Tools().Nodectl(ctx, "logs", keptService, "--previous")
		return err
	})
	if !strings.Contains(kept, line) {
		t.Errorf("the log that %s left in the boot before has %d bytes, and not the line %q", keptService, len(kept), line)
	}
	s.newestLine(t, ctx) // that of this boot has begun
	if strings.Contains(s.nodectl(t, ctx, "logs", keptService), line) {
		t.Errorf("the log of %s in this boot has a line of the one before: %q", keptService, line)
	}
}

// keptEnd is the name of what says, beside the logs of a boot, that they were ended in order (package keptlog).
var keptEnd = regexp.MustCompile(`(?m) ended$`)

// checkKeptEnd looks whether the logs of a boot were ended in order: then they have what services wrote last. That a line is kept which was there before the boot was
// ended does not tell, since the node goes on looking while its services end.
func (s *suite) checkKeptEnd(t *testing.T, ctx context.Context, boot string, want bool) {
	t.Helper()
	if out := s.nodectl(t, ctx, "files", "list", "/var/log/services/"+boot); keptEnd.MatchString(out) != want {
		t.Errorf("that the logs of boot %s were ended in order is to be %t; its folder has\n%s", boot, want, out)
	}
}

// newestRecord returns the newest line of the kernel's log.
func (s *suite) newestRecord(t *testing.T, ctx context.Context) string {
	t.Helper()
	record := strings.TrimSpace(s.nodectl(t, ctx, "dmesg", "--tail", "1"))
	if record == "" {
		t.Fatal("the kernel has written nothing")
	}
	return record
}

// checkKeptRecord looks for the record in the kernel's log of the boot before, which has that from its start on.
func (s *suite) checkKeptRecord(t *testing.T, ctx context.Context, record string) {
	t.Helper()
	var kept string
	eventually(t, ctx, "read the kernel's log of the boot before", func(ctx context.Context) (err error) {
		kept, err = s.Tools().Nodectl(ctx, "dmesg", "--previous")
		return err
	})
	if n := strings.Count(kept, record); n != 1 {
		t.Errorf("the kernel's log of the boot before has %d bytes, and %q %d times, want it once", len(kept), record, n)
	}
	if !strings.Contains(kept, "Linux version") {
		t.Errorf("the kernel's log of the boot before has %d bytes, and not the kernel's first line", len(kept))
	}
	if strings.Contains(s.nodectl(t, ctx, "dmesg"), record) {
		t.Errorf("the kernel's log of this boot has a record of the one before: %q", record)
	}
}

// testReboot restarts the node over the API, and is done when its API answers and its services have begun to write.
func testReboot(t *testing.T, s *suite) {
	ctx := testContext(t, shutdownDeadline+bootTimeout)
	before := currentBoot(t, ctx, s)
	console := machine(t, s.Cluster, s.node).Console()
	line, record := s.newestLine(t, ctx), s.newestRecord(t, ctx)
	s.nodectl(t, ctx, "reboot")
	start := time.Now()
	limited, cancel := context.WithTimeout(ctx, shutdownDeadline)
	defer cancel()
	if _, err := console.WaitLine(limited, regexp.MustCompile(`reboot: Restarting system`)); err != nil {
		t.Fatal(err)
	}
	t.Logf("the kernel restarted %.1f s after the call", time.Since(start).Seconds())
	boots := awaitBoot(t, ctx, s, before)
	checkEnd(t, boots, before, machinev1.BootEnd_BOOT_END_CLEAN)
	s.checkKept(t, ctx, line)
	s.checkKeptEnd(t, ctx, before, true)
	s.checkKeptRecord(t, ctx, record)
}

// testPowerCut pulls the plug: the ledger must tell, or it could not tell
// anything, and the node must come back.
func testPowerCut(t *testing.T, s *suite) {
	ctx := testContext(t, 2*bootTimeout)
	before := currentBoot(t, ctx, s)
	line, record := s.newestLine(t, ctx), s.newestRecord(t, ctx)
	time.Sleep(keptAfter)
	if err := machine(t, s.Cluster, s.node).PowerCut(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	boots := awaitBoot(t, ctx, s, before)
	checkEnd(t, boots, before, machinev1.BootEnd_BOOT_END_UNCLEAN)
	s.recover(t, ctx)
	s.checkKept(t, ctx, line)
	s.checkKeptEnd(t, ctx, before, false)
	s.checkKeptRecord(t, ctx, record)
}

// testShutdown powers the node off over the API, and starts it as make cluster-start
// does.
func testShutdown(t *testing.T, s *suite) {
	ctx := testContext(t, shutdownDeadline+bootTimeout)
	before := currentBoot(t, ctx, s)
	m := machine(t, s.Cluster, s.node)
	s.nodectl(t, ctx, "shutdown")
	start := time.Now()
	limited, cancel := context.WithTimeout(ctx, shutdownDeadline)
	defer cancel()
	if err := m.Wait(limited); err != nil {
		t.Fatal(err)
	}
	t.Logf("the machine was off %.1f s after the call", time.Since(start).Seconds())
	again, err := cluster.Open(cluster.Options{
		Dir: filepath.Dir(s.NodeDir(s.node)), BinDir: filepath.Join(s.env.root, "bin"), Out: testWriter{t},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.StartAgain(ctx); err != nil {
		t.Fatal(err)
	}
	boots := awaitBoot(t, ctx, s, before)
	checkEnd(t, boots, before, machinev1.BootEnd_BOOT_END_CLEAN)
}

// testPowerKey powers the node off by its power key, early in its boot.
func testPowerKey(t *testing.T, s *suite) {
	ctx := testContext(t, shutdownDeadline)
	m := machine(t, s.Cluster, s.node)
	console := m.Console()
	if err := m.PressPower(ctx); err != nil {
		t.Fatal(err)
	}
	if err := m.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := console.WaitLine(ctx, regexp.MustCompile(`reboot: Power down`)); err != nil {
		t.Error(err)
	}
}
