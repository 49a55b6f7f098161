package volumes

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-tpm/tpm2/transport"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/blockdev"
	"github.com/cyvive/cyvive/internal/storage/luks"
	"github.com/cyvive/cyvive/internal/trust/pcr"
	"github.com/cyvive/cyvive/internal/trust/tpm"
	"github.com/cyvive/cyvive/internal/trust/tpmtest"
)

// node is a machine with a TPM and two disks. Only the device-mapper is not there: an open volume is a file beside the device, of which cryptsetup
// has said that the key opens it.
type node struct {
	t          *testing.T
	machine    *tpmtest.Machine
	tpm        transport.TPM
	cryptsetup luks.Cryptsetup
	signer     *ecdsa.PrivateKey
	dir        string
	// release is what the machine was started with.
	release string
}

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{t: t, dir: t.TempDir(), release: "release 1"}
	for _, path := range []string{"/usr/sbin/cryptsetup", "/usr/bin/cryptsetup", "/sbin/cryptsetup"} {
		if _, err := os.Stat(path); err == nil {
			n.cryptsetup.Program = path
		}
	}
	if n.cryptsetup.Program == "" {
		if os.Getenv("REQUIRE_ROOT") == "1" {
			t.Fatal("cryptsetup is not installed, and REQUIRE_ROOT=1 promised it")
		}
		t.Skip("cryptsetup is not installed (make setup)")
	}
	n.machine = tpmtest.New(t)
	var err error
	if n.signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"mapper", "state", "sys/class/block"} {
		if err := os.MkdirAll(filepath.Join(n.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{storage.State, storage.Data} {
		if err := errors.Join(os.WriteFile(n.device(name), nil, 0o600), os.Truncate(n.device(name), 16<<20)); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func (n *node) device(volume string) string { return filepath.Join(n.dir, volume+"-partition") }

// boot starts the machine with a release, and returns the volumes as its agent sees them.
func (n *node) boot(release string) *Volumes {
	n.t.Helper()
	n.release, n.tpm = release, n.machine.Boot()
	tpmtest.Extend(n.t, n.tpm, pcr.SecureBoot, "on")
	tpmtest.Extend(n.t, n.tpm, pcr.Kernel, release)
	for _, gone := range []string{"records", "sys/class/block", "mapper"} {
		if err := errors.Join(os.RemoveAll(filepath.Join(n.dir, gone)), os.MkdirAll(filepath.Join(n.dir, gone), 0o755)); err != nil {
			n.t.Fatal(err)
		}
	}
	return n.agent()
}

// agent is one that was started again in the same boot.
func (n *node) agent() *Volumes {
	return New(Config{
		LUKS: opener{n.cryptsetup, n}, Marks: blockdev.New(blockdev.Tools{}, ""),
		TPM:        func() (*tpm.TPM, error) { return tpm.New(endless{n.tpm}), nil },
		Signatures: func() ([]pcr.Signature, error) { return n.signatures("release 1", "release 2"), nil },
		Signers:    []*ecdsa.PublicKey{&n.signer.PublicKey},
		KeyDir:     filepath.Join(n.dir, "state/keys"), Records: filepath.Join(n.dir, "records"),
		Mapper: filepath.Join(n.dir, "mapper"), Sysfs: filepath.Join(n.dir, "sys"),
	})
}

// endless is a transport that stays open.
type endless struct{ transport.TPM }

func (endless) Close() error { return nil }

func (n *node) signatures(releases ...string) []pcr.Signature {
	n.t.Helper()
	var list []pcr.Signature
	for _, r := range releases {
		var zero pcr.Digest
		s, err := pcr.Sign(pcr.Values{pcr.Kernel: zero.Extended(sha256.Sum256([]byte(r))), pcr.Config: zero, pcr.Extensions: zero}, n.signer)
		if err != nil {
			n.t.Fatal(err)
		}
		list = append(list, s)
	}
	return list
}

// opener is cryptsetup without the device-mapper.
type opener struct {
	luks.Cryptsetup
	n *node
}

func (o opener) Open(ctx context.Context, device, name string, s luks.Secret) error {
	if _, err := o.Test(ctx, device, s); err != nil {
		return err
	}
	dm := filepath.Join(o.n.dir, "sys/class/block/dm-"+name)
	if err := os.MkdirAll(filepath.Join(dm, "dm"), 0o755); err != nil {
		return luks.ErrBusy
	}
	err := os.MkdirAll(filepath.Join(dm, "slaves", filepath.Base(device)), 0o755)
	for file, text := range map[string]string{"dm/name": name + "\n", "dev": "253:0\n", "size": "24576\n"} {
		err = errors.Join(err, os.WriteFile(filepath.Join(dm, file), []byte(text), 0o644))
	}
	// Noise, as what was on the disk before is once it is decrypted.
	noise := make([]byte, 2<<20)
	_, _ = rand.Read(noise)
	return errors.Join(err, os.WriteFile(filepath.Join(o.n.dir, "mapper", name), noise, 0o600))
}

func (o opener) Close(_ context.Context, name string) error {
	data, err := os.ReadFile(filepath.Join(o.n.dir, "mapper", name))
	if err != nil || len(bytes.Trim(data[:blankBytes], "\x00")) > 0 || len(bytes.Trim(data[blankBytes:], "\x00")) == 0 {
		o.n.t.Errorf("closed after its beginning was to be made zero, and nothing behind it: %v", err)
	}
	return errors.Join(err, os.Remove(filepath.Join(o.n.dir, "mapper", name)), os.RemoveAll(filepath.Join(o.n.dir, "sys/class/block/dm-"+name)))
}

func (o opener) Extend(_ context.Context, name string, s luks.Secret) error {
	_, err := o.Test(o.n.t.Context(), o.n.device(name[len("cyvive-"):]), s)
	return err
}

// look is the state of a volume.
func (n *node) look(v *Volumes, volume string) storage.CryptState {
	n.t.Helper()
	s, err := v.Volume(n.t.Context(), volume, n.device(volume))
	if err != nil {
		n.t.Fatal(err)
	}
	return s
}

// unlock has a volume opened, or refused for the reason that is returned.
func (n *node) unlock(v *Volumes, volume string) string {
	n.t.Helper()
	if err := v.Unlock(n.t.Context(), volume, n.device(volume)); err != nil {
		n.t.Fatal(err)
	}
	s := n.look(v, volume)
	if (s.Mapped.Device == "") != (s.Refused != "") {
		n.t.Fatalf("volume %s: %+v", volume, s)
	}
	return s.Refused
}

// made is a node with both volumes, made, opened and with a recovery key.
func made(t *testing.T) *node {
	t.Helper()
	n := newNode(t)
	v := n.boot("release 1")
	for _, volume := range []string{storage.State, storage.Data} {
		if err := v.Encrypt(t.Context(), volume, n.device(volume)); err != nil {
			t.Fatal(err)
		}
		if reason := n.unlock(v, volume); reason != "" {
			t.Fatal(reason)
		}
		if volume == storage.State {
			if err := v.Cap(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := v.Enrol(t.Context(), volume, n.device(volume)); err != nil {
			t.Fatal(err)
		}
		if s := n.look(v, volume); !s.Enrolled || s.HeaderBytes != luks.HeaderBytes || s.Mapped.SizeBytes != 12<<20 || s.Mapped.Numbers != "253:0" {
			t.Errorf("volume %s: %+v", volume, s)
		}
	}
	return n
}

// keys are the numbers of the slots of a volume.
func (n *node) keys(volume string) []int {
	n.t.Helper()
	h, err := luks.Inspect(n.device(volume))
	if err != nil {
		n.t.Fatal(err)
	}
	var out []int
	for _, k := range h.Keyslots {
		out = append(out, k.Number)
	}
	return out
}

func TestLife(t *testing.T) {
	n := made(t)
	data, err := os.ReadFile(filepath.Join(n.dir, "state/keys/recovery"))
	if err != nil {
		t.Fatal(err)
	}
	recoveryKey, err := luks.Key(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, release := range []string{"release 1", "release 2"} {
		v := n.boot(release)
		if capped, err := v.Capped(); capped || err != nil {
			t.Errorf("%s: capped %t, %v", release, capped, err)
		}
		if reason := n.unlock(v, storage.State); reason != "" {
			t.Errorf("%s: %s", release, reason)
		}
		if err := v.Cap(t.Context()); err != nil {
			t.Fatal(err)
		}
		if reason := n.unlock(v, storage.Data); reason != "" {
			t.Errorf("%s: %s", release, reason)
		}
		// Another agent finds them open, capped, and has their keys.
		v = n.agent()
		if capped, err := v.Capped(); !capped || err != nil {
			t.Errorf("%s: capped %t, %v", release, capped, err)
		}
		for _, volume := range []string{storage.State, storage.Data} {
			if s := n.look(v, volume); s.Mapped.Device == "" || s.Refused != "" {
				t.Errorf("%s: volume %s: %+v", release, volume, s)
			}
			if err := v.Extend(t.Context(), volume); err != nil {
				t.Error(err)
			}
			// Enrolled once more, as after a power cut before it was noted, it has no second slot for the same key.
			if err := v.Enrol(t.Context(), volume, n.device(volume)); err != nil {
				t.Error(err)
			}
			if got := n.keys(volume); !slices.Equal(got, []int{0, 1}) {
				t.Errorf("%s: volume %s has the slots %v", release, volume, got)
			}
		}
	}
	for _, volume := range []string{storage.State, storage.Data} {
		if slot, err := n.cryptsetup.Test(t.Context(), n.device(volume), recoveryKey); slot != 1 || err != nil {
			t.Errorf("the recovery key opens slot %d of %s, %v", slot, volume, err)
		}
	}
}

// TestRefused: a machine that may not have the key says why, in this boot and to the next agent; the boot after, it may.
func TestRefused(t *testing.T) {
	n := made(t)
	for name, c := range map[string]struct {
		boot func() *Volumes
		says string
	}{
		"changed image": {func() *Volumes { return n.boot("release 1 with another command line") }, "PCR 11 (the kernel image) is"},
		"added command line": {func() *Volumes {
			v := n.boot("release 1")
			tpmtest.Extend(t, n.tpm, pcr.Config, "init=/bin/sh")
			return v
		}, "PCR 12"},
		"capped": {func() *Volumes {
			v := n.boot("release 1")
			if err := v.Cap(t.Context()); err != nil {
				t.Fatal(err)
			}
			return v
		}, tpm.ErrCapped.Error()},
		"no TPM": {func() *Volumes {
			v := n.boot("release 1")
			v.cfg.TPM = func() (*tpm.TPM, error) { return tpm.Open("/nonexistent/tpm") }
			return v
		}, tpm.ErrNone.Error()},
		"another TPM": {func() *Volumes {
			v := n.boot("release 1")
			n.tpm = tpmtest.New(t).Transport()
			tpmtest.Extend(t, n.tpm, pcr.SecureBoot, "on")
			tpmtest.Extend(t, n.tpm, pcr.Kernel, "release 1")
			return v
		}, tpm.ErrOther.Error()},
		"unsigned": {func() *Volumes {
			v := n.boot("release 1")
			v.cfg.Signatures = func() ([]pcr.Signature, error) { return nil, fmt.Errorf("parse: %w", pcr.ErrUnsigned) }
			return v
		}, pcr.ErrUnsigned.Error()},
	} {
		v := c.boot()
		if reason := n.unlock(v, storage.State); !bytes.Contains([]byte(reason), []byte(c.says)) {
			t.Errorf("%s: refused with %q, want %q in it", name, reason, c.says)
		}
		if s := n.look(n.agent(), storage.State); s.Refused == "" {
			t.Errorf("%s: the next agent does not know", name)
		}
	}
	if reason := n.unlock(n.boot("release 2"), storage.State); reason != "" {
		t.Errorf("the next boot: %s", reason)
	}
}

// TestFalseState: a volume of somebody else's, sealed to the same TPM under the same policy, opens; and then there is no key for data, nor one for the
// true state.
func TestFalseState(t *testing.T) {
	n := made(t)
	truth, err := os.ReadFile(n.device(storage.State))
	if err != nil {
		t.Fatal(err)
	}
	other := n.boot("release 1")
	other.cfg.KeyDir = filepath.Join(n.dir, "false/keys")
	if err := other.Encrypt(t.Context(), storage.State, n.device(storage.State)); err != nil {
		t.Fatal(err)
	}
	v := n.boot("release 1")
	v.cfg.KeyDir = other.cfg.KeyDir // what is on the false volume
	if reason := n.unlock(v, storage.State); reason != "" {
		t.Fatalf("the false state: %s", reason)
	}
	if err := v.Cap(t.Context()); err != nil {
		t.Fatal(err)
	}
	if reason := n.unlock(v, storage.Data); reason != "no key: volume state has none for volume data" {
		t.Errorf("data: %q", reason)
	}
	true2 := n.device(storage.State) + "-true"
	if err := os.WriteFile(true2, truth, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := v.unseal(storage.State, true2); !errors.Is(err, tpm.ErrCapped) {
		t.Errorf("the key of the true state: %v", err)
	}
}

// TestSwappedHeaders: the token of one volume in the header of another is noticed.
func TestSwappedHeaders(t *testing.T) {
	n := made(t)
	h, err := luks.Inspect(n.device(storage.State))
	if err != nil {
		t.Fatal(err)
	}
	v := n.boot("release 1")
	if err := v.Encrypt(t.Context(), storage.State, n.device(storage.State)); err != nil {
		t.Fatal(err)
	}
	if err := n.cryptsetup.PutToken(t.Context(), n.device(storage.State), luks.Token{Number: sealedToken, JSON: h.Tokens[0].JSON}); err != nil {
		t.Fatal(err)
	}
	if reason := n.unlock(v, storage.State); !bytes.Contains([]byte(reason), []byte("it is of volume state ("+h.UUID+")")) {
		t.Errorf("refused with %q", reason)
	}
}

// TestEncryptRefuses: where the next boot could not open it, nothing is made, and the disk is as it was.
func TestEncryptRefuses(t *testing.T) {
	n := newNode(t)
	for name, prepare := range map[string]func(*Volumes){
		"an image that is not the signed one": func(v *Volumes) { tpmtest.Extend(t, n.tpm, pcr.Kernel, "more") },
		"capped":                              func(v *Volumes) { _ = v.Cap(t.Context()) },
		"no signature":                        func(v *Volumes) { v.cfg.Signatures = func() ([]pcr.Signature, error) { return nil, nil } },
		"no signer":                           func(v *Volumes) { v.cfg.Signers = nil },
		"no TPM":                              func(v *Volumes) { v.cfg.TPM = func() (*tpm.TPM, error) { return tpm.Open("/nonexistent/tpm") } },
	} {
		v := n.boot("release 1")
		prepare(v)
		if err := v.Encrypt(t.Context(), storage.State, n.device(storage.State)); err == nil {
			t.Errorf("%s: it was made", name)
		}
		data, err := os.ReadFile(n.device(storage.State))
		if err != nil || len(bytes.Trim(data, "\x00")) > 0 {
			t.Errorf("%s: the disk was changed: %v", name, err)
		}
	}
}

// TestInterrupted: an Encrypt that fails on its way leaves the mark, and the next one begins anew.
func TestInterrupted(t *testing.T) {
	n := newNode(t)
	v := n.boot("release 1")
	disk := blockdev.New(blockdev.Tools{}, "")
	v.cfg.LUKS = failing{opener{n.cryptsetup, n}}
	if err := v.Encrypt(t.Context(), storage.State, n.device(storage.State)); !errors.Is(err, errPower) {
		t.Fatal(err)
	}
	if c, err := disk.Contents(t.Context(), n.device(storage.State)); err != nil || !c.Formatting {
		t.Errorf("after it: %+v, %v", c, err)
	}
	v = n.boot("release 1")
	if err := v.Encrypt(t.Context(), storage.State, n.device(storage.State)); err != nil {
		t.Fatal(err)
	}
	c, err := disk.Contents(t.Context(), n.device(storage.State))
	if err != nil || c.Formatting || c.Signature != storage.Encrypted {
		t.Errorf("done: %+v, %v", c, err)
	}
	if reason := n.unlock(v, storage.State); reason != "" {
		t.Error(reason)
	}
}

var errPower = errors.New("power failed")

// failing loses its power before it has stored the sealed key.
type failing struct{ opener }

func (failing) PutToken(context.Context, string, luks.Token) error { return errPower }

// TestOtherDevice: an open volume of the name that lies on another disk is not taken for the node's.
func TestOtherDevice(t *testing.T) {
	n := made(t)
	v := n.boot("release 1")
	if reason := n.unlock(v, storage.State); reason != "" {
		t.Fatal(reason)
	}
	slaves := filepath.Join(n.dir, "sys/class/block/dm-cyvive-state/slaves")
	if err := os.Rename(filepath.Join(slaves, "state-partition"), filepath.Join(slaves, "sdz")); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Volume(t.Context(), storage.State, n.device(storage.State)); err == nil {
		t.Error("it was taken")
	}
}

// TestOpens: a volume that nothing is sealed for is opened by any image, and a sealed one by none that is not signed; package pcr has the rest.
func TestOpens(t *testing.T) {
	n := newNode(t)
	if err := Opens(n.device(storage.State), bytes.NewReader(nil)); err != nil {
		t.Errorf("a blank partition: %v", err)
	}
	key, _ := luks.NewKey()
	if err := n.cryptsetup.Format(t.Context(), n.device(storage.State), storage.State, key); err != nil {
		t.Fatal(err)
	}
	if err := Opens(n.device(storage.State), bytes.NewReader(nil)); err != nil {
		t.Errorf("a volume with a key that is not sealed: %v", err)
	}
	if err := n.boot("release 1").Encrypt(t.Context(), storage.State, n.device(storage.State)); err != nil {
		t.Fatal(err)
	}
	if err := Opens(n.device(storage.State), bytes.NewReader([]byte("no image"))); err == nil {
		t.Error("a sealed volume is opened by what is no image")
	}
}
