package volumes

import (
	"bytes"
	"crypto/rand"
	"debug/pe"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/hack/release/bundle"
	"github.com/cyvive/cyvive/hack/release/releasetest"
	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/luks"
	"github.com/cyvive/cyvive/internal/trust/pcr"
	"github.com/cyvive/cyvive/internal/trust/tpm"
	"github.com/cyvive/cyvive/internal/trust/tpmtest"
)

// TestEnclose: a volume of another disk is sealed while the TPM gives out nothing any more, and opens in the next boot like one that the node has made.
func TestEnclose(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	v := n.boot("release 1")
	if err := v.Cap(t.Context()); err != nil {
		t.Fatal(err)
	}
	plain := make([]byte, 12<<20)
	_, _ = rand.Read(plain)
	if err := v.Sealing(sealedToTPM).Enclose(t.Context(), n.device(storage.State), bytes.NewReader(plain)); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(n.device(storage.State))
	if err != nil || bytes.Contains(raw, plain[:32]) {
		t.Errorf("it is not encrypted: %v", err)
	}
	if s := n.look(v, storage.State); s.Enrolled || s.HeaderBytes != luks.HeaderBytes {
		t.Errorf("the volume is %+v", s)
	}
	if reason := n.unlock(v, storage.State); !strings.Contains(reason, tpm.ErrCapped.Error()) {
		t.Errorf("in the same boot it is refused with %q", reason)
	}
	for _, release := range []string{"release 1", "release 2"} {
		v := n.boot(release)
		if reason := n.unlock(v, storage.State); reason != "" {
			t.Errorf("%s: %s", release, reason)
		}
		if err := v.Enrol(t.Context(), storage.State, n.device(storage.State)); err != nil {
			t.Errorf("%s: %v", release, err)
		}
	}
	if reason := n.unlock(n.boot("release 3"), storage.State); !strings.Contains(reason, "PCR 11") {
		t.Errorf("a release that nobody has signed is refused with %q", reason)
	}
	v.cfg.Signers = nil
	if err := v.Sealing(sealedToTPM).Enclose(t.Context(), n.device(storage.Data), bytes.NewReader(plain)); !errors.Is(err, ErrNoSigner) {
		t.Errorf("without a signer: %v", err)
	}
}

// TestWouldOpen: an image is judged by its signature, and by what the machine adds to any.
func TestWouldOpen(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	built := releasetest.Kernel(t, pe.IMAGE_FILE_MACHINE_AMD64, ".cmdline", "roothash=ab quiet")
	signed, err := bundle.SignKernel(built, bundle.Keys{Policy: n.signer})
	if err != nil {
		t.Fatal(err)
	}
	v := n.boot("release 1")
	if err := v.Cap(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := v.Sealing(sealedToTPM).WouldOpen(bytes.NewReader(signed)); err != nil {
		t.Errorf("a signed image: %v", err)
	}
	if err := v.Sealing(sealedToTPM).WouldOpen(bytes.NewReader(built)); !errors.Is(err, pcr.ErrUnsigned) {
		t.Errorf("one that was not signed: %v", err)
	}
	changed := bytes.Replace(signed, []byte("quiet"), []byte("noisy"), 1)
	if err := v.Sealing(sealedToTPM).WouldOpen(bytes.NewReader(changed)); err == nil || !strings.Contains(err.Error(), "it was changed after that") {
		t.Errorf("one that was changed: %v", err)
	}
	tpmtest.Extend(t, n.tpm, pcr.Config, "more of a command line")
	var differs *tpm.ChangedError
	if err := v.Sealing(sealedToTPM).WouldOpen(bytes.NewReader(signed)); !errors.As(err, &differs) || differs.Changes[0].PCR != pcr.Config {
		t.Errorf("on a machine that adds to the command line: %v", err)
	}
}
