package volumes

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/luks"
	"github.com/cyvive/cyvive/internal/trust/kmstest"
)

// given returns what is given out for the state volume in a new boot.
func (n *node) given() []byte {
	n.t.Helper()
	key, err := n.boot("release 1").unseal(n.t.Context(), storage.State, n.device(storage.State), n.how)
	if err != nil {
		n.t.Fatal(err)
	}
	return key
}

// keptFiles are those on the state volume.
func (n *node) keptFiles() map[string][]byte {
	n.t.Helper()
	out := map[string][]byte{}
	err := filepath.WalkDir(filepath.Join(n.dir, "state"), func(path string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			out[path], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil || len(out) == 0 {
		n.t.Fatalf("%d files, %v", len(out), err)
	}
	return out
}

// TestGivenKeyIsNotKept: what a TPM, a key server or a passphrase gives out is on no volume, whatever was done, and cannot be found by who has read all of it; and
// neither can the passphrase.
func TestGivenKeyIsNotKept(t *testing.T) { inEachMode(t, testGivenKeyIsNotKept) }

func testGivenKeyIsNotKept(t *testing.T, n *node) {
	for name, do := range map[string]func(v *Volumes) error{
		"made":     func(*Volumes) error { return nil },
		"enrolled": func(v *Volumes) error { return v.Enrol(t.Context(), storage.State, n.device(storage.State)) },
		"resealed": func(v *Volumes) error { return v.Reseal(t.Context(), n.device(storage.State), n.how) },
		"rotated":  func(v *Volumes) error { return v.Rotate(t.Context(), storage.State, n.device(storage.State), n.how) },
	} {
		before := n.given()
		if err := do(n.boots("release 1")); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		key := n.given()
		if !n.opens(storage.State, key) {
			t.Fatalf("%s: what is given out opens nothing", name)
		}
		if anew := name == "resealed" || name == "rotated"; anew && n.opens(storage.State, before) || !anew && !bytes.Equal(before, key) {
			t.Errorf("%s: the key that was given out before opens the volume still, or another one is", name)
		}
		for path, data := range n.keptFiles() {
			if bytes.Contains(data, key) || bytes.Contains(data, []byte(goodPassphrase)) {
				t.Errorf("%s: it lies in %s", name, path)
			}
		}
		for _, volume := range []string{storage.State, storage.Data} {
			if data := n.files()[n.device(volume)]; bytes.Contains(data, key) || bytes.Contains(data, []byte(goodPassphrase)) {
				t.Errorf("%s: it lies in the clear on the device of %s", name, volume)
			}
		}
	}
}

// TestFalseStateLearnsNothing: a state volume of somebody else's making that all the same was opened with what was given out for the true one is given a key that
// opens it, and none that opens the true one.
func TestFalseStateLearnsNothing(t *testing.T) { inEachMode(t, testFalseStateLearnsNothing) }

func testFalseStateLearnsNothing(t *testing.T, n *node) {
	truth := n.device(storage.State) + "-true"
	data, err := os.ReadFile(n.device(storage.State))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(truth, data, 0o600); err != nil {
		t.Fatal(err)
	}
	given, err := luks.Key(n.given())
	if err != nil {
		t.Fatal(err)
	}
	v := n.boots("release 1")
	if err := n.cryptsetup.Format(t.Context(), n.device(storage.State), storage.State, given); err != nil {
		t.Fatal(err)
	}
	v.cfg.KeyDir = filepath.Join(n.dir, "false/keys")
	if err := v.Enrol(t.Context(), storage.State, n.device(storage.State)); err != nil {
		t.Fatal(err)
	}
	kept, err := filepath.Glob(filepath.Join(n.dir, "false/keys/*"))
	if err != nil || len(kept) != 2 {
		t.Fatalf("it holds %v, %v", kept, err)
	}
	for _, path := range kept {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		key, err := luks.Key(data)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.cryptsetup.Test(t.Context(), n.device(storage.State), key); err != nil {
			t.Errorf("%s does not open the volume that it lies on: %v", path, err)
		}
		if _, err := n.cryptsetup.Test(t.Context(), truth, key); !errors.Is(err, luks.ErrWrongKey) {
			t.Errorf("%s opens the true volume: %v", path, err)
		}
	}
}

// TestServerOfSomebodyElse: whoever has the disk puts a state volume there that a key server of his opens. The node starts with it; it has no key for data, and what
// it seals and keeps from then on opens nothing of the true state.
func TestServerOfSomebodyElse(t *testing.T) { inEachMode(t, testServerOfSomebodyElse) }

func testServerOfSomebodyElse(t *testing.T, n *node) {
	truth, err := os.ReadFile(n.device(storage.State))
	if err != nil {
		t.Fatal(err)
	}
	his := storage.Encryption{Mode: storage.KMS, Server: server(kmstest.New(t, nil))}
	other := n.boot("release 1")
	other.cfg.KeyDir = filepath.Join(n.dir, "false/keys")
	if err := other.Encrypt(t.Context(), storage.State, n.device(storage.State), his); err != nil {
		t.Fatal(err)
	}
	v := n.boot("release 1")
	v.cfg.KeyDir = other.cfg.KeyDir
	if reason := n.unlock(v, storage.State); reason != "" {
		t.Fatalf("the false state: %s", reason)
	}
	if reason := n.unlock(v, storage.Data); reason != "no key: volume state has none for volume data" {
		t.Errorf("data: %q", reason)
	}
	err = errors.Join(
		v.Enrol(t.Context(), storage.State, n.device(storage.State)), v.Reseal(t.Context(), n.device(storage.State), his),
		v.Rotate(t.Context(), storage.State, n.device(storage.State), his),
	)
	if err != nil {
		t.Fatal(err)
	}
	true2 := n.device(storage.State) + "-true"
	if err := os.WriteFile(true2, truth, 0o600); err != nil {
		t.Fatal(err)
	}
	kept, err := filepath.Glob(filepath.Join(n.dir, "false/keys/*"))
	if err != nil || len(kept) != 2 {
		t.Fatalf("it holds %v, %v", kept, err)
	}
	for _, path := range kept {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		key, err := luks.Key(data)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.cryptsetup.Test(t.Context(), true2, key); !errors.Is(err, luks.ErrWrongKey) {
			t.Errorf("%s opens the true volume: %v", path, err)
		}
	}
}

// TestEnrolByTheNextAgent: the agent that opened state ends before it has given it a key of its own. Its successor says so, makes nothing, and the next boot does it.
func TestEnrolByTheNextAgent(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	v := n.boot("release 1")
	if err := v.Encrypt(t.Context(), storage.State, n.device(storage.State), n.how); err != nil {
		t.Fatal(err)
	}
	if reason := n.unlock(v, storage.State); reason != "" {
		t.Fatal(reason)
	}
	if err := n.agent().Enrol(t.Context(), storage.State, n.device(storage.State)); err == nil || !strings.Contains(err.Error(), "next boot") {
		t.Errorf("the next agent: %v", err)
	}
	if got := n.keys(storage.State); len(got) != 1 {
		t.Errorf("slots %v", got)
	}
	v = n.boot("release 1")
	if reason := n.unlock(v, storage.State); reason != "" {
		t.Fatal(reason)
	}
	if err := v.Enrol(t.Context(), storage.State, n.device(storage.State)); err != nil {
		t.Fatal(err)
	}
	if err := n.agent().Enrol(t.Context(), storage.State, n.device(storage.State)); err != nil {
		t.Errorf("once it is done, the next agent: %v", err)
	}
}

// TestResealCuts cuts the power at every change of a header, twice. No slot is left over by it, the key that was sealed before opens nothing any more once the same
// again has come to its end, and a key that no token names, such as the recovery key before the one that is to be noted yet, stays until the next Rotate.
func TestResealCuts(t *testing.T) { inEachMode(t, testResealCuts) }

func testResealCuts(t *testing.T, n *node) {
	earlier := n.addUnnamed()
	slots, whole := len(n.keys(storage.State)), n.files()
	for cut := 1; cut <= 3; cut++ {
		for _, after := range []bool{false, true} {
			if !after && cut > 1 && n.machine == nil {
				continue // the disk is as after the change before, and in the other modes that is enough
			}
			n.restore(whole)
			before := n.given()
			for range 2 {
				v := n.boots("release 1")
				v.cfg.LUKS = &cutter{opener: opener{n.cryptsetup, n}, left: cut, after: after}
				if err := v.Reseal(t.Context(), n.device(storage.State), n.how); !errors.Is(err, errCut) {
					t.Fatalf("cut at change %d: %v", cut, err)
				}
				if got := n.keys(storage.State); len(got) > slots+1 {
					t.Errorf("cut at change %d: slots %v", cut, got)
				}
			}
			if err := n.boots("release 2").Reseal(t.Context(), n.device(storage.State), n.how); err != nil {
				t.Fatalf("after cuts at change %d: %v", cut, err)
			}
			if got := n.keys(storage.State); len(got) != slots || n.opens(storage.State, before) || !n.opens(storage.State, earlier) {
				t.Errorf("after cuts at change %d: slots %v; the key that was sealed before opens it: %t, the earlier key: %t",
					cut, got, n.opens(storage.State, before), n.opens(storage.State, earlier))
			}
			if _, err := os.Stat(n.agent().keyFile(storage.State + staySuffix)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("after cuts at change %d something is left: %v", cut, err)
			}
			n.boots("release 1")
		}
	}
	if err := n.agent().Rotate(t.Context(), storage.State, n.device(storage.State), n.how); err != nil || n.opens(storage.State, earlier) {
		t.Errorf("rotated: %v; the earlier key opens it: %t", err, n.opens(storage.State, earlier))
	}
}

// addUnnamed gives state another key, which no token names.
func (n *node) addUnnamed() []byte {
	n.t.Helper()
	own, err := luks.Key(n.files()[filepath.Join(n.dir, "state/keys", storage.State)])
	if err != nil {
		n.t.Fatal(err)
	}
	further, data := luks.NewKey()
	if _, err := n.cryptsetup.AddKey(n.t.Context(), n.device(storage.State), own, further); err != nil {
		n.t.Fatal(err)
	}
	return data
}

// TestRotateMakesRoom: a header that has no room for another key, as releases before could leave one, has its keys changed all the same.
func TestRotateMakesRoom(t *testing.T) {
	t.Parallel()
	n := made(t)
	r, err := n.agent().RecoveryKey()
	if err != nil {
		t.Fatal(err)
	}
	before := n.files()[filepath.Join(n.dir, "state/keys", storage.State)]
	own, err := luks.Key(before)
	if err != nil {
		t.Fatal(err)
	}
	for full := 0; ; full++ {
		further, _ := luks.NewKey()
		if _, err := n.cryptsetup.AddKey(t.Context(), n.device(storage.State), own, further); err != nil {
			t.Logf("%d keys more have room: %v", full, err)
			break
		}
		if full > 32 { // luks2 has no more slots than that
			t.Fatal("there is always room")
		}
	}
	if err := n.agent().Rotate(t.Context(), storage.State, n.device(storage.State), n.how); err != nil {
		t.Fatal(err)
	}
	n.checkRotated(storage.State, before, r)
	n.boots("release 1")
}

// TestWriteFileLeavesNothing: the half of a key that a power cut left is gone once the
// file is written.
func TestWriteFileLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ".recovery.new"), []byte("cut off"), 0o400); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "recovery")
	for _, want := range []string{"a key", "another"} {
		if err := writeFile(path, []byte(want)); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 {
			t.Errorf("left: %v, %v; want one file", entries, err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
}
